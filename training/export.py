"""Step 7: saving the student as a folder, and exporting the folder to ONNX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import processors

from rerank_core.export import export_model
from rerank_core.training._student import EXPANDED
from training.settings import Settings
from training.sparse import sparse_folder
from training.teachers import minilm_folder, read_tokenizer
from training.train import load_student

__all__ = ["export", "save_folder"]


def export(settings: Settings) -> None:
    """Write ``nano/`` (torch, fp32), ``nano-fp32/`` and ``nano-int8/`` in the work folder.

    Args:
        settings: Settings of the recipe.
    """
    folder = settings.work / "nano"
    save_folder(settings, folder)
    for precision in ("fp32", "int8"):
        report = export_model(
            folder, settings.work / f"nano-{precision}", precision=precision, force=True
        )
        print(f"{report.folder}: {report.size / 1e6:.1f} MB, {report.verification}")


def save_folder(settings: Settings, folder: Path) -> None:
    """Save the student in the format that ``rerank export`` reads.

    Args:
        settings: Settings of the recipe.
        folder: Folder to write; it is replaced if it exists.
    """
    student = load_student(settings)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = json.loads((minilm_folder() / "config.json").read_text(encoding="utf-8"))
    sparse = json.loads((sparse_folder() / "config.json").read_text(encoding="utf-8"))
    config |= {
        "architectures": ["GatedCrossEncoder"],
        "open_layers": len(student.gates),
        "first_content_token": student.first_content,
        "max_length": settings.section("export")["max_length"],
        "expanded": EXPANDED,
        "sparse": sparse,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: value.contiguous() for name, value in student.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    tokenizer = read_tokenizer(minilm_folder())
    specials = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 [CLS]:1 $B:1 [SEP]:1",
        special_tokens=list(specials.items()),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
