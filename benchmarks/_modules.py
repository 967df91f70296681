"""Structure of packages, read from their files: lines, import circles, uses of private names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

__all__ = ["Circle", "Module", "ReachIn", "When", "circles", "reach_ins", "read_modules"]


class When(IntEnum):
    """Time at which an import statement runs."""

    LOADING = 0
    """While the module is imported."""
    CALLING = 1
    """While a function runs."""
    TYPING = 2
    """Never: the import is for type checkers."""


@dataclass(frozen=True)
class Module:
    """A file of a package.

    Attributes:
        name: Its dotted name.
        package: Name of the package that it is in, or is.
        tree: Its syntax tree.
        lines: How many it has.
        code_lines: Those that are neither blank, nor a comment, nor part of a docstring. Inside
            other strings, blank lines and lines that begin with ``#`` do not count either.
        imports: The modules that it imports, among those that were read, and when it first does.
    """

    name: str
    package: str
    tree: ast.Module
    lines: int
    code_lines: int
    imports: Mapping[str, When]


class Circle(NamedTuple):
    """Modules that import each other, directly or through one another.

    Attributes:
        modules: Their names.
        when: The last kind of import that is needed to close the circle.
    """

    modules: tuple[str, ...]
    when: When


class ReachIn(NamedTuple):
    """A module that uses private names of another one.

    Attributes:
        module: Name of the module that uses them.
        owners: Name of the one that defines them; several if each of them does.
        uses: Each use, as ``line 7: scorer._model``.
    """

    module: str
    owners: tuple[str, ...]
    uses: tuple[str, ...]


def read_modules(*packages: Path) -> dict[str, Module]:
    """Read every module of some packages.

    Args:
        *packages: Their folders.

    Returns:
        The modules, by their names.
    """
    files: dict[str, Path] = {}
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    modules = {}
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imports: dict[str, When] = {}
        for target, when in _imports(tree, inside, files):
            if target != name:
                imports[target] = min(when, imports.get(target, when))
        modules[name] = Module(
            name, inside, tree, len(text.splitlines()), _code_lines(text, tree), imports
        )
    return modules


def _code_lines(text: str, tree: ast.Module) -> int:
    documentation: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            docstring = node.body[0]
            documentation.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return sum(
        bool(line) and not line.startswith("#") and number not in documentation
        for number, line in lines
    )


def _imports(tree: ast.Module, package: str, names: Iterable[str]) -> Iterator[tuple[str, When]]:
    """Find the modules that import statements name.

    ``from package import name`` names the module ``package.name`` if there is one, else the
    package. The packages around a module do not count, although importing it runs them too.
    """
    for node, when in _nodes(tree, When.LOADING):
        if isinstance(node, ast.Import):
            yield from ((alias.name, when) for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                target = inner if inner in names else source
                if target in names:
                    yield target, when


def _source(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of what comes after ``from``."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def _nodes(parent: ast.AST, when: When) -> Iterator[tuple[ast.AST, When]]:
    for node in ast.iter_child_nodes(parent):
        yield node, when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _nodes(node, max(when, When.CALLING))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _nodes(ast.Module(node.body, []), When.TYPING)
            yield from _nodes(ast.Module(node.orelse, []), when)
        else:
            yield from _nodes(node, when)


def circles(modules: Mapping[str, Module]) -> list[Circle]:
    """Find the groups of modules that import each other, by all kinds of imports.

    Args:
        modules: What `read_modules` returned.
    """
    return [
        Circle(group, next(when for when in When if _groups(modules, group, when)))
        for group in _groups(modules, tuple(modules), max(When))
    ]


def _groups(
    modules: Mapping[str, Module], among: tuple[str, ...], latest: When
) -> list[tuple[str, ...]]:
    """Return the largest groups within which every module reaches every other."""
    reached = {name: _reached(modules, name, latest, among) for name in among}
    groups = {
        tuple(sorted(other for other in found if name in reached[other]))
        for name, found in reached.items()
        if name in found
    }
    return sorted(groups)


def _reached(
    modules: Mapping[str, Module], start: str, latest: When, among: Iterable[str]
) -> set[str]:
    """Return the modules that one imports, directly or through others; itself if in a circle."""
    allowed, found, waiting = set(among), set[str](), [start]
    while waiting:
        imports = modules[waiting.pop()].imports
        new = {name for name, when in imports.items() if when <= latest} & allowed - found
        found |= new
        waiting += new
    return found


def reach_ins(modules: Mapping[str, Module]) -> list[ReachIn]:
    """Find the modules that use private names of others.

    A name with one leading underscore is private to the module that defines it: as a function, a
    class, a variable, or an attribute of `self`. Another module uses it if it imports it, or reads
    or sets it as an attribute of anything but ``self``, ``cls`` and ``super()``. The owner must be
    among the modules that the user imports, directly or through others, so that a name of another
    library that looks the same does not count. Where the user itself defines the name too, an
    attribute of a plain variable is taken for its own, as in ``other._x``. Modules are not names:
    importing a private module does not count.

    Args:
        modules: What `read_modules` returned.
    """
    defined = {name: _private_names(module.tree) for name, module in modules.items()}
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, module in modules.items():
        around = _reached(modules, name, max(When), modules) - {name}
        for node, owners in _uses(module, around, modules, defined):
            key = (name, tuple(sorted(owners)))
            found.setdefault(key, []).append(f"line {node.lineno}: {ast.unparse(node)}")
    return [ReachIn(*key, tuple(uses)) for key, uses in sorted(found.items())]


def _uses(
    module: Module,
    around: Iterable[str],
    modules: Iterable[str],
    defined: Mapping[str, set[str]],
) -> Iterator[tuple[ast.ImportFrom | ast.Attribute, set[str]]]:
    """Find each use of a private name, and the modules that define it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            source = _source(node, module.package)
            names = (alias.name for alias in node.names)
            if source in modules and any(
                _is_private(name) and f"{source}.{name}" not in modules for name in names
            ):
                yield node, {source}
        elif (
            isinstance(node, ast.Attribute)
            and not _is_own(node, defined[module.name])
            and (owners := {other for other in around if node.attr in defined[other]})
        ):
            yield node, owners


def _is_private(name: str) -> bool:
    return len(name) > 1 and name[0] == "_" and name[1] != "_"


def _is_own(node: ast.Attribute, own: set[str]) -> bool:
    match node.value:
        case ast.Name("self" | "cls") | ast.Call(ast.Name("super")):
            return True
        case ast.Name():
            return node.attr in own
    return False


def _private_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                names.add(name)
            case ast.Name(name, ast.Store()):
                names.add(name)
            case ast.Attribute(ast.Name("self" | "cls"), name, ast.Store()):
                names.add(name)
    return {name for name in names if _is_private(name)}
