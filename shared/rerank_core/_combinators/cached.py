"""`Cached`: scores are kept in a store, and only texts that have none are scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from rerank_core._checks import describe
from rerank_core._combinators.access import StoreAccess
from rerank_core._combinators.base import Wrapper
from rerank_core._combinators.stores import DiskStore, Entry, MemoryStore, Store, read_entry
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError, RerankError
from rerank_core._scorer import Scorer
from rerank_core._telemetry import warn_seldom
from rerank_core._types import STOPPED, Progress, Scale, Scoring, Span, StopScoring, unique
from rerank_core._usage import Usage

__all__ = ["Cached"]


class Cached(Wrapper):
    """Keeps scores in a store, so that only texts without a stored score are scored.

    The key is a hash of the scorer's fingerprint (model, revision, maximum length, precision,
    activation, …), the query and the text. Only complete scorings are stored: none that is
    degraded, that a cascade left partly unread, or that another scorer gave in a fallback. A
    stored entry that does not fit its text is ignored.

    The store never fails a search, and hardly delays it. If it fails, it is left alone for a few
    seconds, a warning is logged once a minute, and all texts are scored. Scores are written in a
    thread, for which a call waits 0.2 seconds at most; `close`, and the end of the process, wait a
    second.

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

    _text_by_text = True

    def __init__(self, scorer: Scorer, store: Store | None = None) -> None:
        super().__init__(scorer)
        if store is not None and not isinstance(store, Store):
            raise ConfigurationError(f"store must be a Store, not {describe(store)}")
        self._access = StoreAccess(MemoryStore() if store is None else store)

    def to_config(self) -> dict[str, Any]:
        """Return the scorer's configuration and the store's path, with ``"type": "cached"``.

        Raises:
            ConfigurationError: If the scorer has no configuration, or the store is neither a
                `MemoryStore` nor a `DiskStore`.
        """
        store = self._access.store
        if isinstance(store, DiskStore):
            options: dict[str, Any] = {"path": str(store.path)}
        elif isinstance(store, MemoryStore):
            options = {}
        else:
            raise ConfigurationError(f"{describe(store)} cannot be written")
        return {"type": "cached", "scorer": dict(self._scorer.to_config()), **options}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Cached:
        """Create an instance from the output of `to_config`, without its ``"type"``."""

        def make(scorer: Any, path: str | None = None) -> Cached:
            return cls(load(scorer), None if path is None else DiskStore(path))

        return make(**options)

    def close(self) -> None:
        """Wait for a moment until all scores are written, and close the scorer."""
        self._access.flush()
        super().close()

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop."""
        await in_thread(self._access.flush, self._access)
        await super().aclose()

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return the inner scorer's: sentences are not worth keeping."""
        return self._scorer.sentence_scorer(elapsed)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        call = _Call(texts, progress, *self._identify(query, texts))
        call.use(self._access.get(call.keys))
        with call.running():
            if call.missing:
                call.add(self._scorer.score(query, call.missing, progress=call.report))
            if call.begin_again():
                call.add_replacement(self._scorer.score(query, texts, progress=call.report))
        self._access.put(call.new_entries())
        return call.result()

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        try:
            identity = await in_thread(partial(self._identify, query, texts), self)
        except RerankError:  # no thread is free
            identity = [], Scale.LOGIT
        call = _Call(texts, progress, *identity)
        call.use(await self._access.aget(call.keys))
        with call.running():
            if call.missing:
                call.add(await self._scorer.ascore(query, call.missing, progress=call.report))
            if call.begin_again():
                call.add_replacement(await self._scorer.ascore(query, texts, progress=call.report))
        await self._access.aput(call.new_entries())
        return call.result()

    def _identify(self, query: str, texts: Sequence[str]) -> tuple[list[bytes], Scale]:
        """Return the texts' keys and the scale of the scores; no keys if they cannot be known."""
        try:
            return _keys(self.fingerprint, query, texts), self.scale
        except Exception as error:  # noqa: BLE001 - the model is missing, say: another may stand in
            kind = type(error).__name__
            warn_seldom(f"identity {kind}", "nothing is cached, as a scorer is unknown: %s", kind)
            return [], Scale.LOGIT

    def __repr__(self) -> str:
        return f"Cached({self._scorer!r}, {self._access.store!r})"


class _Call:
    """State of one call: the stored entries, and the scorings of the other texts.

    Args:
        texts: The texts.
        progress: The caller's callback.
        keys: The texts' keys; empty if nothing can be read or stored.
        scale: The scorer's scale.
    """

    def __init__(
        self, texts: Sequence[str], progress: Progress, keys: Sequence[bytes], scale: Scale
    ) -> None:
        self.keys = keys
        self._texts = texts
        self._progress = progress
        self._scale = scale
        self._entries: dict[int, Entry] = {}  # by position
        self._missing: list[int] = []  # positions
        self._added = Scoring(())  # of the missing texts
        self._replacement: Scoring | None = None  # of all texts
        self._known = 0  # texts that need not be scored
        self._reported = 0

    @property
    def missing(self) -> list[str]:
        """The texts without a stored score."""
        return [self._texts[position] for position in self._missing]

    def use(self, stored: Mapping[bytes, object]) -> None:
        """Take the stored entries that are valid for their texts."""
        for position, key in enumerate(self.keys):
            value: Any = stored.get(key, ())
            with suppress(Exception):  # it may be any object
                score, spans = value
                entry = self._valid(position, score, spans)
                if entry is not None:
                    self._entries[position] = entry
        self._missing = [i for i in range(len(self._texts)) if i not in self._entries]
        self._known = len(self._entries)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Report the end of the call, end quietly if stopped, add what was spent to an error."""
        try:
            yield
            if STOPPED not in self._last.causes:
                self._progress(len(self._texts), len(self._texts))
        except StopScoring:
            pass
        except RerankError as error:
            error.add_usage(self._added.usage)
            raise

    def report(self, done: int, _total: int) -> None:
        """Count the known texts as done, besides the scored ones; `running` reports the last."""
        if self._known + done < len(self._texts):
            self._reported = max(self._reported, self._known + done)
            self._progress(self._reported, len(self._texts))

    def add(self, scoring: Scoring) -> None:
        """Take the scoring of the missing texts."""
        self._added = scoring

    def begin_again(self) -> bool:
        """Return whether all texts must be scored, since stored scores are on another scale.

        Raises:
            StopScoring: If the caller wants no more scores.
        """
        if not self._mixed or STOPPED in self._added.causes:
            return False
        self._known = 0
        self.report(0, 0)
        return True

    def add_replacement(self, scoring: Scoring) -> None:
        """Take the scoring of all texts."""
        self._replacement = scoring

    def new_entries(self) -> dict[bytes, Entry]:
        """Return the entries to store: none unless the missing texts were scored completely."""
        scoring = self._added
        # A scorer that gives secondary scores did not read everything.
        partial = None in scoring.scores or scoring.degraded or scoring.scale or scoring.secondary
        if partial or not self.keys:
            return {}
        spans = scoring.spans or ((),) * len(scoring.scores)
        found = {
            self.keys[position]: self._valid(position, score, passages)
            for position, score, passages in zip(self._missing, scoring.scores, spans, strict=True)
        }
        return {key: entry for key, entry in found.items() if entry is not None}

    def result(self) -> Scoring:
        """Return a scoring of all texts, on one scale."""
        last = self._last
        spent = self._added.usage
        if self._replacement is not None:
            spent += self._replacement.usage
        if not self._mixed:
            scoring = self._merged(self._entries, last)
        elif self._replacement is not None and STOPPED not in last.causes:
            scoring = replace(self._replacement, usage=Usage())
        else:  # stopped: which of them has the most scores?
            nothing = Scoring((None,) * len(self._missing), degraded=last.degraded)
            choices = [self._merged({}, self._added), self._merged(self._entries, nothing)]
            if self._replacement is not None:
                choices.insert(0, replace(self._replacement, usage=Usage()))
            scoring = min(choices, key=lambda choice: choice.scores.count(None))
            reason = last.degraded
            if STOPPED not in last.causes:
                reason = f"{reason}; stopped early: the stored scores are on another scale"
            causes = unique((*last.causes, STOPPED))
            scoring = replace(scoring, degraded=reason, causes=causes)
        return replace(scoring, usage=spent + scoring.usage)

    @property
    def _last(self) -> Scoring:
        return self._replacement or self._added

    @property
    def _mixed(self) -> bool:
        """True if stored scores and those of the missing texts are on different scales."""
        return self._added.scale is not None and bool(self._entries)

    def _valid(self, position: int, score: object, spans: object) -> Entry | None:
        entry = read_entry(score, spans, len(self._texts[position]))
        if entry is None or self._scale is Scale.LOGIT or 0 <= entry.score <= 1:
            return entry
        return None

    def _merged(self, entries: Mapping[int, Entry], scoring: Scoring) -> Scoring:
        """Return a scoring of all texts, from stored entries and a scoring of the missing texts."""
        count = len(self._texts)
        scores: list[float | None] = [None] * count
        spans: list[tuple[Span, ...]] = [()] * count
        secondary: list[float | None] = [None] * count
        for position, entry in entries.items():
            scores[position], spans[position] = entry
        for index, position in enumerate(self._missing):
            scores[position] = scoring.scores[index]
            if scoring.spans:
                spans[position] = scoring.spans[index]
            if scoring.secondary:
                secondary[position] = scoring.secondary[index]
        return replace(
            scoring,
            scores=tuple(scores),
            usage=Usage(cache_hits=len(entries)),
            spans=tuple(spans) if any(spans) else None,
            secondary=tuple(secondary) if scoring.secondary else None,
        )


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
