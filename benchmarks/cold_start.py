"""Time from starting Python to the first ten scores, against FlashRank, on the same weights.

Both run in new processes, in turns. FlashRank gets the embedded model's own graph, in the layout it
expects, so that what differs is the code around the model.

    pip install "rerank-core" onnx flashrank==0.2.10
    python benchmarks/cold_start.py --rounds 9
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

import rerank_core

OURS = """
from rerank_core import load_scorer
scoring = load_scorer("nano").score("How do rivers form?", TEXTS)
assert len(scoring.scores) == 10
"""
FLASHRANK = """
from flashrank import Ranker, RerankRequest
ranker = Ranker(model_name="ms-marco-TinyBERT-L-2-v2", cache_dir=FOLDER)
found = ranker.rerank(RerankRequest("How do rivers form?", [{"text": text} for text in TEXTS]))
assert len(found) == 10
"""
TEXTS = [
    f"Passage {i}: " + "rain falls on the hills and runs down to the sea. " * 4 for i in range(10)
]


def lay_out_for_flashrank(folder: Path) -> None:
    """Write the embedded model as FlashRank reads models: scores of shape (pairs, 1)."""
    source = Path(rerank_core.__file__).parent / "models" / "nano"
    target = folder / "ms-marco-TinyBERT-L-2-v2"
    target.mkdir()
    model = onnx.load(source / "model.onnx")
    flat = model.graph.output[0].name
    axis = onnx.numpy_helper.from_array(onnx.numpy_helper.np.array([1]), "last_axis")
    model.graph.initializer.append(axis)
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", [flat, "last_axis"], ["scores"]))
    scores = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["pairs", 1])
    model.graph.output.insert(0, scores)
    onnx.save(model, target / "flashrank-TinyBERT-L-2-v2.onnx")
    shutil.copy(source / "tokenizer.json", target)
    for name, content in (
        ("config.json", {"pad_token_id": 0}),
        ("tokenizer_config.json", {"model_max_length": 256, "pad_token": "[PAD]"}),
        ("special_tokens_map.json", {"cls_token": "[CLS]", "sep_token": "[SEP]"}),
    ):
        (target / name).write_text(json.dumps(content))


def seconds(script: str, folder: Path) -> float:
    """Run a script in a new process, and return how long it took."""
    prelude = f"TEXTS = {TEXTS!r}\nFOLDER = {str(folder)!r}\n"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", prelude + script], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Time both in turns, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="runs of each, after one to warm up")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out_for_flashrank(folder)
        times: dict[str, list[float]] = {"rerank-core nano": [], "FlashRank": []}
        scripts = dict(zip(times, (OURS, FLASHRANK), strict=True))
        for number in range(rounds + 1):
            for label, script in scripts.items():
                taken = seconds(script, folder)
                if number:
                    times[label].append(taken)
    for label, taken_by in times.items():
        print(
            f"{label}: median {statistics.median(taken_by):.2f} s, "
            f"{min(taken_by):.2f} to {max(taken_by):.2f} s"
        )
    ours, theirs = (statistics.median(taken_by) for taken_by in times.values())
    print(f"FlashRank ÷ rerank-core: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
