"""First stages: runs read from a file, BM25, and dense vectors in FAISS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rerank_core.errors import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core.evaluation._collection import Collection, digest
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._lines import read_table
from rerank_core.scorer import Progress
from rerank_core.scorers.bi_encoder import BiEncoderScorer
from rerank_core.validation import describe

__all__ = ["Candidate", "FirstStage", "first_stage", "read_run"]

_RUN = ("query-id", "corpus-id", "rank", "score")
_TREC_RUN = ("query-id", "Q0", "corpus-id", "rank", "score", "tag")
# Defaults of Anserini and Pyserini: Yang, Fang and Lin, "Anserini: Reproducible Ranking Baselines
# Using Lucene", JDIQ 10(4), 2018, https://doi.org/10.1145/3239571.
_BM25 = {"k1": 0.9, "b": 0.4, "method": "lucene"}


class Candidate(NamedTuple):
    """A document that the first stage found, with its score there; higher is better."""

    id: str
    score: float


@dataclass(frozen=True)
class FirstStage:
    """What a first stage found for the queries of a collection.

    Attributes:
        name: Such as ``"bm25"`` or ``"run:bm25"``.
        candidates: For each query id its candidates, best first. A query may have none.
        settings: How they were found, in plain values.
        notes: What was passed over, in sentences.
    """

    name: str
    candidates: Mapping[str, tuple[Candidate, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    if kind == "run" and name:
        return read_run(collection, name, depth)
    if spec == "bm25":
        candidates, settings = _bm25(collection, depth)
    elif kind == "dense" and name:
        encoder = BiEncoderScorer(name)
        spec = f"dense:{encoder.name.removeprefix('bi:')}"
        candidates, settings = _dense(collection, encoder, depth, journal or Journal(), progress)
    else:
        raise ConfigurationError(
            f"first stage {describe(spec)} is unknown; what works: 'bm25', 'run:NAME' for a file "
            "run.NAME.tsv in the collection, 'dense:PATH_OR_HUB_ID' for a bi-encoder"
        )
    empty = sum(not found for found in candidates.values())
    notes = (f"{spec} finds nothing for {empty} queries",) if empty else ()
    return FirstStage(spec, candidates, settings, notes)


def read_run(collection: Collection, run: str, depth: int) -> FirstStage:
    """Read a run: the candidates that some retriever found.

    Two formats are told apart by the first line: one with the header ``query-id``, ``corpus-id``,
    ``rank``, ``score`` and tabs, and TREC's six columns ``query Q0 document rank score tag``.
    Candidates are ordered by score, as trec_eval does; equal scores by rank, then by line.

    A run of a larger set of queries is normal, so queries that do not count are passed over. A
    document without text cannot be reranked, and dropping it would change the first stage: that
    is an error.

    Args:
        collection: What it is a run of.
        run: The name in a file ``run.NAME.tsv`` of the collection's folder, or a path.
        depth: At most this many candidates a query.

    Raises:
        InvalidInputError: If there is no such run, a line is wrong (with its number), names a
            document that has no text, or one twice for a query.
    """
    path = _run_file(collection, run)
    rows: dict[str, list[tuple[float, int, int, str]]] = {
        query: [] for query in collection.evaluated
    }
    lines: dict[tuple[str, str], int] = {}
    passed_over: set[str] = set()
    for line, (query, document, rank, score) in read_table(path, _RUN, _TREC_RUN):
        key = (-line.real(score, "the score"), line.integer(rank, "the rank"), line.number)
        if query not in rows:
            passed_over.add(query)
            continue
        if document not in collection.documents:
            raise line.error(f"document {document!r} has no text in {collection.name}")
        first = lines.setdefault((query, document), line.number)
        if first != line.number:
            raise line.error(
                f"document {document!r} is there twice for query {query!r}, first on line {first}"
            )
        rows[query].append((*key, document))
    candidates = {
        query: tuple(Candidate(document, -score) for score, _, _, document in sorted(found)[:depth])
        for query, found in rows.items()
    }
    notes = []
    if empty := sum(not found for found in candidates.values()):
        notes.append(f"{empty} of {len(rows)} queries have no candidates in {path.name}")
    if passed_over:
        notes.append(f"{len(passed_over)} queries of {path.name} do not count here")
    settings = {"kind": "run", "file": path.name, "content": digest([json.dumps(candidates)])}
    return FirstStage(f"run:{run}", candidates, settings, tuple(notes))


def _run_file(collection: Collection, run: str) -> Path:
    folder = collection.folder
    for path in (folder and folder / f"run.{run}.tsv", Path(run)):
        if path is not None and path.is_file():
            return path
    runs = sorted(path.name[4:-4] for path in folder.glob("run.*.tsv")) if folder else []
    found = f"its runs are {', '.join(runs)}" if runs else "it has no runs"
    raise InvalidInputError(
        f"collection {collection.name!r} has no run {run!r}, nor is there a file of that name; "
        f"{found}"
    )


_Found = tuple[dict[str, tuple[Candidate, ...]], dict[str, Any]]


def _bm25(collection: Collection, depth: int) -> _Found:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError("eval", "BM25 as first stage") from error
    try:
        import Stemmer
    except ImportError:
        stemmer = None
    else:
        stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> list[list[str]]:
        tokens: list[list[str]] = bm25s.tokenize(
            texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
        )
        return tokens

    ids = list(collection.documents)
    index = bm25s.BM25(**_BM25)
    index.index(words(list(collection.documents.values())), show_progress=False)
    asked = words([collection.queries[query] for query in collection.evaluated])
    candidates = {}
    for query, wanted in zip(collection.evaluated, asked, strict=True):
        tokens = [word for word in wanted if word in index.vocab_dict]
        scores = index.get_scores(tokens) if tokens else np.zeros(len(ids))
        candidates[query] = _best(ids, scores, depth, above=0.0)
    snowball = "snowball english" if stemmer else None
    return candidates, {"kind": "bm25", **_BM25, "stopwords": "en", "stemmer": snowball}


def _dense(
    collection: Collection,
    encoder: BiEncoderScorer,
    depth: int,
    journal: Journal,
    progress: Progress | None,
) -> _Found:
    settings = {"kind": "dense", "index": "IndexFlatIP", "encoder": encoder.fingerprint}
    parts = [settings, collection.fingerprint, collection.evaluated, depth]
    key = f"dense:{digest([json.dumps(parts)])}"
    known = journal.get(key)
    if known is None:
        known = _search(collection, encoder, depth, progress)
        journal.put(key, known)
    candidates = {query: tuple(Candidate(*hit) for hit in known[query]) for query in known}
    return candidates, settings


def _search(
    collection: Collection, encoder: BiEncoderScorer, depth: int, progress: Progress | None
) -> dict[str, tuple[Candidate, ...]]:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("eval", "A dense first stage") from error
    # A blank text has no meaning to embed, and no way into a list of candidates.
    texts = {name: text for name, text in collection.documents.items() if text.strip()}
    ids = list(texts)
    vectors = encoder.embed_documents(list(texts.values()), progress=progress)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    asked = encoder.embed_queries([collection.queries[query] for query in collection.evaluated])
    similarities, positions = index.search(asked, min(depth, len(ids)))
    found = {}
    for query, places, scores in zip(collection.evaluated, positions, similarities, strict=True):
        order = np.argsort(places)  # equal scores keep the corpus order
        found[query] = _best([ids[place] for place in places[order]], scores[order], depth)
    return found


def _best(
    ids: list[str], scores: np.ndarray[Any, Any], depth: int, above: float = -np.inf
) -> tuple[Candidate, ...]:
    """Return the best documents; equal scores keep the order of `ids`."""
    order = np.argsort(-scores, kind="stable")[:depth]
    return tuple(Candidate(ids[i], float(scores[i])) for i in order if scores[i] > above)
