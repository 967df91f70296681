"""A batch of rows, reranked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rerank_core._blend import Blend, BlendLike, make_blend
from rerank_core._checks import check_name, check_number, check_whole, optional
from rerank_core._errors import InvalidInputError
from rerank_core._loading import ScorerLike, load_scorer, shared_scorer
from rerank_core._remote.gate import Gate, RequestGate, request_gate
from rerank_core._reranking import rerank_rows
from rerank_core._scorer import Scorer
from rerank_core._trimming import TrimLike, make_trimmers
from rerank_core._types import RankedItem, Ranking
from rerank_core.bulk._ray import in_ray_worker, shared_gate, use_own_cpus

__all__ = ["ADDED", "RerankBatch", "reason"]

ADDED = ("relevance_scores", "positions", "degraded", "error")
"""The columns that are added."""


class RerankBatch:
    """Reranks batches of rows; made for ``map_batches`` of a Ray dataset.

    A row is a query and its candidates: texts, or mappings (an Arrow struct) that hold one. In the
    result the candidates are in their new order and trimmed, and there are these columns more:

    - ``relevance_scores``: per candidate its score, None where it was not scored;
    - ``positions``: per candidate its place in the first stage, from 0;
    - ``degraded``: why the ranking is less than was asked for, None if it is whole;
    - ``error``: why the row could not be reranked, None if it was. Such a row keeps its
      candidates, and has no scores: it raises nothing, and others are not held up.

    A model is loaded once in each process. In a Ray worker it uses as many threads as the worker
    has CPUs (``num_cpus``), and all workers of a job share one limit of requests to services.

    Args:
        scorer: What scores, as for `rerank`. A name or a configuration is made into a scorer where
            the batches are. Default: ``"nano"``.
        query_column: The column of queries.
        candidates_column: The column of lists of candidates.
        text_field: The field that holds the text, where candidates are mappings.
        prior_field: The field that holds the first-stage score, for a blend by score.
        depth: Only so many of the first candidates are scored. None scores all.
        top_n: At most this many stay. None keeps all.
        min_score: Scored candidates below it are dropped.
        blend: Mix with the first stage, as for `rerank`.
        trim: Trimmers, as for `rerank`. What is left of a text takes its place.
        max_requests: The most requests to services at once, over the whole job; a pause that a
            service asks for holds for all of them. Default: 4.

    Attributes:
        query_column: The column of queries.
        candidates_column: The column of lists of candidates.
        text_field: The field that holds the text.

    Raises:
        ConfigurationError: If an argument is wrong; when called, also if the scorer cannot work or
            a service refuses the key.

    Example:
        ```python
        from rerank_core.bulk import RerankBatch

        batch = {
            "query": ["How do plants eat?", "Do cats purr?"],
            "candidates": [["Cats purr.", "Plants use light."], ["Cats purr.", "Dogs bark."]],
        }
        result = RerankBatch("nano", top_n=1)(batch)
        assert [list(kept) for kept in result["candidates"]] == [
            ["Plants use light."],
            ["Cats purr."],
        ]
        ```
    """

    def __init__(
        self,
        scorer: ScorerLike = "nano",
        *,
        query_column: str = "query",
        candidates_column: str = "candidates",
        text_field: str = "text",
        prior_field: str = "score",
        depth: int | None = None,
        top_n: int | None = None,
        min_score: float | None = None,
        blend: BlendLike | None = None,
        trim: Iterable[TrimLike] | TrimLike | None = None,
        max_requests: int = 4,
    ) -> None:
        load_scorer(scorer)  # an unknown name is told here, and not by every worker
        self._spec = scorer
        self.query_column = check_name(query_column, "query_column", "question")
        self.candidates_column = check_name(candidates_column, "candidates_column", "passages")
        self.text_field = check_name(text_field, "text_field", "content")
        self._prior_field = check_name(prior_field, "prior_field", "distance")
        self._blend: Blend | None = None if blend is None else make_blend(blend)
        self._options = {
            "depth": optional(check_whole, depth, "depth"),
            "top_n": optional(check_whole, top_n, "top_n"),
            "min_score": optional(check_number, min_score, "min_score"),
            "blend": self._blend,
            "trim": make_trimmers(trim),
        }
        self._max_requests = check_whole(max_requests, "max_requests")
        self._ready: tuple[Scorer, Gate] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None}

    def __call__(self, batch: Any) -> Any:
        """Rerank the rows of a batch.

        Args:
            batch: Columns: a mapping of arrays or lists, an Arrow table, or a data frame.

        Returns:
            A batch of the same kind, with the same rows in the same order.

        Raises:
            InvalidInputError: If a column is missing.
        """
        queries = _column(batch, self.query_column)
        found = _column(batch, self.candidates_column)
        scorer, gate = self._prepare()
        rows = [self._read(candidates) for candidates in found]
        before = request_gate.set(gate if scorer.remote else None)
        try:
            rankings = rerank_rows(
                queries,
                [texts for texts, _ in rows],
                scorer,
                [priors for _, priors in rows],
                at_once=self._max_requests,
                **self._options,
            )
        finally:
            request_gate.reset(before)
        return self._result(batch, found, rankings)

    def _prepare(self) -> tuple[Scorer, Gate]:
        if self._ready is None:
            scorer = self._spec if isinstance(self._spec, Scorer) else shared_scorer(self._spec)
            if in_ray_worker():
                use_own_cpus()
                self._ready = scorer, shared_gate(self._max_requests)
            else:
                self._ready = scorer, RequestGate(self._max_requests)
        return self._ready

    def _read(self, candidates: Any) -> tuple[Any, list[Any] | None]:
        """Return the texts of a row, which are not checked yet, and their first-stage scores."""
        if not isinstance(candidates, Iterable) or isinstance(candidates, str | bytes | Mapping):
            return candidates, None
        texts = [c.get(self.text_field) if isinstance(c, Mapping) else c for c in candidates]
        if self._blend is None or self._blend.method == "rrf":
            return texts, None
        prior = self._prior_field
        return texts, [c.get(prior) if isinstance(c, Mapping) else None for c in candidates]

    def _result(
        self, batch: Any, found: Sequence[Any], rankings: Sequence[Ranking | Exception]
    ) -> Any:
        columns: list[list[Any]] = [[], *([] for _ in ADDED)]
        for row, ranking in zip(found, rankings, strict=True):
            if isinstance(ranking, Exception):
                cells: tuple[Any, ...] = (row, [], [], None, reason(ranking))
            else:
                cells = (
                    [self._write(row[item.index], item) for item in ranking],
                    [item.score for item in ranking],
                    [item.index for item in ranking],
                    ranking.degraded,
                    None,
                )
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell)
        return _with_columns(
            batch, dict(zip((self.candidates_column, *ADDED), columns, strict=True))
        )

    def _write(self, candidate: Any, item: RankedItem) -> Any:
        if not item.kept:
            return candidate
        if isinstance(candidate, Mapping):
            return {**candidate, self.text_field: item.excerpt}
        return item.excerpt


def reason(error: Exception) -> str:
    """Return the kind and the message of an error."""
    return f"{type(error).__name__}: {error}"


def _column(batch: Any, name: str) -> list[Any]:
    """Return a column as a list of plain values."""
    names = list(getattr(batch, "column_names", batch))
    if name not in names:
        raise InvalidInputError(f"there is no column {name!r}; there are {', '.join(names)}")
    column = batch[name]
    cells = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return [cell.tolist() if isinstance(cell, np.ndarray | np.generic) else cell for cell in cells]


def _with_columns(batch: Any, columns: dict[str, list[Any]]) -> Any:
    """Return a batch of the same kind with these columns, the first of which it has already."""
    if not hasattr(batch, "column_names"):
        arrays = {name: _objects(cells) for name, cells in columns.items()}
        return {**batch, **arrays} if isinstance(batch, Mapping) else batch.assign(**arrays)
    import pyarrow as pa

    added = (pa.list_(pa.float64()), pa.list_(pa.int64()), pa.string(), pa.string())
    kinds = (batch.schema.field(next(iter(columns))).type, *added)
    for (name, cells), kind in zip(columns.items(), kinds, strict=True):
        array = pa.array(cells, kind)
        if name in batch.column_names:
            batch = batch.set_column(batch.column_names.index(name), name, array)
        else:
            batch = batch.append_column(name, array)
    return batch


def _objects(cells: list[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    array = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):  # else lists of one length would make a second axis
        array[place] = cell
    return array
