"""Step 4: the scores of the larger teachers for the candidates of each list."""

from __future__ import annotations

import numpy as np

from training.mining import MINED_BY, Mined
from training.prepare import read_labelled, read_passages
from training.settings import Settings, whole_file
from training.teachers import TEACHERS, embed_texts, read_vectors

__all__ = ["label"]


def label(settings: Settings) -> None:
    """Write ``scores.npz``: under the name of each teacher, its scores, (lists, candidates).

    Only the passages of the lists that are used are read, each once, in the order of the lists: to
    use more lists later takes only what they add.

    Args:
        settings: Settings of the recipe.
    """
    options = settings.section("label")
    mined = Mined(settings.work)
    count = options["lists"]
    queries, places = mined.queries[:count], mined.places[:count]
    labelled, passages = read_labelled(settings.work), read_passages(settings.work)
    found, first, of = np.unique(places, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)[of].reshape(places.shape)
    scores = {name: value[:count] for name, value in zip(MINED_BY, mined.scores, strict=True)}
    for teacher in (item for item in TEACHERS if item.name in options["teachers"]):
        name = f"{teacher.name}.lists"
        embed_texts(settings, teacher, name, "queries", [labelled[i].query for i in queries])
        embed_texts(settings, teacher, name, "passages", [passages[i] for i in found[order]])
        query = read_vectors(settings.work, name, "queries")[:count]
        passage = read_vectors(settings.work, name, "passages")
        scores[teacher.name] = np.einsum("qd,qcd->qc", query, passage[rank])
    with whole_file(settings.work / "scores.npz") as out:
        np.savez(out, **scores)  # type: ignore[arg-type]
