"""What can be read from an exception, for tests of what must not be there."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

__all__ = ["all_of"]


def all_of(error: BaseException) -> str:
    """Return what an exception and all that is chained to it show, hold and pickle."""
    parts = [*traceback.format_exception(error), *_words(error, set())]
    for _, link in _chain(error, set()):
        try:
            parts.append(pickle.dumps(link).decode("latin-1"))
        except Exception:  # noqa: BLE001 - not every foreign exception can be pickled
            parts.append("")
    return "\n".join(parts)


def _chain(error: BaseException, seen: set[int]) -> Iterator[tuple[int, BaseException]]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield len(seen), error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for linked in (error.__cause__, error.__context__, *inner):
        if linked is not None:
            yield from _chain(linked, seen)


def _words(value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen or isinstance(value, type) or callable(value):
        return
    seen.add(id(value))
    yield from (str(value), repr(value))
    if isinstance(value, str | bytes | int | float | None):
        yield value.decode("latin-1") if isinstance(value, bytes) else ""
    elif isinstance(value, httpx.Cookies):
        yield from _words(value.jar, seen)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from (*_words(name, seen), *_words(item, seen))
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _words(item, seen)
    else:
        if isinstance(value, httpx.Headers):
            yield from _words(value.raw, seen)
        if isinstance(value, BaseException):
            links = [value.__cause__, value.__context__, value.args]
            yield from _words([*links, *getattr(value, "exceptions", ())], seen)
        for name in dir(value):
            if not name.startswith("__") and name not in ("stream", "extensions", "http_request"):
                try:
                    held = getattr(value, name)
                except Exception:  # noqa: BLE001 - a property that cannot be read
                    continue
                yield from _words(held, seen)
