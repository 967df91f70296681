"""A constructor's wrong option is a ConfigurationError that names it and says what will do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rerank_core import (
    BiEncoderScorer,
    Blend,
    Cascade,
    CohereScorer,
    ConfigurationError,
    Deadline,
    DiskStore,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    Prices,
    TeiScorer,
    TorchCrossEncoder,
    Windowed,
)
from rerank_core.testing import OverlapScorer

S = OverlapScorer()
ADDRESS = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cascade([(S, None), S]), r"stages\[0\]: keep must be a whole number"),  # type: ignore[list-item]
        (lambda: Cascade([(S, 0), S]), r"stages\[0\]: keep must be a whole number"),
        (lambda: MemoryStore(None), "max_items must be a whole number"),  # type: ignore[arg-type]
        (lambda: DiskStore("x", None), "max_items must be a whole number"),  # type: ignore[arg-type]
        (lambda: Windowed(S, tokens=None), "tokens must be a whole number"),  # type: ignore[arg-type]
        (lambda: Windowed(S, aggregate="maxx"), "aggregate must be one of .* mean 'max'"),  # type: ignore[arg-type]
        (lambda: Fallback(S, cooldown=True), "cooldown must be"),
        (lambda: Fallback(S, failures=0), "failures must be"),
        (lambda: Fallback(S, on=5), "on must be an Exception class"),  # type: ignore[arg-type]
        (lambda: Fallback(S, on=(ValueError, "x")), "on must be"),  # type: ignore[arg-type]
        (lambda: Fallback(S, on=BaseException), "on must be"),  # type: ignore[arg-type]
        (lambda: Fallback(S, on=()), "on must be"),
        (lambda: Fallback(S, keep_order="yes"), "keep_order must be True or False"),  # type: ignore[arg-type]
        (lambda: Deadline(S, 0), "seconds must be a finite number above 0"),
        (lambda: Deadline(S, True), "seconds must be"),
        (lambda: OnnxCrossEncoder("nano", threads=0), "threads must be a whole number"),
        (lambda: OnnxCrossEncoder("nano", batch_tokens=0), "batch_tokens must be"),
        (lambda: OnnxCrossEncoder("nano", max_length=True), "max_length must be"),
        (lambda: OnnxCrossEncoder("nano", precision="int4"), "mean 'int8'"),  # type: ignore[arg-type]
        (lambda: OnnxCrossEncoder("nano", activation="sigmoids"), "mean 'sigmoid'"),  # type: ignore[arg-type]
        (lambda: TorchCrossEncoder(" "), "model must be a name such as"),
        (lambda: TorchCrossEncoder("m", batch_tokens=0), "batch_tokens must be"),
        (lambda: BiEncoderScorer("m", max_length=0), "max_length must be"),
        (lambda: CohereScorer(""), "model must be a name such as"),
        (lambda: CohereScorer("m", timeout=0), "timeout must be a finite number above 0"),
        (lambda: CohereScorer("m", max_retries=-1), "max_retries must be"),
        (lambda: TeiScorer(ADDRESS, batch_size=0), "batch_size must be"),
        (lambda: TeiScorer(ADDRESS, truncation_direction="up"), "truncation_direction must"),  # type: ignore[arg-type]
        (lambda: Prices(search_unit=-1), "prices: search_unit must be"),
        (lambda: Blend("rrf", weight=2), "weight must be a number from 0 to 1"),
        (lambda: Blend("rrf", k=0), "k must be a finite number above 0"),
    ],
)
def test_it_is_refused_and_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
