"""Step 3: mining candidates for each query from the pool, and the teachers' scores for them."""

from __future__ import annotations

from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from training.prepare import read_labelled, read_passages
from training.settings import Settings, whole_file
from training.sparse import SparseTeacher
from training.teachers import TEACHERS, read_vectors

__all__ = ["Mined", "mine"]


class Mined:
    """Mined candidates of every query.

    Args:
        work: Folder with the output of `mine`.

    Attributes:
        places: For each query, the positions of its candidates in the pool.
        labels: For each query, the labels of its candidates: 1 for a labelled positive, 0 for a
            labelled negative, -1 for a mined passage, -2 for a random one.
        scores: For each query, one row of scores per teacher: those of `TEACHERS`, then the sparse
            teacher.
    """

    def __init__(self, work: Path) -> None:
        with np.load(work / "mined.npz", allow_pickle=False) as stored:
            ends = stored["ends"]
            self.places = np.split(stored["places"], ends[:-1])
            self.labels = np.split(stored["labels"], ends[:-1])
            self.scores = np.split(stored["scores"], ends[:-1], axis=1)


def mine(settings: Settings) -> None:
    """Write ``mined.npz``, which `Mined` reads.

    Args:
        settings: Settings of the recipe.
    """
    options = settings.section("mining")
    labelled, passages = read_labelled(settings.work), read_passages(settings.work)
    rng = np.random.default_rng(settings.seed)
    sparse = SparseTeacher(passages, options["max_tokens"])
    vectors = [
        tuple(read_vectors(settings.work, teacher.name, kind) for kind in ("queries", "passages"))
        for teacher in TEACHERS
    ]
    queries, pool = vectors[0]
    found = np.concatenate(
        [
            _bm25(passages, [item.query for item in labelled], options["bm25"]),
            _nearest(queries, pool, options["dense"]),
        ],
        axis=1,
    )
    places: list[NDArray[np.int32]] = []
    labels: list[NDArray[np.int8]] = []
    scores: list[NDArray[np.float32]] = []
    for number, item in enumerate(labelled):
        known = dict.fromkeys(item.negatives, 0) | dict.fromkeys(item.positives, 1)
        row = {int(place): -2 for place in rng.integers(len(passages), size=options["random"])}
        row |= {int(place): -1 for place in found[number]}
        row |= known
        here = np.array(list(row), np.int32)
        places.append(here)
        labels.append(np.array(list(row.values()), np.int8))
        dense = [pool[here] @ queries[number] for queries, pool in vectors]
        scores.append(np.stack([*dense, sparse.scores(item.query, here)]))
    with whole_file(settings.work / "mined.npz") as out:
        np.savez(
            out,
            ends=np.cumsum([len(row) for row in places]),
            places=np.concatenate(places),
            labels=np.concatenate(labels),
            scores=np.concatenate(scores, axis=1).astype(np.float32),
        )


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
