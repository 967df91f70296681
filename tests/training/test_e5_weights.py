from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.e5_weights import load_e5

HIDDEN, INNER, POSITIONS = 32, 64, 8
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁cat", "s"]
SCORES = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0]


def quantised(weights: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Four bits in blocks of 32 with an fp16 scale: the bytes, and what they stand for."""
    blocks = weights.reshape(-1, 32)
    scale = (np.abs(blocks).max(1) / 7).astype(np.float16)
    whole = np.clip(np.round(blocks / scale[:, None].astype(np.float32)) + 8, 0, 15)
    whole = whole.astype(np.uint8)
    packed = whole[:, :16] | (whole[:, 16:] << 4)
    raw = b"".join(s.tobytes() + p.tobytes() for s, p in zip(scale, packed, strict=True))
    meant = (whole.astype(np.float32) - 8) * scale[:, None].astype(np.float32)
    return raw, meant.reshape(weights.shape)


@pytest.fixture
def model_file(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    chance = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (len(PIECES), HIDDEN)}
    shapes |= {"emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for part, (out, into) in {
        **dict.fromkeys(("q", "k", "v", "ao"), (HIDDEN, HIDDEN)),
        "fi": (INNER, HIDDEN),
        "fo": (HIDDEN, INNER),
    }.items():
        shapes |= {f"l0.{part}.w": (out, into), f"l0.{part}.b": (out,)}
    for part in ("aln", "oln"):
        shapes |= {f"l0.{part}.w": (HIDDEN,), f"l0.{part}.b": (HIDDEN,)}
    meant: dict[str, np.ndarray] = {}
    raws: dict[str, bytes] = {}
    for name, shape in shapes.items():
        weights = chance.normal(size=shape).astype(np.float32)
        in_blocks = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        raws[name], meant[name] = quantised(weights) if in_blocks else (weights.tobytes(), weights)
    blob = "".join(PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)])
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", HIDDEN, 1, 2, INNER, len(PIECES), POSITIONS, 2)
    head += struct.pack("<fi", 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob))
    head += struct.pack(f"<{len(offsets)}I", *offsets) + struct.pack(f"<{len(SCORES)}f", *SCORES)
    head += blob + struct.pack("<iI", 0, 0) + struct.pack("<i", len(raws))
    place = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in raws)
    body = b""
    for name, raw in raws.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, 0, place + len(body), len(raw))
        body += raw
    path = tmp_path / "e5.bin"
    path.write_bytes(head + body)
    return path, meant


def test_weights_come_out_as_they_were_meant(
    model_file: tuple[Path, dict[str, np.ndarray]],
) -> None:
    path, meant = model_file
    model, _ = load_e5(path)
    layer: Any = model.encoder.layer[0]
    assert (model.embeddings.word_embeddings.weight.detach().numpy() == meant["emb.word"]).all()
    assert (layer.attention.self.key.weight.detach().numpy() == meant["l0.k.w"]).all()
    assert (layer.output.LayerNorm.bias.detach().numpy() == meant["l0.oln.b"]).all()


def test_its_tokenizer_cuts_words_as_the_vocabulary_scores_them(
    model_file: tuple[Path, dict[str, np.ndarray]],
) -> None:
    _, tokenizer = load_e5(model_file[0])
    assert tokenizer.encode("a  cats").tokens == ["<s>", "▁a", "▁cat", "s", "</s>"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ValueError, match="does not begin with E5S1"):
        load_e5(path)
