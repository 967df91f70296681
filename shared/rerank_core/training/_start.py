"""The models to start from, as cross-encoders of sentence-transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules.module import Module
from tokenizers import Tokenizer
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import BertConfig, BertForMaskedLM, BertModel

from rerank_core._errors import ConfigurationError
from rerank_core._local.failures import loading
from rerank_core.training._nano import write_nano
from rerank_core.training._student import Student

__all__ = ["Gated", "load_start", "save_start", "trained_groups"]

_QUERY_TOKENS, _PASSAGE_TOKENS = 64, 192  # read in training, which takes most of its time for them
_HEADS, _SCALARS = 5, 50  # times the learning rate: what is small may change faster


class Gated(Module):
    """A `Student` as a module of sentence-transformers, in a folder that `export_model` reads.

    Args:
        folder: Folder of a `GatedCrossEncoder`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._files = {
            name: (folder / name).read_text(encoding="utf-8")
            for name in ("config.json", "tokenizer.json")
        }
        config = json.loads(self._files["config.json"])
        bert, sparse = BertConfig.from_dict(config), BertConfig(**config["sparse"])
        for part in (bert, sparse):  # teachers' scores are learnt from the scores as they are
            part.hidden_dropout_prob = 0.0
        weights = load_file(folder / "model.safetensors")
        self.student = Student(
            BertModel(bert, add_pooling_layer=False),
            BertForMaskedLM(sparse),
            config["open_layers"],
            config["first_content_token"],
            len(weights["expansions"]),
        )
        self.student.load_state_dict(weights)
        self.tokenizer = Tokenizer.from_str(self._files["tokenizer.json"])
        self.tokenizer.no_padding()

    def preprocess(self, inputs: Sequence[tuple[str, str]], **_: Any) -> dict[str, torch.Tensor]:
        """Return token ids of different queries and of passages, and the query of each passage."""
        queries = list(dict.fromkeys(query for query, _ in inputs))
        return {
            "query": self._tokens(queries, _QUERY_TOKENS),
            "passage": self._tokens([text for _, text in inputs], _PASSAGE_TOKENS),
            "of": torch.tensor([queries.index(query) for query, _ in inputs]),
        }

    def forward(self, features: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        """Add the logits of the passages, as ``"scores"``: (passages, 1)."""
        query, passage = features["query"], features["passage"]
        logits = self.student(query, query > 0, passage, passage > 0, features["of"])
        return {**features, "scores": logits[:, None]}

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Write the folder's files."""
        folder = Path(output_path)
        folder.mkdir(exist_ok=True)
        for name, text in self._files.items():
            (folder / name).write_text(text, encoding="utf-8")
        state = {name: value.contiguous() for name, value in self.student.state_dict().items()}
        save_file(state, folder / "model.safetensors")

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", *_: object, **__: object) -> Gated:
        """Read what `save` wrote."""
        return cls(Path(model_name_or_path) / subfolder)

    def _tokens(self, texts: Sequence[str], most: int) -> torch.Tensor:
        self.tokenizer.enable_truncation(most)
        found = self.tokenizer.encode_batch(list(texts))
        return pad_sequence([torch.tensor(item.ids) for item in found], batch_first=True)


def load_start(start: str, scratch: Path) -> CrossEncoder:
    """Load a model to train.

    Args:
        start: ``"nano"``, or a cross-encoder with one label by folder or hub id.
        scratch: Folder to write to.

    Raises:
        ConfigurationError: If the model cannot be loaded or trained.
    """
    if start == "nano":
        write_nano(scratch / "nano")
        model: CrossEncoder = CrossEncoder(
            modules=[Gated(scratch / "nano")], activation_fn=nn.Identity()
        )
        shutil.rmtree(scratch / "nano")
        return model
    with loading(f"start {start!r} could not be loaded as a cross-encoder"):
        model = CrossEncoder(start, model_kwargs={"use_safetensors": True})
    if model.num_labels != 1:
        raise ConfigurationError(
            f"start {start!r} has {model.num_labels} labels; a cross-encoder with one is needed"
        )
    return model


def trained_groups(model: CrossEncoder, rate: float) -> list[dict[str, Any]]:
    """Freeze what training leaves as it is, and return the other parameters with learning rates.

    Embeddings stay: most words of a collection do not occur in the queries of its training. Of the
    embedded model, the layers that read texts apart and the sparse branch stay, too; only
    the weight of its score changes.
    """
    for parameter in model.parameters():
        parameter.requires_grad = False
    if not isinstance(model[0], Gated):
        inner: Any = model.model
        embeddings = {id(item) for item in inner.get_input_embeddings().parameters()}
        encoder = [item for item in model.parameters() if id(item) not in embeddings]
        groups = [(encoder, rate)]
    else:
        student = model[0].student
        opened = student.layers[student.closed :]
        heads = [student.shared_token, *student.weigh.parameters(), *student.head.parameters()]
        scalars = [student.gates, student.late, student.tau]
        groups = [
            ([*opened.parameters(), *student.sparse_weight.parameters()], rate),
            (heads, _HEADS * rate),
            (scalars, _SCALARS * rate),
        ]
    for parameters, _ in groups:
        for parameter in parameters:
            parameter.requires_grad = True
    return [{"params": parameters, "lr": each} for parameters, each in groups]


def save_start(model: CrossEncoder, folder: Path) -> None:
    """Write a trained model to a folder that `export_model` reads."""
    if isinstance(model[0], Gated):
        model[0].save(str(folder))
    else:
        model.save_pretrained(str(folder))
