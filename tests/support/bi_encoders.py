"""A tiny real bi-encoder, made of a tiny cross-encoder's body."""

from __future__ import annotations

from pathlib import Path


def build_bi_encoder(body: Path, folder: Path, prompts: dict[str, str] | None = None) -> Path:
    """Put a mean over tokens onto a transformer, and save both as a sentence-transformer."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(body), prompts=prompts, device="cpu")
    encoder.max_seq_length = 32
    encoder.save(str(folder))
    return folder
