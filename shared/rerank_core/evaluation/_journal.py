"""What has been scored, so that no pair is scored twice and an interrupted run can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._scorer import Scorer
from rerank_core._types import Scale, Scoring
from rerank_core._usage import Usage

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
        if self._stream is not None:
            line = json.dumps({"key": key, "entry": entry}, allow_nan=False)
            self._stream.write(line.encode() + b"\n")
            self._stream.flush()

    def _key(self, scorer: Scorer, query: str, texts: Sequence[str]) -> str:
        # Kept beside its identity: the id of an object that is gone may be given out again.
        known = self._identities.get(id(scorer))
        if known is None:
            known = self._identities[id(scorer)] = (scorer, _identity(scorer))
        digest = hashlib.blake2b(digest_size=16)
        for part in (known[1], query, *texts):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()

    def _open(self, path: Path) -> None:
        whole = 0
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if content and not content.startswith(b'{"journal": "rerank eval"'):
                raise InvalidInputError(
                    f"{path}: is no journal of rerank eval; name a new file, or a folder"
                )
            self._read(path, content[:whole].splitlines())
        self._stream = path.open("ab")
        self._stream.truncate(whole)
        if not whole:
            self._stream.write(json.dumps(_HEADER).encode() + b"\n")
            self._stream.flush()

    def _read(self, path: Path, lines: Sequence[bytes]) -> None:
        for number, raw in enumerate(lines, start=1):
            try:
                line = json.loads(raw)
                if number == 1:
                    if line != _HEADER:
                        raise InvalidInputError(
                            f"{path}: was written by another version; name a new file"
                        )
                else:
                    self._known[line["key"]] = line["entry"]
            except (ValueError, KeyError, TypeError) as error:
                if isinstance(error, InvalidInputError):
                    raise
                raise InvalidInputError(
                    f"{path}:{number}: is damaged ({error!r}); remove the line, or the file"
                ) from error


def _identity(scorer: Scorer) -> str:
    try:
        config: Mapping[str, Any] | str = dict(scorer.to_config())
    except ConfigurationError:
        config = repr(type(scorer))
    return json.dumps([scorer.name, scorer.fingerprint, config], sort_keys=True, default=repr)


def _entry(scoring: Scoring) -> dict[str, Any]:
    plain = asdict(Usage())
    usage = {n: value for n, value in asdict(scoring.usage).items() if value != plain[n]}
    entry: dict[str, Any] = {"scores": scoring.scores, "usage": usage}
    if scoring.secondary is not None:
        entry["secondary"] = scoring.secondary
    if scoring.scale is not None:
        entry["scale"] = scoring.scale.value
    return entry


def _scoring(entry: Mapping[str, Any]) -> Scoring:
    names = {f.name for f in fields(Usage)}
    secondary = entry.get("secondary")
    return Scoring(
        tuple(entry["scores"]),
        Usage(**{name: value for name, value in entry["usage"].items() if name in names}),
        secondary=None if secondary is None else tuple(secondary),
        scale=Scale(entry["scale"]) if "scale" in entry else None,
    )
