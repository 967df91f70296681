"""`Cached`: a score that is known is not asked for again."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rerank_core._checks import describe
from rerank_core._combinators.base import Wrapper
from rerank_core._combinators.stores import DiskStore, Entry, MemoryStore, Store
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core._telemetry import warn_seldom
from rerank_core._types import Progress, Scoring
from rerank_core._usage import Usage

__all__ = ["Cached"]


class Cached(Wrapper):
    """Keeps scores; only texts without one are scored.

    The key is a hash of the scorer's fingerprint (model, revision, maximum length, precision,
    activation, …), the query and the text. Only whole scorings are kept: not one that is
    degraded, cut by a cascade or given by a stand-in. A store that fails is as good as empty:
    a warning is logged once a minute, and the texts are scored.

    Args:
        scorer: What scores the misses.
        store: Where scores are kept. Default: a `MemoryStore` of its own.

    Raises:
        ConfigurationError: If an argument is of the wrong kind.
    """

    def __init__(self, scorer: Scorer, store: Store | None = None) -> None:
        super().__init__(scorer)
        if store is not None and not isinstance(store, Store):
            raise ConfigurationError(f"store must be a Store, not {describe(store)}")
        self._store = store or MemoryStore()

    def to_config(self) -> dict[str, Any]:
        """The scorer's configuration and the store's place, with ``"type": "cached"``.

        Raises:
            ConfigurationError: If the scorer, or a store of your own, cannot be written.
        """
        if isinstance(self._store, DiskStore):
            place: dict[str, Any] = {"path": str(self._store.path)}
        elif isinstance(self._store, MemoryStore):
            place = {}
        else:
            raise ConfigurationError(f"{describe(self._store)} cannot be written")
        return {"type": "cached", "scorer": dict(self._scorer.to_config()), **place}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Cached:
        """Make one from what `to_config` returned, but its ``"type"``."""
        path = options.get("path")
        return cls(load(options["scorer"]), None if path is None else DiskStore(path))

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        lookup = self._look_up(query, texts)
        if not lookup.missing:
            return lookup.known(progress)
        scoring = self._scorer.score(query, lookup.missing, progress=lookup.watch(progress))
        if lookup.mixes_with(scoring):
            return _in_all(self._scorer.score(query, texts), scoring)
        return self._keep(lookup, scoring)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        lookup = await asyncio.to_thread(self._look_up, query, texts)
        if not lookup.missing:
            return lookup.known(progress)
        watched = lookup.watch(progress)
        scoring = await self._scorer.ascore(query, lookup.missing, progress=watched)
        if lookup.mixes_with(scoring):
            return _in_all(await self._scorer.ascore(query, texts), scoring)
        return await asyncio.to_thread(self._keep, lookup, scoring)

    def _look_up(self, query: str, texts: Sequence[str]) -> _Lookup:
        keys = _keys(self.fingerprint, query, texts)
        try:
            found: Mapping[bytes, Entry] = self._store.get(keys)
        except Exception as error:  # noqa: BLE001 - a store of the user's raises what it likes
            self._warn("read", error)
            found = {}
        return _Lookup(texts, keys, found)

    def _keep(self, lookup: _Lookup, scoring: Scoring) -> Scoring:
        whole = scoring.degraded is None and scoring.scale is None and None not in scoring.scores
        if whole:
            try:
                self._store.put(lookup.entries(scoring))
            except Exception as error:  # noqa: BLE001 - a store of the user's raises what it likes
                self._warn("written", error)
        return lookup.merge(scoring)

    def _warn(self, done: str, error: Exception) -> None:
        message = "the score cache %r cannot be %s: %s"
        # The words of a store that is not ours may quote a text.
        said = error if isinstance(error, sqlite3.Error | OSError) else type(error).__name__
        warn_seldom(f"{done} {self._store!r}", message, self._store, done, said)

    def __repr__(self) -> str:
        return f"Cached({self._scorer!r}, {self._store!r})"


class _Lookup:
    """What a store knew of some texts, and how it goes together with what was scored."""

    def __init__(
        self, texts: Sequence[str], keys: Sequence[bytes], found: Mapping[bytes, Entry]
    ) -> None:
        self._keys = keys
        self._found = found
        self._gaps = [at for at, key in enumerate(keys) if key not in found]
        self.missing = [texts[at] for at in self._gaps]

    def watch(self, progress: Progress) -> Progress:
        """Count the texts that were known as done."""
        total, known = len(self._keys), len(self._keys) - len(self._gaps)
        return lambda done, _: progress(known + done, total)

    def mixes_with(self, scoring: Scoring) -> bool:
        """Say whether known scores would stand beside a stand-in's, on another scale."""
        return scoring.scale is not None and len(self._gaps) < len(self._keys)

    def known(self, progress: Progress) -> Scoring:
        """Return the scoring where nothing was missing."""
        progress(len(self._keys), len(self._keys))
        return self.merge(Scoring(()))

    def entries(self, scoring: Scoring) -> dict[bytes, Entry]:
        """Return what to keep of a whole scoring of the missing texts."""
        spans = scoring.spans or ((),) * len(scoring.scores)
        return {
            self._keys[gap]: Entry(score, passages)
            for gap, score, passages in zip(self._gaps, scoring.scores, spans, strict=True)
            if score is not None
        }

    def merge(self, scoring: Scoring) -> Scoring:
        """Put known and new scores in their places."""
        places = {at: number for number, at in enumerate(self._gaps)}
        known = [self._found.get(key) for key in self._keys]

        def lay_out(new: Sequence[Any], old: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(new[places[at]] if at in places else old[at] for at in range(len(old)))

        old_scores = [entry and entry.score for entry in known]
        old_spans = [entry.spans if entry else () for entry in known]
        spans = None
        if scoring.spans or any(old_spans):
            spans = lay_out(scoring.spans or ((),) * len(self._gaps), old_spans)
        hits = Usage(cache_hits=len(known) - len(self._gaps))
        return replace(
            scoring,
            scores=lay_out(scoring.scores, old_scores),
            usage=scoring.usage + hits,
            spans=spans,
            secondary=scoring.secondary and lay_out(scoring.secondary, [None] * len(known)),
        )


def _in_all(scoring: Scoring, discarded: Scoring) -> Scoring:
    """Count what a scoring cost that was not used."""
    return replace(scoring, usage=scoring.usage + discarded.usage)


def _keys(fingerprint: str, query: str, texts: Sequence[str]) -> list[bytes]:
    """Hash each text with what it was scored by and for; lengths keep the parts apart."""
    base = hashlib.blake2b(digest_size=16)
    for part in (fingerprint, query):
        data = part.encode()
        base.update(len(data).to_bytes(8, "big") + data)
    keys = []
    for text in texts:
        digest = base.copy()
        digest.update(text.encode())
        keys.append(digest.digest())
    return keys
