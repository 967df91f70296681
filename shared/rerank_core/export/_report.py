"""What an export says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rerank_core._errors import RerankError
from rerank_core._local.files import Precision
from rerank_core._local.settings import Activation
from rerank_core._types import Scale

__all__ = ["ExportError", "ExportReport", "Verification"]


class ExportError(RerankError):
    """A model that could not be exported, or whose export does not give its scores."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the exported model is from the original, on built-in queries and texts.

    Attributes:
        pairs: Pairs scored by both.
        max_difference: Largest absolute difference of two logits.
        kendall_tau: Kendall's tau-b of the two orders, from -1 to 1, mean over the queries.
        top10_overlap: Share of the original's ten best among the export's ten best, from 0 to 1,
            mean over the queries.
    """

    pairs: int
    max_difference: float
    kendall_tau: float
    top10_overlap: float


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported, how, and how well.

    Attributes:
        folder: The folder written.
        source: Hub id of the original, or its folder's name.
        revision: Its commit on the hub; None for a folder.
        precision: ``"fp32"`` or ``"int8"``.
        max_length: Most tokens of a pair, special tokens included.
        activation: What turns the graph's logits into scores.
        scale: What those scores mean.
        first_token_only: Whether the last layer is computed for the first token alone.
        kept_whole: Why it is not; None if it is.
        size: Bytes of the folder.
        verification: The comparison with the original.
        warnings: What to look at before using it, in sentences.
    """

    folder: Path
    source: str
    revision: str | None
    precision: Precision
    max_length: int
    activation: Activation
    scale: Scale
    first_token_only: bool
    kept_whole: str | None
    size: int
    verification: Verification
    warnings: tuple[str, ...] = ()
