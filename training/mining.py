"""Step 3: mining a list of candidates for each query from the pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from training.prepare import Labelled, read_labelled, read_passages
from training.settings import Settings, whole_file
from training.sparse import SparseTeacher
from training.teachers import read_vectors

__all__ = ["MINED_BY", "Mined", "mine"]

MINED_BY = ("minilm", "sparse")
"""Names of the teachers that choose the candidates."""


class Mined:
    """Lists of candidates, in the order of a permutation; those that are held out come first.

    Args:
        work: Folder with the output of `mine`.

    Attributes:
        queries: Position of each list's query among the labelled ones, (lists,).
        places: Positions of the candidates in the pool, (lists, candidates).
        labels: 1 for a labelled positive, 0 for a labelled negative, -1 for a mined passage,
            (lists, candidates).
        scores: Scores of the teachers `MINED_BY`, (2, lists, candidates).
    """

    def __init__(self, work: Path) -> None:
        with np.load(work / "mined.npz", allow_pickle=False) as stored:
            self.queries: NDArray[np.int32] = stored["queries"]
            self.places: NDArray[np.int32] = stored["places"]
            self.labels: NDArray[np.int8] = stored["labels"]
            self.scores: NDArray[np.float32] = stored["scores"]


def mine(settings: Settings) -> None:
    """Write ``mined.npz``, which `Mined` reads.

    Args:
        settings: Settings of the recipe.
    """
    options = settings.section("mining")
    labelled, passages = read_labelled(settings.work), read_passages(settings.work)
    rng = np.random.default_rng(settings.seed)
    queries, pool = (
        read_vectors(settings.work, "minilm", kind) for kind in ("queries", "passages")
    )
    found = np.concatenate(
        [
            _bm25(passages, [item.query for item in labelled], options["bm25"]),
            _nearest(queries, pool, options["dense"]),
        ],
        axis=1,
    )
    used = np.unique(
        [*found.flat, *(p for item in labelled for p in item.negatives + item.positives)]
    )
    sparse = SparseTeacher([passages[place] for place in used], options["max_tokens"])
    order = rng.permutation(len(labelled)).astype(np.int32)
    places: list[NDArray[np.int32]] = []
    labels: list[list[int]] = []
    scores: list[NDArray[np.float32]] = []
    for number in order:
        item = labelled[number]
        known = {*item.positives, *item.negatives}
        more = rng.choice(used, options["candidates"])  # BM25 finds nothing for a few
        row = {int(place): -1 for place in [*found[number], *more] if place not in known}
        row |= _known(item, rng)
        here = np.array(list(row), np.int32)
        both = np.stack(
            [
                pool[here] @ queries[number],
                sparse.scores(item.query, np.searchsorted(used, here).astype(np.int32)),
            ]
        )
        kept = _choose(both, [*row.values()], options["candidates"], options["hard"], rng)
        places.append(here[kept])
        labels.append([list(row.values())[i] for i in kept])
        scores.append(both[:, kept])
    with whole_file(settings.work / "mined.npz") as out:
        np.savez(
            out,
            queries=order,
            places=np.stack(places),
            labels=np.array(labels, np.int8),
            scores=np.stack(scores, axis=1),
        )


def _known(item: Labelled, rng: np.random.Generator) -> dict[int, int]:
    """Return up to two of a query's positives, and its negatives, with their labels."""
    positives = rng.permutation(item.positives)[:2]
    return dict.fromkeys(item.negatives, 0) | dict.fromkeys(map(int, positives), 1)


def _choose(
    scores: NDArray[np.float32],
    labels: Sequence[int],
    count: int,
    hard: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Choose what is labelled, the `hard` best of the rest, and others at random."""
    spread = scores.std(axis=1, keepdims=True) + 1e-6
    best = np.argsort(-(scores / spread).sum(axis=0), kind="stable")
    mined = best[np.array(labels)[best] == -1]
    known = np.flatnonzero(np.array(labels) >= 0)
    rest = rng.permutation(mined[hard:])
    return np.concatenate([known, mined[:hard], rest])[:count]


def _bm25(passages: list[str], queries: list[str], most: int) -> NDArray[np.int64]:
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(tokens(passages), show_progress=False)
    places, _ = index.retrieve(tokens(queries), k=most, show_progress=False, n_threads=2)
    return np.asarray(places, np.int64)


def _nearest(
    queries: NDArray[np.float32], pool: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    rows = []
    for start in range(0, len(queries), 1024):
        cosines = queries[start : start + 1024] @ pool.T
        best = np.argpartition(-cosines, most, axis=1)[:, :most]
        rows.append(np.take_along_axis(best, np.argsort(-np.take_along_axis(cosines, best, 1)), 1))
    return np.concatenate(rows)
