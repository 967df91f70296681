"""Inputs of a bulk job, cut into parts that can each be read on its own."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core._files import bounded_lines, replacing
from rerank_core.evaluation._collection import texts_of
from rerank_core.evaluation._first_stage import hits_of, run_file
from rerank_core.evaluation._lines import Line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Input", "Part", "Rows", "open_input"]

Rows: TypeAlias = "list[dict[str, Any] | Exception] | pa.Table"
"""Rows of JSON, with an error in the place of one that cannot be read; or an Arrow table."""

_UNITS = 32  # of a row group of Parquet, each of which decodes those before it again
_BUFFER = 1 << 20  # bytes of a column that are read at once


class Part(NamedTuple):
    """Consecutive rows, which are written to a file of their own.

    Attributes:
        number: Its number, from 0.
        first: The number of its first row, from 1; blank lines do not count.
        rows: How many there are.
        place: Where they begin: a byte, a row, or a file and a row group.
    """

    number: int
    first: int
    rows: int
    place: tuple[Any, ...]


class Input(ABC):
    """The rows to rerank.

    Attributes:
        format: ``"jsonl"``, ``"parquet"`` or ``"beir"``.
    """

    format: str

    @abstractmethod
    def state(self) -> list[list[Any]]:
        """Return the name, size and time of change of each file."""

    @abstractmethod
    def units(self, size: int) -> list[list[Part]]:
        """Cut the input into parts of at most so many rows, and group those to be read together."""

    @abstractmethod
    def read(self, parts: list[Part]) -> Iterator[tuple[Part, Rows]]:
        """Read parts that `units` has put together, or some of them in their order."""


def open_input(path: Path, run: str | None, scratch: Path) -> Input:
    """Find out what an input is.

    Args:
        path: A file of JSON Lines or Parquet, a folder of Parquet files, or one in BEIR's layout.
        run: The first stage of a folder in BEIR's layout.
        scratch: The file that such a folder and its run are joined in.

    Raises:
        ConfigurationError: If the run does not go with the input.
        InvalidInputError: If there is no such input, or a collection or run cannot be read.
        MissingExtraError: If pyarrow is not installed.
    """
    if not path.exists():
        raise InvalidInputError(f"{path}: no such file or folder")
    beir = (path / "corpus.jsonl").is_file()
    if beir and run is None:
        raise ConfigurationError(f"{path}: name its first stage: --run NAME or --run FILE")
    if not beir and run is not None:
        raise ConfigurationError(f"--run {run}: {path} is no folder with corpus.jsonl")
    if beir and run is not None:
        return _Beir(path, run, scratch)
    if path.is_file() and path.suffix != ".parquet":
        return _JsonLines(path)
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        raise InvalidInputError(f"{path}: has neither corpus.jsonl nor files *.parquet")
    return _Parquet(files)


@dataclass(frozen=True)
class _JsonLines(Input):
    """A file with a JSON object on each line."""

    path: Path
    format = "jsonl"

    def state(self) -> list[list[Any]]:
        return _state([self.path])

    def units(self, size: int) -> list[list[Part]]:
        if self.path.suffix == ".gz":
            raise InvalidInputError(f"{self.path}: decompress it first, as it is read in parts")
        parts: list[Part] = []
        offset = rows = 0
        with self.path.open("rb") as stream:
            for line in bounded_lines(stream, str(self.path)):
                if line.strip():
                    if rows % size == 0:
                        parts.append(Part(len(parts), rows + 1, 0, (offset,)))
                    rows += 1
                    parts[-1] = parts[-1]._replace(rows=parts[-1].rows + 1)
                offset += len(line)
        return [[part] for part in parts]

    def read(self, parts: list[Part]) -> Iterator[tuple[Part, Rows]]:
        for part in parts:
            rows: list[dict[str, Any] | Exception] = []
            with self.path.open("rb") as stream:
                stream.seek(*part.place)
                for line in bounded_lines(stream, str(self.path)):
                    if line.strip():
                        rows.append(_object(line))
                    if len(rows) == part.rows:
                        break
            yield part, rows


def _state(files: Iterable[Path]) -> list[list[Any]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _object(line: bytes) -> dict[str, Any] | Exception:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return InvalidInputError(f"not JSON: {error}; it begins with {describe(line[:100])}")
    if not isinstance(value, dict):
        return InvalidInputError(f"must be a JSON object, not {describe(value)}")
    return value


@dataclass(frozen=True)
class _Parquet(Input):
    """Files of Parquet, which are read in the order of their names."""

    files: list[Path]
    format = "parquet"

    def state(self) -> list[list[Any]]:
        return _state(self.files)

    def units(self, size: int) -> list[list[Part]]:
        units: list[list[Part]] = []
        number = first = 0
        for file in self.files:
            with _parquet_file(file) as opened:
                groups = [
                    opened.metadata.row_group(group).num_rows
                    for group in range(opened.metadata.num_row_groups)
                ]
            for group, rows in enumerate(groups):
                parts = []
                for start in range(0, rows, size):
                    kept = min(size, rows - start)
                    parts.append(Part(number, first + 1, kept, (file, group, start, size)))
                    number, first = number + 1, first + kept
                length = -(-len(parts) // _UNITS) or 1
                units += [parts[i : i + length] for i in range(0, len(parts), length)]
        return units

    def read(self, parts: list[Part]) -> Iterator[tuple[Part, Rows]]:
        file, group, _, size = parts[0].place
        wanted = {part.place[2]: part for part in parts}
        with _parquet_file(file) as opened:
            batches = opened.iter_batches(batch_size=size, row_groups=[group], use_threads=False)
            for start, table in zip(count(0, size), _slices(batches, size)):
                if part := wanted.pop(start, None):
                    yield part, table
                if not wanted:
                    return


def _slices(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Make tables of just so many rows, the last one with fewer, of batches that may have fewer."""
    import pyarrow as pa

    held = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= size:
            yield held.slice(0, size)
            held = held.slice(size)
    if held is not None and held.num_rows:
        yield held


def _parquet_file(path: Path) -> pq.ParquetFile:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("ray", "Reading Parquet") from error
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as Parquet: {error}") from error


_SCHEMA = """
CREATE TABLE document (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE query (place INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, text TEXT NOT NULL);
CREATE TABLE hit (query TEXT, document TEXT, score REAL, rank INTEGER, line INTEGER,
    PRIMARY KEY (query, document)) WITHOUT ROWID;
"""
# The queries of the run in the order of queries.jsonl, and then those that have no text there.
_ROWS = """
CREATE TABLE row AS
    SELECT row_number() OVER (ORDER BY place IS NULL, place, asked.query) AS number,
        asked.query AS id, query.text
    FROM (SELECT DISTINCT query FROM hit) AS asked LEFT JOIN query ON query.id = asked.query;
CREATE UNIQUE INDEX row_number ON row (number);
"""
_LOST = """
SELECT line, hit.document FROM hit LEFT JOIN document ON document.id = hit.document
WHERE document.id IS NULL ORDER BY line LIMIT 1
"""
# As `read_run` orders them.
_READ = """
SELECT row.id, row.text, document.id, document.text, hit.score
FROM row JOIN hit ON hit.query = row.id JOIN document ON document.id = hit.document
WHERE row.number >= ? AND row.number < ?
ORDER BY row.number, hit.score DESC, hit.rank, hit.line
"""


@dataclass(frozen=True)
class _Beir(Input):
    """A folder in BEIR's layout and a run over it, which SQLite joins in a file."""

    folder: Path
    run: str
    database: Path
    format = "beir"

    def state(self) -> list[list[Any]]:
        files = [self.folder / "corpus.jsonl", self.folder / "queries.jsonl"]
        return _state([*files, run_file(self.folder, self.run)])

    def units(self, size: int) -> list[list[Part]]:
        if not self.database.exists():
            with replacing(self.database) as draft:
                self._join(Path(draft.name))
        with closing(sqlite3.connect(self.database)) as connection:
            ((rows,),) = connection.execute("SELECT count(*) FROM row")
        starts = range(1, rows + 1, size)
        return [
            [Part(number, first, min(size, rows + 1 - first), ())]
            for number, first in enumerate(starts)
        ]

    def read(self, parts: list[Part]) -> Iterator[tuple[Part, Rows]]:
        with closing(sqlite3.connect(self.database)) as connection:
            for part in parts:
                found = connection.execute(_READ, (part.first, part.first + part.rows))
                yield (
                    part,
                    [
                        {
                            "id": identity,
                            "query": query,
                            "candidates": [
                                {"id": document, "text": text, "score": score}
                                for *_, document, text, score in hits
                            ],
                        }
                        for (identity, query), hits in groupby(found, key=lambda hit: hit[:2])
                    ],
                )

    def _join(self, path: Path) -> None:
        """Read the collection and the run into a database.

        Raises:
            InvalidInputError: If a line is malformed, repeats an id or a document of a query, or
                names a document without a text.
        """
        run = run_file(self.folder, self.run)
        documents, queries = self.folder / "corpus.jsonl", self.folder / "queries.jsonl"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(_SCHEMA)
            for line, identity, text, _ in texts_of(documents, with_title=True):
                with _once(line, f'"_id" {identity!r} appears twice'):
                    connection.execute("INSERT INTO document VALUES (?, ?)", (identity, text))
            for line, identity, text, _ in texts_of(queries, with_title=False):
                with _once(line, f'"_id" {identity!r} appears twice'):
                    entry = (line.number, identity, text)
                    connection.execute("INSERT INTO query VALUES (?, ?, ?)", entry)
            for line, query, document, rank, score in hits_of(run):
                with _once(line, f"document {document!r} appears twice for query {query!r}"):
                    hit = (query, document, score, rank, line.number)
                    connection.execute("INSERT INTO hit VALUES (?, ?, ?, ?, ?)", hit)
            connection.executescript(_ROWS)
            for number, document in connection.execute(_LOST):
                raise Line(run, number).error(f"document {document!r} has no text in {documents}")


@contextmanager
def _once(line: Line, problem: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise line.error(problem) from None
