"""A bulk job: parts of an input, each reranked and written whole, in this process or on Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._files import replacing
from rerank_core._loading import ScorerLike, load_scorer
from rerank_core._types import Progress
from rerank_core.bulk._batch import ADDED, RerankBatch, reason
from rerank_core.bulk._inputs import Part, Rows, open_input
from rerank_core.bulk._outputs import json_lines, trec_lines, write_lines, write_table
from rerank_core.bulk._ray import RaySettings, on_ray

__all__ = ["BulkJob", "BulkReport", "run_bulk"]


@dataclass(frozen=True, kw_only=True)
class BulkJob:
    """An input, the way to rerank it, and the folder of the results.

    Attributes:
        input: A file of JSON Lines or Parquet, a folder of Parquet files, or one in BEIR's layout.
        out: The folder of the results.
        run: The first stage of a folder in BEIR's layout.
        scorer: The scorer.
        options: Other arguments of `RerankBatch`, in plain JSON values.
        id_field: The column, and the field of candidates, that holds an id.
        part_rows: The most rows of a part.
        format: ``"jsonl"``, ``"parquet"`` or ``"trec"``. Default: the format of the input, and
            ``"trec"`` for BEIR's layout.
    """

    input: Path
    out: Path
    run: str | None = None
    scorer: ScorerLike = "nano"
    options: Mapping[str, Any] = field(default_factory=dict)
    id_field: str = "id"
    part_rows: int = 64
    format: str | None = None


class BulkReport(NamedTuple):
    """Numbers of rows that a job has done.

    Attributes:
        rows: Rows of the input.
        resumed: Those of them that were done before it began.
        failed: Those that could not be reranked.
    """

    rows: int
    resumed: int
    failed: int


def run_bulk(
    job: BulkJob, ray: RaySettings | None = None, progress: Progress = lambda _done, _total: None
) -> BulkReport:
    """Rerank what of a job is not done yet.

    Each part of the results is a file that appears whole. Rows that fail are in files of JSON
    Lines in the folder ``failures``, each with the field ``error``; such a file can be the input
    of another job.

    Args:
        job: The job.
        ray: Where and how to run on Ray; None for this process.
        progress: Called after each part with (rows done, rows in all).

    Raises:
        ConfigurationError: If the folder has results of another job, or an option cannot work.
        InvalidInputError: If the input cannot be read.
        MissingExtraError: If a package is not installed.
        OSError: If reading or writing fails.
    """
    # Workers of Ray may be in another folder.
    job = replace(job, input=job.input.resolve(), out=job.out.resolve())
    worker = PartWorker(job)  # tells what is wrong with the options
    folder = job.out
    for name in ("parts", "failures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _claim(job, worker)
    for draft in folder.rglob(".rerank-*.tmp*"):  # of a job that was killed
        draft.unlink()
    units = worker.input.units(job.part_rows)
    total = sum(part.rows for parts in units for part in parts)
    units = [[part for part in parts if not worker.file(part).exists()] for parts in units]
    units = [parts for parts in units if parts]
    done = resumed = total - sum(part.rows for parts in units for part in parts)
    progress(done, total)
    here = (rows for parts in units for rows in worker(parts))
    for rows in on_ray(ray, PartWorker, (job,), units) if ray and units else here:
        done += rows
        progress(done, total)
    if worker.format == "trec":
        with replacing(folder / "run.trec") as run:
            for path in sorted(folder.glob("parts/*.trec")):
                with path.open("rb") as part:
                    shutil.copyfileobj(part, run)
    tables = folder.glob("failures/*.jsonl")
    failed = sum(path.read_bytes().count(b"\n") for path in tables)
    return BulkReport(total, resumed, failed)


def _claim(job: BulkJob, worker: PartWorker) -> None:
    """Note in the folder whose results it has, or check that they are of this job.

    Raises:
        ConfigurationError: If there are results of another job.
    """
    path = job.out / "job.json"
    mine = json.loads(json.dumps(worker.describe()))
    known: Any = {}
    with suppress(FileNotFoundError, ValueError):
        known = json.loads(path.read_bytes())
    if known == mine:
        return
    if not isinstance(known, dict):
        known = {}
    if any(job.out.glob("parts/part-*")):
        name = next(name for name in mine if known.get(name) != mine[name])
        raise ConfigurationError(
            f"{job.out}: has the results of another job, whose {name} is "
            f"{describe(known.get(name))} and not {describe(mine[name])}; name another folder"
        )
    for left in (_scratch(job), *job.out.glob("failures/part-*")):
        left.unlink(missing_ok=True)
    write_lines(path, [json.dumps(mine, indent=1)])


def _scratch(job: BulkJob) -> Path:
    return job.out / "input.sqlite"


class PartWorker:
    """Reranks parts of a job, and writes them.

    Attributes:
        input: The input.
        format: The format of the output.
    """

    def __init__(self, job: BulkJob) -> None:
        self._job = job
        self._rerank = RerankBatch(job.scorer, **job.options)
        self._scorer = load_scorer(job.scorer)
        self.input = open_input(job.input, job.run, _scratch(job))
        self.format = job.format or {"beir": "trec"}.get(self.input.format, self.input.format)
        if self.format == "trec" and any("arrange" in str(t) for t in job.options.get("trim", ())):
            raise ConfigurationError("a TREC run is in order of scores, and cannot be arranged")

    def describe(self) -> dict[str, Any]:
        """Describe what the results depend on."""
        job = self._job
        return {
            "input": str(job.input),
            "files": self.input.state(),
            "scorer": self._scorer.fingerprint,
            "options": {k: v for k, v in job.options.items() if k != "max_requests"},
            "id_field": job.id_field,
            "part_rows": job.part_rows,
            "format": self.format,
        }

    def file(self, part: Part) -> Path:
        """Return the file of a part, which is there once it is done."""
        return self._job.out / "parts" / f"part-{part.number:06}.{self.format}"

    def __call__(self, parts: list[Part]) -> Iterator[int]:
        """Rerank parts that belong together, and yield the number of rows of each when done."""
        for part, rows in self.input.read(parts):
            if not self.file(part).exists():  # else a worker that is gone has done it
                self._write(part, *self._reranked(part, rows))
            yield part.rows

    def _write(self, part: Part, kept: Any, failed: Sequence[Mapping[str, Any]]) -> None:
        path = self.file(part)
        if failed:  # before the part, whose file says that all is done
            failures = self._job.out / "failures" / f"part-{part.number:06}.jsonl"
            write_lines(failures, json_lines(failed))
        if self.format == "parquet":
            write_table(path, kept)
        else:
            write_lines(path, json_lines(kept) if self.format == "jsonl" else kept)

    def _reranked(self, part: Part, rows: Rows) -> tuple[Any, list[dict[str, Any]]]:
        """Return what is written of a part in its format, and the rows that failed."""
        if isinstance(rows, list):
            return self._reranked_rows(part, rows)
        if self.format != "parquet":
            return self._reranked_rows(part, rows.to_pylist())
        import pyarrow as pa

        table = self._rerank(rows)
        errors = table.column("error").to_pylist()
        whole = pa.array([error is None for error in errors], pa.bool_())
        failed = []
        if any(errors):
            numbered = zip(count(part.first), rows.to_pylist(), errors, strict=False)
            failed = [{**row, "row": n, "error": error} for n, row, error in numbered if error]
        return table.filter(whole).drop_columns(["error"]), failed

    def _reranked_rows(
        self, part: Part, rows: Sequence[dict[str, Any] | Exception]
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        numbered = list(enumerate(rows, part.first))
        failed = [
            {"row": number, "error": reason(row)}
            for number, row in numbered
            if isinstance(row, Exception)
        ]
        asked = [(number, row) for number, row in numbered if not isinstance(row, Exception)]
        query, candidates = self._rerank.query_column, self._rerank.candidates_column
        if part.number == 0 and asked:
            for name in (query, candidates):
                if not any(name in row for _, row in asked):
                    raise InvalidInputError(
                        f"{self._job.input}: no row has the field {name!r}; the first has "
                        f"{', '.join(map(repr, asked[0][1]))}"
                    )
        columns = {name: [row.get(name) for _, row in asked] for name in (query, candidates)}
        result = self._rerank(columns)
        kept: list[Any] = []
        for place, (number, row) in enumerate(asked):
            error = result["error"][place]
            if error is None:
                added = {name: result[name][place] for name in (candidates, *ADDED)}
                try:
                    kept += self._written(number, row, added)
                except InvalidInputError as refused:
                    error = reason(refused)
            if error is not None:
                failed.append({**row, "row": number, "error": error})
        return kept, sorted(failed, key=lambda row: row["row"])

    def _written(self, number: int, row: Mapping[str, Any], added: Mapping[str, Any]) -> list[Any]:
        """Return the row, or the lines, that are written for a row that was reranked."""
        if self.format == "jsonl":
            kept = {name: value for name, value in row.items() if name not in (*ADDED, "row")}
            return [{**kept, **{name: value for name, value in added.items() if value is not None}}]
        candidates = [
            candidate if isinstance(candidate, Mapping) else {self._rerank.text_field: candidate}
            for candidate in added[self._rerank.candidates_column]
        ]
        names = [
            self._name(candidate, position + 1)
            for candidate, position in zip(candidates, added["positions"], strict=True)
        ]
        name = self._name(row, number)
        if self.format == "trec":
            tag = "-".join(self._scorer.name.split())
            return trec_lines(name, names, added["relevance_scores"], tag)
        texts = [candidate[self._rerank.text_field] for candidate in candidates]
        pairs = zip(names, texts, strict=True)
        found = [{"id": name, "text": text} for name, text in pairs]
        query = row[self._rerank.query_column]
        return [{**added, "id": name, "query": query, "candidates": found}]

    def _name(self, fields: Mapping[str, Any], number: int) -> str:
        name = fields.get(self._job.id_field)
        return str(number if name is None else name)
