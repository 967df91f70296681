"""Journal of scorings: no pair is scored twice, and an interrupted run can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._scorer import Scorer
from rerank_core._types import Scale, Scoring
from rerank_core._usage import Usage
from rerank_core.evaluation._collection import digest

__all__ = ["Journal"]

_HEADER = {"journal": "rerank eval", "version": 1}
_FILE = "rerank-eval.jsonl"


class Journal:
    """Store of scorings, in memory and optionally in a file for the next run.

    The key of a scoring is a hash of everything it depends on: the scorer (name, fingerprint and
    configuration), the query, and the candidates' texts in order. One journal can therefore serve
    several collections, scorers and first stages, and never returns what was scored under other
    settings. Degraded scorings are not kept, so the next run tries again.

    A line is written as soon as a query is scored; an incomplete last line is dropped. Only one
    process at a time may use the file.

    Args:
        path: A file, or a folder in which ``rerank-eval.jsonl`` is used. None keeps scorings in
            memory only.

    Raises:
        InvalidInputError: If the file is not a journal, or one of its lines is damaged.
        OSError: If the file cannot be read or written.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Journal

        scorer, texts = load_scorer("nano"), ["Cats purr.", "Dogs bark."]
        with Journal() as journal:  # Journal("scores.jsonl") also keeps them for the next run
            journal.keep(scorer, "Do cats purr?", texts, scorer.score("Do cats purr?", texts))
            print(journal.find(scorer, "Do cats purr?", texts) is not None)  # True
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._known: dict[str, Any] = {}
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
        entry = self._known.get(self._key(scorer, query, texts))
        return None if entry is None else _scoring(entry)

    def keep(self, scorer: Scorer, query: str, texts: Sequence[str], scoring: Scoring) -> None:
        """Keep a scoring, unless it is degraded."""
        if scoring.degraded is None:
            self.put(self._key(scorer, query, texts), _entry(scoring))

    def get(self, key: str) -> Any:
        """Return the value of a key given to `put`, or None."""
        return self._known.get(key)

    def put(self, key: str, entry: Any) -> None:
        """Keep a JSON value under a key."""
        self._known[key] = entry
        self._write({"key": key, "entry": entry})

    def _key(self, scorer: Scorer, query: str, texts: Sequence[str]) -> str:
        # The scorer is kept alive, since the id of a deleted object can be reused.
        if id(scorer) not in self._identities:
            self._identities[id(scorer)] = (scorer, _identity(scorer))
        return digest([self._identities[id(scorer)][1], query, *texts])

    def _open(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        if content and not content.startswith(b'{"journal": "rerank eval"'):
            raise InvalidInputError(
                f"{path}: is not a journal of rerank eval; use a new file, or a folder"
            )
        whole = content.rfind(b"\n") + 1
        for number, raw in enumerate(content[:whole].splitlines(), start=1):
            try:
                line = json.loads(raw)
                if number > 1:
                    self._known[line["key"]] = line["entry"]
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInputError(
                    f"{path}:{number}: is damaged ({error!r}); delete the line or the file"
                ) from error
            if number == 1 and line != _HEADER:
                raise InvalidInputError(f"{path}: was written by another version; use a new file")
        self._stream = path.open("ab")
        self._stream.truncate(whole)
        if not whole:
            self._write(_HEADER)

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
    }
    return {name: value for name, value in entry.items() if value is not None}


def _scoring(entry: Mapping[str, Any]) -> Scoring:
    names = {field.name for field in fields(Usage)}
    scale, secondary = entry.get("scale"), entry.get("secondary")
    return Scoring(
        tuple(entry["scores"]),
        Usage(**{name: value for name, value in entry["usage"].items() if name in names}),
        secondary=secondary and tuple(secondary),
        scale=scale and Scale(scale),
    )
