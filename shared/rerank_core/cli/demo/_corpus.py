"""Real text that is on every machine: the documentation strings of Python's standard library."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["QUESTIONS", "Chunk", "standard_library_chunks"]

QUESTIONS = (
    "How can I measure how long a small piece of code takes to run?",
    "How do I generate a secure random password token?",
    "How do I write log messages to a file that rotates every day?",
)

_SHORTEST, _LONGEST = 60, 900  # characters of a chunk
_NOT_FOR_USERS = frozenset(
    {"distutils", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
)


class Chunk(NamedTuple):
    """A piece of documentation.

    Attributes:
        id: Where it stands, such as ``"csv.DictReader"``; later pieces of one text are numbered.
        text: The piece, under the name of what it documents.
    """

    id: str
    text: str


def standard_library_chunks() -> list[Chunk]:
    """Cut the documentation strings of the standard library's Python files into chunks.

    Nothing is imported: the files are parsed. Paragraphs are kept whole.

    Returns:
        The chunks, sorted by module; the same for one Python version.
    """
    root = Path(sysconfig.get_path("stdlib"))
    chunks: dict[str, Chunk] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _NOT_FOR_USERS.isdisjoint(parts) and not parts[0].startswith("_"):
            module = ".".join(parts).removesuffix(".__init__")
            for chunk in _chunks_of(path, module):
                chunks.setdefault(chunk.text, chunk)  # some texts stand in several modules
    return list(chunks.values())


def _chunks_of(path: Path, module: str) -> Iterator[Chunk]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # some files of the library are broken on purpose
        return
    waiting: list[tuple[str, ast.AST]] = [(module, tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for number, piece in enumerate(_pieces(ast.get_docstring(node) or ""), start=1):
                yield Chunk(name if number == 1 else f"{name}#{number}", f"{name}: {piece}")
            waiting += [
                (f"{name}.{child.name}", child)
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not child.name.startswith("_")
            ]


def _pieces(documentation: str) -> Iterator[str]:
    """Join paragraphs up to the longest length a chunk may have."""
    piece = ""
    for paragraph in documentation.split("\n\n"):
        if piece and len(piece) + len(paragraph) > _LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if len(piece) >= _SHORTEST:
        yield piece
