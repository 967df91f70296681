"""Values that programs trip over."""

from __future__ import annotations

from typing import Any

__all__ = ["Unprintable", "nested"]


class Unprintable:
    """Refuses to be shown and to be copied."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __deepcopy__(self, memo: object) -> Unprintable:
        raise RuntimeError("no copy")


def nested(levels: int, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """A list or dictionary in another, and so on, so many levels deep."""
    value: Any = kind()
    for _ in range(levels):
        value = [value] if kind is list else {"deeper": value}
    return value
