from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple

from rerank_core._metadata import copy_metadata
from support.odd import Unprintable, nested


class Pair(NamedTuple):
    first: list[int]
    second: Unprintable | int


def test_every_container_is_copied_and_no_leaf() -> None:
    leaf = object()
    metadata: dict[Any, Any] = {
        "list": [[1], leaf], "tuple": ([1], leaf), "dict": {"a": {5: [1]}}, "set": {1},
        "bytes": bytearray(b"1"), "queue": deque([[1]]), "counter": Counter("aa"),
        "pair": Pair([1], 2), 5: [1], "old": 3,
    }  # fmt: skip
    copied = copy_metadata(metadata, without=["old", "missing"])
    assert copied == {key: value for key, value in metadata.items() if key != "old"}
    for key, value in copied.items():
        assert type(value) is type(metadata[key])
        assert value is not metadata[key]
    assert copied["list"][0] is not metadata["list"][0]
    assert copied["tuple"][0] is not metadata["tuple"][0]
    assert copied["dict"]["a"][5] is not metadata["dict"]["a"][5]
    assert copied["queue"][0] is not metadata["queue"][0]
    assert copied["pair"].first is not metadata["pair"].first
    assert copied["list"][1] is leaf


def test_a_container_in_two_places_is_one_in_the_copy() -> None:
    shared = [1]
    copied = copy_metadata({"a": shared, "b": (shared,), "c": {"d": shared}}, without=[])
    assert copied["a"] is copied["b"][0] is copied["c"]["d"]
    assert copied["a"] is not shared


def test_depth_has_no_end() -> None:
    deep = nested(20_000, list)
    copied = copy_metadata({"a": deep, "b": nested(20_000, dict), "c": (deep,)}, without=[])
    levels, inner = 0, copied["a"]
    while inner:
        assert inner is not deep
        levels, inner, deep = levels + 1, inner[0], deep[0]
    assert levels == 20_000


def test_containers_may_hold_themselves() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    inner: list[Any] = []
    pair = (inner,)
    inner.append(pair)
    copied = copy_metadata({"loop": loop, "pair": pair}, without=[])
    assert copied["loop"][1] is copied["loop"] is not loop
    assert copied["pair"][0] is not inner


def test_a_container_that_refuses_to_be_copied_is_shared() -> None:
    pair = Pair([1], Unprintable())
    deep = deque([nested(20_000, list)])
    copied = copy_metadata({"pair": pair, "deep": deep}, without=[])
    assert copied["pair"] is pair
    assert copied["deep"] is deep
