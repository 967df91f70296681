"""What has been scored, so that no pair is scored twice and an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

from rerank_core.errors import ConfigurationError, InvalidInputError
from rerank_core.evaluation._collection import digest
from rerank_core.scorer import Scorer
from rerank_core.types import Scale, Scoring, Usage

__all__ = ["Journal"]

_HEADER = {"journal": "rerank eval", "version": 1}
_FILE = "rerank-eval.jsonl"


class Journal:
    """Keeps scorings, in memory and, where it has a file, for the next run.

    A scoring is filed under a hash of all that decides it: the scorer (name, fingerprint and
    configuration), the query, and the candidates' texts in order, which follow from collection,
    first stage and depth. So a journal can serve several collections, scorers and first stages,
    and what was scored under other settings is never taken. Scorings that are degraded are not
    kept: a rerun tries again.

    A file is written a line for each query as soon as it is scored; a last line that was cut off
    is dropped. One process at a time may use it.

    Args:
        path: A file, or a folder for a file ``rerank-eval.jsonl``. None keeps nothing.

    Raises:
        InvalidInputError: If the file is no such journal, or a line of it is damaged.
        OSError: If it cannot be read or written.
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
        """Close the file; what is in memory stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def find(self, scorer: Scorer, query: str, texts: Sequence[str]) -> Scoring | None:
        """Return what is known of a scoring, or None."""
        entry = self._known.get(self._key(scorer, query, texts))
        return None if entry is None else _scoring(entry)

    def keep(self, scorer: Scorer, query: str, texts: Sequence[str], scoring: Scoring) -> None:
        """Keep a scoring, unless it is degraded."""
        if scoring.degraded is None:
            self.put(self._key(scorer, query, texts), _entry(scoring))

    def get(self, key: str) -> Any:
        """Return what is filed under a key of your own, or None."""
        return self._known.get(key)

    def put(self, key: str, entry: Any) -> None:
        """File a JSON value under a key of your own."""
        self._known[key] = entry
        self._write({"key": key, "entry": entry})

    def _key(self, scorer: Scorer, query: str, texts: Sequence[str]) -> str:
        # Kept beside its identity: the id of an object that is gone may be given out again.
        if id(scorer) not in self._identities:
            self._identities[id(scorer)] = (scorer, _identity(scorer))
        return digest([self._identities[id(scorer)][1], query, *texts])

    def _open(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        if content and not content.startswith(b'{"journal": "rerank eval"'):
            raise InvalidInputError(
                f"{path}: is no journal of rerank eval; name a new file, or a folder"
            )
        whole = content.rfind(b"\n") + 1
        for number, raw in enumerate(content[:whole].splitlines(), start=1):
            try:
                line = json.loads(raw)
                if number > 1:
                    self._known[line["key"]] = line["entry"]
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInputError(
                    f"{path}:{number}: is damaged ({error!r}); remove the line, or the file"
                ) from error
            if number == 1 and line != _HEADER:
                raise InvalidInputError(f"{path}: was written by another version; name a new file")
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
