"""First stages that search the collection: BM25, and dense vectors in FAISS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._local.bi_encoder import BiEncoderScorer
from rerank_core.evaluation._collection import Collection
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._runs import Candidate, FirstStage, read_run

__all__ = ["BM25_B", "BM25_K1", "first_stage"]

BM25_K1, BM25_B = 0.9, 0.4
"""Defaults of Anserini and Pyserini: Yang, Fang and Lin, "Anserini: Reproducible Ranking Baselines
Using Lucene", JDIQ 10(4), 2018, https://doi.org/10.1145/3239571."""

Progress = Callable[[int, int], None]


def first_stage(
    spec: str,
    collection: Collection,
    depth: int,
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> FirstStage:
    """Find the candidates of every query that counts.

    Args:
        spec: One of

            * ``"bm25"``: BM25 by bm25s, Lucene's variant with k1 = 0.9 and b = 0.4, English stop
              words, and Snowball's English stemmer where PyStemmer is installed. Documents
              without a common word are no candidates; equal scores keep the corpus order.
            * ``"dense:MODEL"``: a sentence-transformers bi-encoder (folder or hub id), its
              vectors compared by cosine, exactly, with FAISS.
            * ``"run:NAME"``: the file ``run.NAME.tsv`` of the collection's folder, or a path; see
              `read_run`.

        collection: What to search.
        depth: At most this many candidates a query.
        journal: Where what a bi-encoder found is kept for the next run.
        progress: Called with (documents done, documents in all) while they are embedded.

    Raises:
        ConfigurationError: If `spec` is none of these, or the model cannot be loaded.
        InvalidInputError: If a run does not fit.
        MissingExtraError: If bm25s, FAISS or sentence-transformers is not installed.
    """
    kind, _, name = spec.partition(":")
    if spec == "bm25":
        return _bm25(collection, depth)
    if kind == "run" and name:
        return read_run(collection, name, depth)
    if kind == "dense" and name:
        return _dense(collection, name, depth, journal or Journal(), progress)
    raise ConfigurationError(
        f"first stage {describe(spec)} is unknown; what works: 'bm25', 'run:NAME' for a file "
        "run.NAME.tsv in the collection, 'dense:PATH_OR_HUB_ID' for a bi-encoder"
    )


def _bm25(collection: Collection, depth: int) -> FirstStage:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError("eval", "BM25 as first stage") from error
    stemmer = _stemmer()
    ids = list(collection.documents)
    queries = {query: collection.queries[query] for query in collection.evaluated}

    def words(texts: list[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return tokens

    index = bm25s.BM25(k1=BM25_K1, b=BM25_B, method="lucene")
    index.index(words(list(collection.documents.values())), show_progress=False)
    known = index.vocab_dict
    candidates: dict[str, tuple[Candidate, ...]] = {}
    for query, wanted in zip(queries, words(list(queries.values())), strict=True):
        tokens = [word for word in wanted if word in known]
        scores = index.get_scores(tokens) if tokens else np.zeros(len(ids))
        candidates[query] = _best(ids, scores, depth, above=0.0)
    settings = {
        "kind": "bm25",
        "k1": BM25_K1,
        "b": BM25_B,
        "method": "lucene",
        "stopwords": "en",
        "stemmer": "snowball english" if stemmer else None,
    }
    return _found("bm25", candidates, settings)


def _stemmer() -> Any:
    try:
        import Stemmer
    except ImportError:
        return None
    return Stemmer.Stemmer("english")


def _dense(
    collection: Collection, model: str, depth: int, journal: Journal, progress: Progress | None
) -> FirstStage:
    encoder = BiEncoderScorer(model)
    name = f"dense:{encoder.name.removeprefix('bi:')}"
    settings = {"kind": "dense", "index": "IndexFlatIP", "encoder": encoder.fingerprint}
    key = json.dumps([settings, collection.fingerprint, collection.evaluated, depth])
    key = f"dense:{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"
    known = journal.get(key)
    if known is None:
        known = _search(collection, encoder, depth, progress)
        journal.put(key, known)
    candidates = {query: tuple(Candidate(*found) for found in known[query]) for query in known}
    return _found(name, candidates, settings)


def _search(
    collection: Collection, encoder: BiEncoderScorer, depth: int, progress: Progress | None
) -> dict[str, tuple[Candidate, ...]]:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("eval", "A dense first stage") from error
    ids = list(collection.documents)
    # A blank text has no meaning to embed, and no way into a list of candidates.
    ids = [identity for identity in ids if collection.documents[identity].strip()]
    texts = [collection.documents[identity] for identity in ids]
    vectors = encoder.embed_documents(texts, progress=progress)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    queries = list(collection.evaluated)
    asked = encoder.embed_queries([collection.queries[query] for query in queries])
    similarities, positions = index.search(asked, min(depth, len(ids)))
    found: dict[str, tuple[Candidate, ...]] = {}
    for query, places, scores in zip(queries, positions, similarities, strict=True):
        order = np.argsort(places)  # equal scores keep the corpus order
        found[query] = _best([ids[at] for at in places[order]], scores[order], depth)
    return found


def _best(
    ids: list[str], scores: np.ndarray[Any, Any], depth: int, above: float = -np.inf
) -> tuple[Candidate, ...]:
    """The best documents; equal scores in the order of `ids`."""
    order = np.argsort(-scores, kind="stable")[:depth]
    return tuple(Candidate(ids[at], float(scores[at])) for at in order if scores[at] > above)


def _found(
    name: str, candidates: Mapping[str, tuple[Candidate, ...]], settings: Mapping[str, Any]
) -> FirstStage:
    empty = sum(not found for found in candidates.values())
    notes = (f"{name} finds nothing for {empty} queries",) if empty else ()
    return FirstStage(name, candidates, settings, notes)
