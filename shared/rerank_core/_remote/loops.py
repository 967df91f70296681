"""Closing asynchronous HTTP clients in the event loop that opened them, without being asked."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import httpx

__all__ = ["close_with_loop"]

_Owners: TypeAlias = "dict[httpx.AsyncClient, weakref.ref[object]]"


class _Loop(NamedTuple):
    owners: _Owners
    keeper: AsyncGenerator[None, None]


_loops: dict[asyncio.AbstractEventLoop, _Loop] = {}


async def close_with_loop(http: httpx.AsyncClient, owner: object) -> None:
    """Have a client closed when the running loop shuts down, as ``asyncio.run`` does at its end.

    A client whose owner is gone is closed when the next one is handed over. Closing it at once,
    when the garbage collector says so, would start a task that a loop about to end cuts short.

    Args:
        http: The client; closing it earlier is fine.
        owner: Who uses it; not kept alive.
    """
    loop = asyncio.get_running_loop()
    for known in [known for known in list(_loops) if known.is_closed()]:
        _loops.pop(known, None)  # closed without a shutdown: nothing can be awaited there
    if loop not in _loops:
        owners: _Owners = {}
        keeper = _keep(loop, owners)
        # A loop shuts down the generators that were started in it: the hook to its end.
        await anext(keeper)
        _loops[loop] = _Loop(owners, keeper)
    owners = _loops[loop].owners
    owners[http] = weakref.ref(owner)
    for other, its_owner in list(owners.items()):
        if other.is_closed or its_owner() is None:
            del owners[other]
            await other.aclose()


async def _keep(loop: asyncio.AbstractEventLoop, owners: _Owners) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        _loops.pop(loop, None)
        for http in list(owners):
            await http.aclose()
