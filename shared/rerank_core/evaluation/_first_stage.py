"""First stages: runs read from files, BM25, and dense retrieval with FAISS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rerank_core._checks import check_number, describe, is_blank
from rerank_core._errors import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core._local.bi_encoder import BiEncoderScorer
from rerank_core._types import Progress
from rerank_core.evaluation._collection import Collection, digest
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._lines import Line, read_table

__all__ = ["Candidate", "FirstStage", "first_stage", "hits_of", "read_run", "run_file"]

_RUN = ("query-id", "corpus-id", "rank", "score")
_TREC_RUN = ("query-id", "Q0", "corpus-id", "rank", "score", "tag")
# Defaults of Anserini and Pyserini: Yang, Fang and Lin, "Anserini: Reproducible Ranking Baselines
# Using Lucene", JDIQ 10(4), 2018, https://doi.org/10.1145/3239571.
_BM25 = {"k1": 0.9, "b": 0.4, "method": "lucene"}


class Candidate(NamedTuple):
    """A document that the first stage found.

    Attributes:
        id: Document id.
        score: Score in the first stage; higher is better.

    Example:
        ```python
        from rerank_core.evaluation import Candidate

        document, score = Candidate("d1", 12.5)
        print(document, score)
        ```

        ```text
        d1 12.5
        ```
    """

    id: str
    score: float


@dataclass(frozen=True)
class FirstStage:
    """Candidates of each query of a collection.

    Attributes:
        name: Name of the first stage, such as ``"bm25"`` or ``"run:bm25"``.
        candidates: Candidates by query id, best first. A query may have none.
        settings: Settings of the first stage, as plain JSON values.
        notes: Remarks on what was skipped or not found.

    Example:
        ```python
        from rerank_core.evaluation import Candidate, FirstStage

        mine = FirstStage("mine", {"q": (Candidate("d2", 2.0), Candidate("d1", 1.5))})
        print(mine.candidates["q"][0].id)
        ```

        ```text
        d2
        ```
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
    """Find candidates for every query of a collection that can be evaluated.

    Args:
        spec: One of

            * ``"bm25"``: BM25 by bm25s, Lucene's variant with k1 = 0.9 and b = 0.4, English stop
              words, and Snowball's English stemmer if PyStemmer is installed. Only documents that
              share a word with the query are found; ties keep the order of the corpus.
            * ``"dense:MODEL"``: a sentence-transformers bi-encoder (folder or hub id) and an
              exact search by cosine with FAISS.
            * ``"run:NAME"``: the file ``run.NAME.tsv`` in the collection's folder, or a path; see
              `read_run`.

        collection: The collection to search.
        depth: Maximum number of candidates per query.
        journal: Journal that keeps the results of a bi-encoder for the next run.
        progress: Called with (documents done, documents in all) while documents are embedded.

    Raises:
        ConfigurationError: If `spec` is unknown, or the model cannot be loaded.
        InvalidInputError: If a run cannot be read, or does not fit the collection.
        MissingExtraError: If bm25s, FAISS or sentence-transformers is not installed.

    Example:
        ```python
        from rerank_core.evaluation import Collection, first_stage

        documents = {"1": "Cats purr.", "2": "Dogs bark."}
        pets = Collection("pets", documents, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        found = first_stage("bm25", pets, 10).candidates["q"]
        print([candidate.id for candidate in found])
        ```

        ```text
        ['1']
        ```
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
            f"first stage {describe(spec)} is unknown; use 'bm25', 'run:NAME' for a file "
            "run.NAME.tsv in the collection, or 'dense:PATH_OR_HUB_ID' for a bi-encoder"
        )
    empty = sum(not found for found in candidates.values())
    notes = (f"{spec} finds nothing for {empty} queries",) if empty else ()
    return FirstStage(spec, candidates, settings, notes)


def read_run(collection: Collection, run: str, depth: int) -> FirstStage:
    """Read a run: the candidates that a retriever found.

    The file is tab-separated with the header ``query-id``, ``corpus-id``, ``rank``, ``score``, or
    has TREC's six columns ``query Q0 document rank score tag`` and no header. Candidates are
    ordered by score, as in trec_eval, ties by rank and then by line.

    Queries that cannot be evaluated are skipped, since a run often covers a larger set. A
    document without a text is an error: it cannot be reranked, and dropping it would change the
    first stage.

    Args:
        collection: The collection that was searched.
        run: The NAME of a file ``run.NAME.tsv`` in the collection's folder, or a path.
        depth: Maximum number of candidates per query.

    Raises:
        InvalidInputError: If there is no such run; if a line is malformed, names a document
            without a text, or repeats a document (the error has its number).

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp
        from rerank_core.evaluation import Collection, read_run

        path = Path(mkdtemp()) / "run.txt"
        path.write_text("q Q0 1 1 12.5 mine")
        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        print(read_run(pets, str(path), 10).candidates["q"][0])
        ```

        ```text
        Candidate(id='1', score=12.5)
        ```
    """
    path = run_file(collection.folder, run)
    rows: dict[str, list[tuple[float, int, int, str]]] = {
        query: [] for query in collection.evaluated
    }
    lines: dict[tuple[str, str], int] = {}
    skipped: set[str] = set()
    for line, query, document, rank, score in hits_of(path):
        key = (-score, rank, line.number)
        if query not in rows:
            skipped.add(query)
            continue
        if document not in collection.documents:
            raise line.error(f"document {document!r} has no text in {collection.name}")
        first = lines.setdefault((query, document), line.number)
        if first != line.number:
            raise line.error(
                f"document {document!r} appears twice for query {query!r}, first on line {first}"
            )
        rows[query].append((*key, document))
    candidates = {
        query: tuple(Candidate(document, -score) for score, _, _, document in sorted(found)[:depth])
        for query, found in rows.items()
    }
    notes = []
    if empty := sum(not found for found in candidates.values()):
        notes.append(f"{empty} of {len(rows)} queries have no candidates in {path.name}")
    if skipped:
        notes.append(f"{len(skipped)} queries of {path.name} do not count here")
    settings = {"kind": "run", "file": path.name, "content": digest([json.dumps(candidates)])}
    return FirstStage(f"run:{run}", candidates, settings, tuple(notes))


def hits_of(path: Path) -> Iterator[tuple[Line, str, str, int, float]]:
    """Read a run line by line, in its own order.

    Args:
        path: The run, see `read_run`.

    Yields:
        The line, the ids of the query and the document, the rank and the score.

    Raises:
        InvalidInputError: If a line is malformed.
    """
    for line, (query, document, rank, score) in read_table(path, _RUN, _TREC_RUN):
        real = line.real(score, "the score")
        yield line, query, document, line.integer(rank, "the rank"), real


def run_file(folder: Path | None, run: str) -> Path:
    """Find a run: the NAME of a file ``run.NAME.tsv`` in a collection's folder, or a path.

    Raises:
        InvalidInputError: If there is neither.
    """
    for path in (folder and folder / f"run.{run}.tsv", Path(run)):
        if path is not None and path.is_file():
            return path
    runs = sorted(path.name[4:-4] for path in folder.glob("run.*.tsv")) if folder else []
    found = f"its runs are {', '.join(runs)}" if runs else "it has no runs"
    name = folder.resolve().name if folder else ""
    raise InvalidInputError(
        f"collection {name!r} has no run {run!r}, and there is no file of that name; {found}"
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
    known: dict[str, tuple[Candidate, ...]] | None
    known = journal.get(key, partial(_read_candidates, collection, depth))
    if known is None:
        known = _search(collection, encoder, depth, progress)
        journal.put(key, known)
    return known, settings


def _read_candidates(
    collection: Collection, depth: int, entry: object
) -> dict[str, tuple[Candidate, ...]]:
    """Read what `_search` returned from JSON, and check every value of it.

    Raises:
        InvalidInputError: If it is anything else.
    """
    if not isinstance(entry, dict) or {*entry} != {*collection.evaluated}:
        raise InvalidInputError("it must have the candidates of each query")
    return {query: _read_hits(collection, depth, hits) for query, hits in entry.items()}


def _read_hits(collection: Collection, depth: int, hits: object) -> tuple[Candidate, ...]:
    if not isinstance(hits, list | tuple) or len(hits) > depth:
        raise InvalidInputError(f"a query must have a list of at most {depth} candidates")
    found: dict[str, Candidate] = {}
    for hit in hits:
        match hit:
            case [str() as name, score] if name in collection.documents and name not in found:
                found[name] = Candidate(name, check_number(score, "a score"))
            case _:
                raise InvalidInputError(
                    f"a candidate must be the id of another document and a score, "
                    f"not {describe(hit)}"
                )
    return tuple(found.values())


def _search(
    collection: Collection, encoder: BiEncoderScorer, depth: int, progress: Progress | None
) -> dict[str, tuple[Candidate, ...]]:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("eval", "A dense first stage") from error
    # Blank texts are never candidates.
    texts = {name: text for name, text in collection.documents.items() if not is_blank(text)}
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
