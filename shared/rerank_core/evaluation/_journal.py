"""Journal of scorings: no pair is scored twice, and an interrupted run can be resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from rerank_core._checks import check_number, check_whole, describe, optional
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._files import bounded_lines
from rerank_core._scorer import Scorer
from rerank_core._types import Scale, Scoring, Span
from rerank_core._usage import Usage
from rerank_core.evaluation._collection import digest

__all__ = ["Journal"]

_HEADER = {"journal": "rerank eval", "version": 1}
_FILE = "rerank-eval.jsonl"
_SCORING_KEY = re.compile("[0-9a-f]{32}")
_LONGEST = 1 << 30  # a dense first stage of a large collection is one line
_WHOLE = {field.name for field in fields(Usage)} - {"billed_units", "seconds", "cost"}


class Journal:
    """Store of scorings, in memory and optionally in a file for the next run.

    The key of a scoring is a hash of everything it depends on: the scorer (name, fingerprint and
    configuration), the query, and the candidates' texts in order. One journal can therefore serve
    several collections, scorers and first stages, and never returns what was scored under other
    settings. Degraded scorings are not kept, so the next run tries again.

    A line is written as soon as a query is scored; an incomplete last line is dropped, and of two
    lines with one key the later counts. Only one process at a time may use the file.

    Args:
        path: A file, or a folder in which ``rerank-eval.jsonl`` is used. None keeps scorings in
            memory only.

    Raises:
        InvalidInputError: If the file is not a journal, or one of its lines is damaged; also when
            a scoring is looked up, if it does not hold one score per text.
        OSError: If the file cannot be read or written.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Journal

        scorer, texts = load_scorer("nano"), ["Cats purr.", "Dogs bark."]
        with Journal() as journal:  # Journal("scores.jsonl") also keeps them for the next run
            journal.keep(scorer, "Do cats purr?", texts, scorer.score("Do cats purr?", texts))
            print(journal.find(scorer, "Do cats purr?", texts) is not None)
        ```

        ```text
        True
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._known: dict[str, Any] = {}
        self._lines: dict[str, int] = {}
        self._stream: BinaryIO | None = None
        self._identities: dict[int, tuple[Scorer, str]] = {}
        self.path = None
        if path is not None:
            self.path = Path(path) / _FILE if Path(path).is_dir() else Path(path)
            self._open(self.path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; scorings in memory stay."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def find(self, scorer: Scorer, query: str, texts: Sequence[str]) -> Scoring | None:
        """Return the scoring of a query and its texts, or None if it is not known."""
        key = self._key(scorer, query, texts)
        found: Scoring | None = self.get(key, partial(_scoring, count=len(texts)))
        return found

    def keep(self, scorer: Scorer, query: str, texts: Sequence[str], scoring: Scoring) -> None:
        """Keep a scoring, unless it is degraded."""
        if scoring.degraded is None:
            self.put(self._key(scorer, query, texts), _entry(scoring))

    def get(self, key: str, read: Callable[[Any], Any] | None = None) -> Any:
        """Return the value of a key given to `put`, or None.

        Args:
            key: The key.
            read: Makes the result from the value, and raises a `ValueError` if the value is not
                what it should be, as in a file that was edited. Default: the value itself.

        Raises:
            InvalidInputError: If `read` refuses the value.
        """
        if key not in self._known:
            return None
        try:
            return read(self._known[key]) if read else self._known[key]
        except ValueError as error:
            raise self._damaged(self._lines.get(key, 0), error) from error

    def put(self, key: str, entry: Any) -> None:
        """Keep a JSON value under a key."""
        self._known[key] = entry
        self._lines.pop(key, None)
        self._write({"key": key, "entry": entry})

    def _key(self, scorer: Scorer, query: str, texts: Sequence[str]) -> str:
        # The scorer is kept alive, since the id of a deleted object can be reused.
        if id(scorer) not in self._identities:
            self._identities[id(scorer)] = (scorer, _identity(scorer))
        return digest([self._identities[id(scorer)][1], query, *texts])

    def _open(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise InvalidInputError(f"{path}: is not a regular file; a journal is kept in one")
        whole = 0
        if path.exists():
            with path.open("rb") as stream:
                for number, raw in enumerate(bounded_lines(stream, str(path), _LONGEST), start=1):
                    if number == 1:
                        self._check_header(raw)
                    if raw.endswith(b"\n"):  # else it was cut off while it was written
                        whole += len(raw)
                        self._read(number, raw)
        self._stream = path.open("ab")
        self._stream.truncate(whole)
        if not whole:
            self._write(_HEADER)

    def _check_header(self, raw: bytes) -> None:
        header = json.dumps(_HEADER).encode() + b"\n"
        if raw == header or (header.startswith(raw) and not raw.endswith(b"\n")):
            return
        if raw.startswith(b'{"journal": "rerank eval"'):
            raise InvalidInputError(f"{self.path}: was written by another version; use a new file")
        raise InvalidInputError(
            f"{self.path}: is not a journal of rerank eval; use a new file, or a folder"
        )

    def _read(self, number: int, raw: bytes) -> None:
        if number == 1:
            return
        try:
            line = json.loads(raw)
            if not isinstance(line, dict) or line.keys() != {"key", "entry"}:
                raise InvalidInputError("it must be an object of key and entry")
            key, entry = line["key"], line["entry"]
            if not isinstance(key, str):
                raise InvalidInputError(f"the key must be a str, not {describe(key)}")
            if _SCORING_KEY.fullmatch(key):
                _scoring(entry)
        except (ValueError, RecursionError) as error:
            raise self._damaged(number, error) from error
        self._known[key] = entry
        self._lines[key] = number

    def _damaged(self, number: int, error: Exception) -> InvalidInputError:
        return InvalidInputError(
            f"{self.path}:{number}: is damaged: {error}; delete the line or the file"
        )

    def _write(self, value: Any) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps(value, allow_nan=False).encode() + b"\n")
            self._stream.flush()


def _identity(scorer: Scorer) -> str:
    try:
        config: Mapping[str, Any] | str = dict(scorer.to_config())
    except ConfigurationError:
        config = repr(type(scorer))
    return json.dumps([scorer.name, scorer.fingerprint, config], sort_keys=True, default=repr)


def _entry(scoring: Scoring) -> dict[str, Any]:
    default = asdict(Usage())
    usage = {name: value for name, value in asdict(scoring.usage).items() if value != default[name]}
    entry = {
        "scores": scoring.scores,
        "usage": usage,
        "secondary": scoring.secondary,
        "scale": scoring.scale,
        "spans": scoring.spans,
        "nothing_probability": scoring.nothing_probability,
    }
    return {name: value for name, value in entry.items() if value is not None}


def _scoring(entry: object, count: int | None = None) -> Scoring:
    """Read a scoring that `_entry` wrote, and check every value of it.

    Raises:
        ValueError: If it is anything else, or does not have so many scores.
    """
    match entry:
        case {"scores": list() | tuple() as scores, "usage": dict() as usage, **others}:
            pass
        case _:
            raise InvalidInputError(f"it must have scores and usage, not {describe(entry)}")
    known = ("secondary", "scale", "spans", "nothing_probability")
    if unknown := [name for name in others if name not in known]:
        raise InvalidInputError(f"it has an unknown field, {describe(unknown[0])}")
    secondary, scale = others.get("secondary"), others.get("scale")
    if not isinstance(secondary, list | tuple | None) or not isinstance(scale, str | None):
        raise InvalidInputError("secondary must be a list, and scale a str")
    spans = others.get("spans")
    if count is not None and len(scores) != count:
        raise InvalidInputError(f"it has {len(scores)} scores for {count} texts")
    return Scoring(
        _numbers(scores, "scores"),
        _usage(usage),
        secondary=None if secondary is None else _numbers(secondary, "secondary"),
        scale=None if scale is None else Scale(scale),
        spans=None if spans is None else _spans(spans),
        nothing_probability=optional(
            check_number,
            others.get("nothing_probability"),
            "nothing_probability",
            least=0,
            most=1,
        ),
    )


def _spans(entry: object) -> tuple[tuple[Span, ...], ...]:
    try:
        return tuple(
            tuple(
                Span(
                    check_whole(start, "spans", least=0),
                    check_whole(end, "spans", least=0),
                    optional(check_number, score, "spans"),
                )
                for start, end, score in found
            )
            for found in entry  # type: ignore[attr-defined]
        )
    except TypeError:
        raise InvalidInputError("spans must be lists of start, end and score") from None


def _numbers(values: Sequence[object], name: str) -> tuple[float | None, ...]:
    return tuple(
        optional(check_number, value, f"{name}[{position}]")
        for position, value in enumerate(values)
    )


def _usage(values: Mapping[str, Any]) -> Usage:
    known: dict[str, Any] = {}
    for name, value in values.items():
        if name in _WHOLE:
            known[name] = check_whole(value, name, least=0)
        elif name == "seconds":
            known[name] = check_number(value, name, least=0)
        elif name == "cost":
            known[name] = optional(check_number, value, name, least=0)
        elif name == "billed_units":
            if not isinstance(value, dict):
                raise InvalidInputError(f"billed_units must be an object, not {describe(value)}")
            known[name] = {unit: check_number(amount, unit) for unit, amount in value.items()}
    return Usage(**known)
