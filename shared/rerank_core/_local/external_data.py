"""Facts in an ONNX file: its outputs, and the files beside it that hold its weights.

A tensor of a graph names the file of its values, which can have any name:
https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from rerank_core._errors import ConfigurationError
from rerank_core._local.reading import check_file

__all__ = ["external_data", "external_names", "states_output"]

# A protocol buffer holds at most 2 GiB.
_MOST = 2**31
# The messages of onnx.proto that can hold a tensor: for each its fields of such messages.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_EXTERNAL = 1
_STATES = ("last_hidden_state", "token_embeddings")  # names that exporters give to the output
_KEY, _VALUE = 1, 2  # fields of an entry of its external data
_OUTPUTS = (7, 12)  # fields of a model and its graph
_NAME, _SHAPE, _DIMENSION = 1, (2, 1, 2), 1  # fields of an output, its type, and its shape


def external_data(graph: Path) -> list[Path]:
    """Return the files that an ONNX graph reads its weights from.

    Args:
        graph: The ONNX file.

    Returns:
        The paths: regular files in the graph's folder or, as in the hub's cache, in the folder that
        the graph is linked from.

    Raises:
        ConfigurationError: If a file is missing or elsewhere, or the graph is no ONNX file.
    """
    folders = (graph.parent.resolve(), graph.resolve().parent)
    paths = []
    for name in external_names(graph):
        path = graph.parent / name
        if PurePath(name).is_absolute() or not any(map(path.resolve().is_relative_to, folders)):
            raise ConfigurationError(
                f"{graph} reads weights from {name!r}, which is not in its folder; put the file "
                "beside the graph"
            )
        check_file(path)
        paths.append(path)
    return paths


def external_names(graph: Path) -> list[str]:
    """Return the names of the files that an ONNX graph reads its weights from, as it states them.

    Raises:
        ConfigurationError: If the graph is no ONNX file.
    """
    names: set[str] = set()
    with _content(graph) as content:
        for start, end in _tensors(content):
            name = _external_name(content, start, end)
            if name is not None:
                names.add(name)
    return sorted(names)


def states_output(graph: Path) -> str | None:
    """Return the name of the output that has the states of the last layer, for a head to read.

    Args:
        graph: The ONNX file.

    Returns:
        The name; None if the graph has scores.

    Raises:
        ConfigurationError: If the file cannot be read, or is no ONNX file.
    """
    ranks = _output_ranks(graph)
    scores = "logits" if "logits" in ranks else next(iter(ranks), "")
    if scores in _STATES or ranks.get(scores) == 3:  # (pairs, tokens, width)
        return next((name for name in _STATES if name in ranks), scores)
    return None


def _output_ranks(graph: Path) -> dict[str, int | None]:
    """Return the name of each output of an ONNX graph with its number of dimensions, if stated."""
    ranks: dict[str, int | None] = {}
    with _content(graph) as content:
        for start, end in _messages(content, 0, len(content), *_OUTPUTS):
            name = b"".join(content[a:b] for a, b in _messages(content, start, end, _NAME))
            shapes = list(_messages(content, start, end, *_SHAPE))
            dimensions = [_messages(content, *shape, _DIMENSION) for shape in shapes[:1]]
            ranks[name.decode()] = sum(1 for _ in dimensions[0]) if dimensions else None
    return ranks


@contextmanager
def _content(graph: Path) -> Iterator[mmap.mmap]:
    """Open an ONNX file, and raise `ConfigurationError` if what is read in it is malformed."""
    check_file(graph, _MOST)
    try:
        with graph.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            yield content
    except (ValueError, IndexError) as error:
        raise ConfigurationError(f"{graph} cannot be loaded as an ONNX model") from error


def _messages(content: mmap.mmap, start: int, end: int, *path: int) -> Iterator[tuple[int, int]]:
    """Yield the position of each message at a path of fields within a message."""
    if not path:
        yield start, end
        return
    for field, value in _fields(content, start, end):
        if field == path[0] and isinstance(value, slice):
            yield from _messages(content, value.start, value.stop, *path[1:])


def _tensors(content: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield the position of each tensor that may have external data."""
    pending = [("Model", 0, len(content))]
    while pending:
        message, start, end = pending.pop()
        if message == "Tensor":
            yield start, end
            continue
        # Nearly all nodes hold no such tensor, and this is faster than reading their fields.
        if message in ("Node", "Function") and content.find(b"location", start, end) < 0:
            continue
        kinds = _FIELDS[message]
        for field, value in _fields(content, start, end):
            if field in kinds and isinstance(value, slice):
                pending.append((kinds[field], value.start, value.stop))


def _external_name(content: mmap.mmap, start: int, end: int) -> str | None:
    """Return the name of the file that holds a tensor's values; None if the graph holds them."""
    entries: dict[bytes, bytes] = {}
    location: int | slice = 0
    for field, value in _fields(content, start, end):
        if field == _DATA_LOCATION:
            location = value
        elif field == _EXTERNAL_DATA and isinstance(value, slice):
            entry = {_KEY: b"", _VALUE: b""}
            for part, text in _fields(content, value.start, value.stop):
                if isinstance(text, slice):
                    entry[part] = content[text]
            entries[entry[_KEY]] = entry[_VALUE]
    if location != _EXTERNAL:
        return None
    name = entries.get(b"location", b"").decode()
    if not name or "\0" in name:
        raise ValueError(f"external data at {name!r}")
    return name


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | slice]]:
    """Yield the number and the value, or the position of the value, of each field of a message.

    The wire format: https://protobuf.dev/programming-guides/encoding/
    """
    position = start
    while position < end:
        tag, position = _varint(content, position)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(content, position)
            yield field, value
        elif kind == 2:
            length, position = _varint(content, position)
            yield field, slice(position, position + length)
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind not in (3, 4):  # a group: its fields follow
            raise ValueError(f"wire type {kind}")
    if position > end:
        raise ValueError("a field is longer than its message")


def _varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    """Return a number of variable length, and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise ValueError("a number of more than ten bytes")
