"""`Cached`: scores are kept in a store, and only texts that have none are scored."""

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
from rerank_core._errors import ConfigurationError, RerankError
from rerank_core._scorer import Scorer
from rerank_core._telemetry import warn_seldom
from rerank_core._types import Progress, Scoring
from rerank_core._usage import Usage

__all__ = ["Cached"]


class Cached(Wrapper):
    """Keeps scores in a store, so that only texts without a stored score are scored.

    The key is a hash of the scorer's fingerprint (model, revision, maximum length, precision,
    activation, …), the query and the text. Only complete scorings are stored: none that is
    degraded, that a cascade left partly unscored, or that another scorer gave in a fallback. If
    the store fails, a warning is logged once a minute, and all texts are scored.

    Args:
        scorer: The inner scorer.
        store: Where scores are kept. Default: a `MemoryStore` of its own.

    Raises:
        ConfigurationError: If an argument has the wrong type.

    Example:
        ```python
        from rerank_core import Cached, OnnxCrossEncoder

        cached = Cached(OnnxCrossEncoder("nano"))
        cached.score("How do plants eat?", ["Plants use light."])
        scoring = cached.score("How do plants eat?", ["Plants use light.", "Cats purr."])
        assert (scoring.usage.cache_hits, scoring.usage.pairs) == (1, 1)
        ```
    """

    def __init__(self, scorer: Scorer, store: Store | None = None) -> None:
        super().__init__(scorer)
        if store is not None and not isinstance(store, Store):
            raise ConfigurationError(f"store must be a Store, not {describe(store)}")
        self._store = store or MemoryStore()

    def to_config(self) -> dict[str, Any]:
        """Return the scorer's configuration and the store's path, with ``"type": "cached"``.

        Raises:
            ConfigurationError: If the scorer has no configuration, or the store is neither a
                `MemoryStore` nor a `DiskStore`.
        """
        if isinstance(self._store, DiskStore):
            options: dict[str, Any] = {"path": str(self._store.path)}
        elif isinstance(self._store, MemoryStore):
            options = {}
        else:
            raise ConfigurationError(f"{describe(self._store)} cannot be written")
        return {"type": "cached", "scorer": dict(self._scorer.to_config()), **options}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Cached:
        """Create an instance from the output of `to_config`, without its ``"type"``."""

        def make(scorer: Any, path: str | None = None) -> Cached:
            return cls(load(scorer), None if path is None else DiskStore(path))

        return make(**options)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        lookup = self._look_up(query, texts)
        if not lookup.missing:
            return lookup.complete(progress)
        counted = lookup.count_hits(progress)
        scoring = self._scorer.score(query, lookup.missing, progress=counted)
        if lookup.mixes_scales(scoring):
            return _add_usage(self._scorer.score(query, texts), scoring)
        return self._store_and_merge(lookup, scoring)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        lookup = await asyncio.to_thread(self._look_up, query, texts)
        if not lookup.missing:
            return lookup.complete(progress)
        counted = lookup.count_hits(progress)
        scoring = await self._scorer.ascore(query, lookup.missing, progress=counted)
        if lookup.mixes_scales(scoring):
            return _add_usage(await self._scorer.ascore(query, texts), scoring)
        return await asyncio.to_thread(self._store_and_merge, lookup, scoring)

    def _look_up(self, query: str, texts: Sequence[str]) -> _Lookup:
        try:
            fingerprint = self.fingerprint
        except RerankError:  # the model is missing, say: another scorer may stand in, uncached
            return _Lookup(texts, [b""] * len(texts), {}, keep=False)
        keys = _keys(fingerprint, query, texts)
        try:
            entries: Mapping[bytes, Entry] = self._store.get(keys)
        except Exception as error:  # noqa: BLE001 - a user's store may raise anything
            self._warn("read", error)
            entries = {}
        return _Lookup(texts, keys, entries)

    def _store_and_merge(self, lookup: _Lookup, scoring: Scoring) -> Scoring:
        whole = scoring.degraded is None and scoring.scale is None and None not in scoring.scores
        if whole and lookup.keep:
            try:
                self._store.put(lookup.new_entries(scoring))
            except Exception as error:  # noqa: BLE001 - a user's store may raise anything
                self._warn("written", error)
        return lookup.merge(scoring)

    def _warn(self, action: str, error: Exception) -> None:
        # The message of any other error comes from a user's store, and may quote a text.
        reason = error if isinstance(error, sqlite3.Error | OSError) else type(error).__name__
        message = "the score cache %r cannot be %s: %s"
        warn_seldom(f"{action} {self._store!r}", message, self._store, action, reason)

    def __repr__(self) -> str:
        return f"Cached({self._scorer!r}, {self._store!r})"


class _Lookup:
    """The entries that a store has for some texts, and the texts for which it has none."""

    def __init__(
        self,
        texts: Sequence[str],
        keys: Sequence[bytes],
        entries: Mapping[bytes, Entry],
        *,
        keep: bool = True,
    ) -> None:
        self.keep = keep  # whether new scores may be stored
        self._keys = keys
        self._entries = entries
        self._positions = [i for i, key in enumerate(keys) if key not in entries]
        self._hits = len(keys) - len(self._positions)
        self.missing = [texts[position] for position in self._positions]

    def count_hits(self, progress: Progress) -> Progress:
        """Return a callback that reports the stored texts as done, besides the scored ones."""
        return lambda done, _: progress(self._hits + done, len(self._keys))

    def complete(self, progress: Progress) -> Scoring:
        """Return the scoring if no text is missing."""
        progress(len(self._keys), len(self._keys))
        return self.merge(Scoring(()))

    def mixes_scales(self, scoring: Scoring) -> bool:
        """Return whether stored scores and those of the missing texts are on different scales."""
        return scoring.scale is not None and self._hits > 0

    def new_entries(self, scoring: Scoring) -> dict[bytes, Entry]:
        """Return the entries to store of a complete scoring of the missing texts."""
        spans = scoring.spans or ((),) * len(scoring.scores)
        return {
            self._keys[position]: Entry(score, passages)
            for position, score, passages in zip(
                self._positions, scoring.scores, spans, strict=True
            )
            if score is not None
        }

    def merge(self, scoring: Scoring) -> Scoring:
        """Return a scoring of all texts, from the stored entries and that of the missing texts."""
        entries = [self._entries.get(key) for key in self._keys]
        scores = [entry and entry.score for entry in entries]
        spans = [entry.spans if entry else () for entry in entries]
        secondary: list[float | None] = [None] * len(entries)
        for index, position in enumerate(self._positions):
            scores[position] = scoring.scores[index]
            if scoring.spans:
                spans[position] = scoring.spans[index]
            if scoring.secondary:
                secondary[position] = scoring.secondary[index]
        return replace(
            scoring,
            scores=tuple(scores),
            usage=scoring.usage + Usage(cache_hits=self._hits),
            spans=tuple(spans) if scoring.spans or any(spans) else None,
            secondary=tuple(secondary) if scoring.secondary else None,
        )


def _add_usage(scoring: Scoring, discarded: Scoring) -> Scoring:
    """Add the usage of a scoring that was discarded."""
    return replace(scoring, usage=scoring.usage + discarded.usage)


def _keys(fingerprint: str, query: str, texts: Sequence[str]) -> list[bytes]:
    """Return a hash of fingerprint, query and text for each text; lengths separate the parts."""
    prefix = hashlib.blake2b(digest_size=16)
    for part in (fingerprint, query):
        data = part.encode()
        prefix.update(len(data).to_bytes(8, "big") + data)
    keys = []
    for text in texts:
        digest = prefix.copy()
        digest.update(text.encode())
        keys.append(digest.digest())
    return keys
