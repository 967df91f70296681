"""The cost of a scoring."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

__all__ = ["KNOWN_UNITS", "Usage"]

KNOWN_UNITS = frozenset(
    {
        *("classifications", "images", "pages", "search_units"),
        *("cached_tokens", "completion_tokens", "image_tokens", "input_tokens", "output_tokens"),
        *("prompt_tokens", "text_tokens", "total_tokens"),
    }
)
"""Units that services bill, by the names that the APIs document."""

_MOST_UNITS = 16
_UNIT = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The cost of a scoring. Usages add up with ``+``.

    Attributes:
        pairs: (query, text) pairs that a model read; duplicates are read once.
        tokens: Tokens those pairs hold, special tokens included; 0 where the scorer cannot know.
        padding: Padding tokens computed beside them.
        truncated: Texts that were cut to the model's maximum length.
        truncated_queries: Pairs in which the query was cut, because it is too long for the model.
        requests: Requests sent to a remote service, failed attempts and those that a
            `Deadline` cut included.
        billed_units: Units the service billed, by its own name for them, such as
            ``{"search_units": 1.0}``. At most 16 are kept, those that the APIs document first, and
            only names of at most 40 letters, digits, ``_``, ``.`` and ``-``.
        seconds: Wall-clock seconds spent scoring.
        cache_hits: Texts whose score came from a cache.
        saved: Pairs that the strong scorer of a cascade did not have to read.
        cost: Money that services charged for all of it, in the currency of their `Prices`; 0 where
            none was asked, None where one was whose prices are not known. A sum with an unknown
            part is unknown. Requests that failed or were cut count as not charged.

    Example:
        ```python
        from rerank_core import Usage

        total = Usage(pairs=50, tokens=6000) + Usage(pairs=20, cache_hits=30)
        assert (total.pairs, total.tokens, total.cache_hits) == (70, 6000, 30)
        ```
    """

    pairs: int = 0
    tokens: int = 0
    padding: int = 0
    truncated: int = 0
    truncated_queries: int = 0
    requests: int = 0
    billed_units: Mapping[str, float] = field(default_factory=dict, hash=False)
    seconds: float = 0.0
    cache_hits: int = 0
    saved: int = 0
    cost: float | None = 0.0

    def __post_init__(self) -> None:
        if self.billed_units:
            names = [n for n in self.billed_units if isinstance(n, str) and _UNIT.fullmatch(n)]
            names.sort(key=lambda name: name not in KNOWN_UNITS)
            units = {name: self.billed_units[name] for name in names[:_MOST_UNITS]}
            object.__setattr__(self, "billed_units", units)

    def __add__(self, other: Usage) -> Usage:
        units = dict(self.billed_units)
        for unit, amount in other.billed_units.items():
            units[unit] = units.get(unit, 0.0) + amount
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(**sums, billed_units=units, cost=cost)


# Looked up once, as each pair that is scored adds a usage.
_SUMMED = tuple(f.name for f in fields(Usage) if f.name not in ("billed_units", "cost"))
