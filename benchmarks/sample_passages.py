"""Make the passages of the sample collection out of Python's own documentation.

python3.13 -m benchmarks.sample_passages

It needs no other package. The passages were made with Python 3.13.0 and are kept as they are:
another version has other documentation, and the answers to the questions are ids of passages.
"""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType

TARGET = Path(__file__).parents[1] / "shared/rerank_core/evaluation/sample/passages.json.gz"

MODULES = """
abc argparse array asyncio base64 binascii bisect builtins bz2 calendar collections
concurrent.futures configparser contextlib contextvars copy csv dataclasses datetime decimal
difflib email email.utils enum fileinput filecmp fnmatch fractions functools gc getpass glob
graphlib gzip hashlib heapq hmac html html.parser http http.client http.server importlib.metadata
importlib.resources inspect io ipaddress itertools json json.tool keyword linecache locale logging
logging.config logging.handlers lzma math mimetypes multiprocessing multiprocessing.shared_memory
operator os os.path pathlib pickle pprint profile queue random re sched secrets select shelve shlex
shutil signal smtplib socket sqlite3 ssl stat statistics string struct subprocess sys tarfile
tempfile textwrap threading time timeit traceback tracemalloc types typing unicodedata unittest
unittest.mock urllib.parse urllib.request uuid venv warnings weakref webbrowser
xml.etree.ElementTree zipapp zipfile zlib zoneinfo
""".split()  # noqa: SIM905

# Said again elsewhere, or about how Python is made rather than used.
LEFT_OUT = """
attribute-access bltin-code-objects bltin-ellipsis-object bltin-null-object customization debugger
dynamic-features execmodel id-classes integers naming numeric-types objects sequence-types
specialnames string-methods types typesmapping typesseq
""".split()  # noqa: SIM905

SHORTEST, LONGEST = 60, 900  # characters of a passage
MOST = 1500  # of a single paragraph: longer ones are tables


def main() -> None:
    """Write the passages, by id."""
    passages: dict[str, str] = {}
    for name, documentation in documented():
        for number, piece in enumerate(pieces(documentation), start=1):
            # Some texts are at several places: they belong to the first.
            passages.setdefault(piece, name if number == 1 else f"{name}#{number}")
    texts = {name: piece for piece, name in passages.items()}
    data = json.dumps(texts, ensure_ascii=False).encode()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(gzip.compress(data, mtime=0))
    print(f"{len(texts):,} passages, {len(data):,} bytes, {TARGET.stat().st_size:,} compressed")


def documented() -> Iterator[tuple[str, str]]:
    """Yield each documented name and its documentation: the language first, then the library."""
    for topic, text in topics.items():
        if topic not in LEFT_OUT:
            yield f"language: {topic}", text.strip()
    for module in map(import_module, MODULES):
        name = "os.path" if module.__name__ == "posixpath" else module.__name__
        yield name, documentation_of(module)
        for member, value in public(module):
            yield f"{name}.{member}", documentation_of(value)
            if inspect.isclass(value):
                for method, found in sorted(vars(value).items()):
                    if not method.startswith("_") and (
                        inspect.isroutine(found) or isinstance(found, property)
                    ):
                        yield f"{name}.{member}.{method}", documentation_of(found)


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the classes and functions of a module that are for its users."""
    listed = getattr(module, "__all__", None)
    for name in sorted(set(listed or vars(module)), key=lambda name: (name.lower(), name)):
        value = getattr(module, name, None)
        if not (inspect.isclass(value) or inspect.isroutine(value)) or name.startswith("_"):
            continue
        if listed or getattr(value, "__module__", None) == module.__name__:
            yield name, value


def documentation_of(value: object) -> str:
    """Return what is written at the value itself, not what it inherits."""
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    text = getattr(value, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def pieces(documentation: str) -> Iterator[str]:
    """Join paragraphs up to the greatest length of a passage."""
    piece = ""
    for paragraph in documentation.split("\n\n"):
        if piece and len(piece) + len(paragraph) > LONGEST:
            if len(piece) <= MOST:
                yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if SHORTEST <= len(piece) <= MOST:
        yield piece


if __name__ == "__main__":
    main()
