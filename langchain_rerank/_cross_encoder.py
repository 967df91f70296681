"""`CrossEncoderModel`: a scorer in the shape of LangChain's cross-encoders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rerank_core import ConfigurationError, InvalidInputError, Scorer, load_scorer
from rerank_core._checks import describe

if TYPE_CHECKING:
    from langchain_core.cross_encoders import BaseCrossEncoder
else:
    try:
        from langchain_core.cross_encoders import BaseCrossEncoder
    except ModuleNotFoundError:  # langchain-core before 1.2.19
        try:
            from langchain_classic.retrievers.document_compressors.cross_encoder import (
                BaseCrossEncoder,
            )
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "CrossEncoderModel needs langchain-core 1.2.19 or newer, or langchain-classic: "
                "pip install -U langchain-core"
            ) from error

__all__ = ["CrossEncoderModel"]


class CrossEncoderModel(BaseCrossEncoder):
    """A scorer for code that takes a ``BaseCrossEncoder``, such as ``CrossEncoderReranker``.

    ``CrossEncoderReranker(model=CrossEncoderModel("nano"), top_n=3)`` is all that changes. What
    that interface cannot carry stays behind: usage, a degraded scoring's reason, and asynchronous
    calls. `RerankCompressor` has them.

    Args:
        scorer: What scores: the name of one (see `rerank_core.load_scorer`), a mapping that
            `Scorer.to_config` wrote, or a `Scorer`. Default ``"nano"``.

    Raises:
        ConfigurationError: If the scorer cannot be made.

    Example:
        ```python
        from langchain_rerank import CrossEncoderModel

        model = CrossEncoderModel("nano")
        question = "How do plants eat?"
        good, bad = model.score([(question, "Plants use light."), (question, "Cats purr.")])
        assert good > bad
        ```
    """

    def __init__(self, scorer: Scorer | Mapping[str, Any] | str = "nano") -> None:
        self.scorer = load_scorer(scorer)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Score (query, text) pairs; those of one query are scored together.

        Args:
            text_pairs: The pairs. Queries are not blank.

        Returns:
            One score per pair, in their order, on the scorer's scale. A text that was not scored,
            such as a blank one, gets minus infinity, which sorts behind all others.

        Raises:
            InvalidInputError: If a pair is no pair of strings, or a query is blank.
            ScorerError: If the scorer fails.
        """
        places: dict[str, list[int]] = {}
        texts: dict[str, list[str]] = {}
        for position, (query, text) in enumerate(_check_pairs(text_pairs)):
            places.setdefault(query, []).append(position)
            texts.setdefault(query, []).append(text)
        scores = [-math.inf] * sum(map(len, places.values()))
        for query, scoring in zip(
            places, self.scorer.score_many([*texts], [*texts.values()]), strict=True
        ):
            for position, score in zip(places[query], scoring.scores, strict=True):
                if score is not None:
                    scores[position] = score
        return scores

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scorer!r})"


def _check_pairs(pairs: Iterable[object]) -> Iterable[tuple[str, str]]:
    for position, pair in enumerate(pairs):
        match pair:
            case (str() as query, str() as text):  # a tuple, or a list as JSON has it
                yield query, text
            case _:
                raise InvalidInputError(
                    f"text_pairs[{position}] must be a pair of str, a query and a text, "
                    f"not {describe(pair)}"
                )
