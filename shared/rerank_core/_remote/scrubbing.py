"""Removal of the key, and of what garbles terminals and logs, from the words of a service."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

__all__ = ["Scrubber"]

# Anything shorter is a placeholder (the AWS clients say "n/a"), and may be part of a word.
_SHORTEST_KEY = 8
_LONGEST_HEAD = 50
_WORDS = 200  # characters of a service's words that an error of ours quotes
_LONG = 2000  # characters of each text that a chained exception keeps
_MOST_BYTES = 20_000
_MOST_ITEMS = 50  # of a list or mapping there
_DEEPEST = 20


class Scrubber:
    """Cleans what comes from a service for errors and logs.

    Args:
        key: The key, which must not show; empty if there is none.
    """

    def __init__(self, key: str) -> None:
        self._key = key if len(key) >= _SHORTEST_KEY else ""

    def clean(self, words: object, limit: int = _WORDS) -> str:
        """Return words without the key, as one line of printable characters, cut."""
        text = _text(words)
        # Time goes by the limit, not by the text; a key at the edge is cut with it.
        edge = 12 * len(self._key)
        if len(text) > 4 * limit + edge:
            text = self._without_key(text[: 4 * limit + edge])[: -edge or None] + "..."
        else:
            text = self._without_key(text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= limit else text[: limit - 3] + "..."

    def holds_key(self, text: str) -> bool:
        """Return whether the key, or half of it, is in a text."""
        return self._without_key(text) != text

    def clean_exception(
        self, error: BaseException, until: BaseException | None = None
    ) -> BaseException:
        """Clean an exception in place, with all that is chained to it.

        Args:
            error: The exception.
            until: Where the chain becomes somebody else's, which is left as it is.

        Returns:
            The exception; a stand-in where it cannot be changed and still shows the key.
        """
        return self._exception(error, set() if until is None else {id(until)})

    @contextmanager
    def applied_to_logs(self) -> Iterator[None]:
        """Clean what httpx and httpcore log of an answer within the block."""
        before = _current.get()
        _current.set(self)
        try:
            yield
        finally:
            # A reset would fail where the garbage collector closes a coroutine.
            _current.set(before)

    def _without_key(self, text: str) -> str:
        return _pattern(self._key).sub("[key]", text) if self._key else text

    def _exception(self, error: BaseException, seen: set[int]) -> BaseException:
        if id(error) in seen:
            return error
        seen.add(id(error))
        suppressed = error.__suppress_context__
        for link in ("__cause__", "__context__"):
            linked = getattr(error, link)
            if linked is not None:
                deep = len(seen) > _DEEPEST and id(linked) not in seen
                setattr(error, link, None if deep else self._exception(linked, seen))
        error.__suppress_context__ = suppressed
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                self._exception(inner, seen)
        for name in _attributes(error):
            self._attribute(error, name, seen)
        if self.holds_key(f"{_text(error)} {_text(error, repr)}"):
            return RuntimeError(f"{type(error).__name__}: {self.clean(error, _LONG)}")
        return error

    def _attribute(self, owner: BaseException, name: str, seen: set[int]) -> None:
        try:
            value = getattr(owner, name)
            cleaned = self._value(value, seen)
            if cleaned is not value:
                setattr(owner, name, cleaned)
        except Exception:  # noqa: BLE001, S110 - a property that cannot be read or set
            pass

    def _value(self, value: Any, seen: set[int], depth: int = 0) -> Any:
        """Return a value without the key, bounded; the value itself if it is fine."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            cleaned: Any = self.clean(value, _LONG)
        elif isinstance(value, bytes | bytearray):
            kept = value[:_MOST_BYTES].decode("latin-1")
            cleaned = self._without_key(kept).encode("latin-1")
        elif isinstance(value, BaseException):
            return self._exception(value, seen)
        elif depth > _DEEPEST:
            return "..."
        elif type(value) is dict:
            items = list(value.items())[:_MOST_ITEMS]
            cleaned = {
                self._value(name, seen, depth + 1): self._value(item, seen, depth + 1)
                for name, item in items
            }
        elif type(value) in (list, tuple, set, frozenset):
            parts = list(value)[:_MOST_ITEMS]
            cleaned = type(value)(self._value(part, seen, depth + 1) for part in parts)
        else:
            return self._object(value)
        return value if cleaned == value else cleaned

    def _object(self, value: Any) -> Any:
        import httpx

        if isinstance(value, httpx.Headers):
            items = value.multi_items()[:_MOST_ITEMS]
            return httpx.Headers([(self._header(name), self._header(v)) for name, v in items])
        if isinstance(value, httpx.Request):
            # Without its body, which holds the texts; its headers hold the key.
            url = "" if self.holds_key(str(value.url)) else value.url
            return httpx.Request(value.method, url, headers=self._object(value.headers))
        if isinstance(value, httpx.Response):
            return httpx.Response(
                value.status_code,
                headers=self._object(value.headers),
                content=self._value(value.content, set()),
                request=self._object(value.request),
            )
        shown = _text(value, repr)
        return self.clean(shown, _LONG) if self.holds_key(shown) else value

    def _header(self, text: str) -> bytes:
        return self.clean(text, _LONG).encode()


_current: ContextVar[Scrubber | None] = ContextVar("scrubber", default=None)


class _LogFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if scrubber := _current.get():
            message = record.getMessage()
            cleaned = scrubber.clean(message, _LONG)
            if cleaned != message:
                record.msg, record.args = cleaned, ()
        return True


# They log status lines and headers; a filter counts for its very logger only.
_LOGGERS = (
    *("httpx", "httpx._client"),
    *("httpcore.connection", "httpcore.http11", "httpcore.http2"),
    *("httpcore.proxy", "httpcore.socks"),
)
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_LogFilter())


@lru_cache(maxsize=16)
def _pattern(key: str) -> re.Pattern[str]:
    """Match a key as JSON, URLs, HTML and base64 write it, to its end or to where it is cut."""
    head = key[: min(max(_SHORTEST_KEY, len(key) // 2), _LONGEST_HEAD)]
    ends = "".join(sorted(set("\"'<>(){}[],`") - set(key)))
    part = rf"(?:[^\s{re.escape(ends)}]|\\[\"'])"
    cut = "(?:\\.\\.\\.|\u2026)"
    forms = [
        _written(head) + f"{part}*",
        # Some messages show both ends of a long value.
        _written(key[:_SHORTEST_KEY]) + f"{part}{{0,{_LONGEST_HEAD}}}?(?={cut})",
        f"{cut}{part}{{0,{_LONGEST_HEAD}}}?" + _written(key[-_SHORTEST_KEY:]),
    ]
    return re.compile("|".join(forms + _in_base64(key)), re.IGNORECASE)


def _written(text: str) -> str:
    """Return a pattern of the ways in which JSON, URLs and HTML write a text."""
    from html.entities import codepoint2name

    escapes = r"\\{1,4}"  # a text may be quoted in a text
    pattern = ""
    for character in text:
        code = ord(character)
        ways = [f"(?:{escapes})?{re.escape(character)}", f"{escapes}(?:u00|x){code:02x}"]
        ways += [f"%{code:02x}", f"&\\#0{{0,4}}{code};", f"&\\#x0{{0,4}}{code:x};"]
        if code in codepoint2name:
            ways.append(f"&{codepoint2name[code]};")
        pattern += f"(?:{'|'.join(ways)})"
    return pattern


def _in_base64(key: str) -> list[str]:
    """Return patterns of what base64 makes of the key, for each place it may have in a text."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + key.encode()).decode()
        whole = encoded[-(-before * 4 // 3) : (before + len(key)) * 4 // 3]
        # The alphabet for URLs has other signs for two of them.
        found.append(re.escape(whole).replace(r"\+", "[+-]").replace("/", "[/_]") + r"[\w+/=-]*")
    return found


def _attributes(error: BaseException) -> list[str]:
    """Return the names of what an exception holds, but not of its chain and its traceback."""
    names = ["args", *getattr(error, "__dict__", {})]
    for kind in type(error).__mro__:
        if kind not in (BaseException, object):
            names += [
                name
                for name, member in vars(kind).items()
                if isinstance(member, GetSetDescriptorType | MemberDescriptorType)
                and not name.startswith("__")
            ]
    return names


def _text(value: object, show: Callable[[object], str] = str) -> str:
    try:
        return show(value)
    except Exception as error:  # noqa: BLE001 - whatever a foreign class raises
        return f"(cannot be shown: {type(error).__name__})"
