"""Options, tasks, scorers and prices of the commands that use a test collection."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from rerank_core._display import printable
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._files import bounded_bytes
from rerank_core._loading import load_scorer
from rerank_core._scorer import Scorer
from rerank_core.cli._guard import on_interrupt
from rerank_core.cli._interrupts import interrupts
from rerank_core.evaluation import Collection, Journal, Task, first_stage, read_collection

__all__ = [
    "TaskOptions",
    "make_tasks",
    "opened_journal",
    "read_collections",
    "refuse_twins",
    "scorer_maker",
]

_LABELLED = re.compile(r"([\w.+-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of a command that uses test collections, by their names; see its help."""

    folders: Sequence[Path] | None
    sample: bool
    depth: Sequence[str] | None
    first_stage: Sequence[str] | None
    qrels: Sequence[str] | None
    queries: int | None
    seed: int
    resume: Path | None
    prices: Path | None


def refuse_twins(names: Sequence[str], what: str, instead: str) -> None:
    """Refuse a name that is there twice, before the work that would be lost is done."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigurationError(f"{what} {name!r} is given twice; give one as {instead}")


@contextmanager
def opened_journal(path: Path | None) -> Iterator[Journal]:
    """Open a journal, and print at Ctrl-C where it is."""

    def point_to(journal: Journal) -> None:
        if journal.path is not None:
            where = printable(str(journal.path))
            interrupts.write(
                f"rerank: what was scored is in {where}; the same command continues from there\n"
            )
        journal.close()

    with Journal(path) as journal, on_interrupt(partial(point_to, journal)):
        yield journal


def read_collections(options: TaskOptions) -> list[Collection]:
    """Read the collections that are named.

    Raises:
        RerankError: If there is none, or one cannot be read.
    """
    folders = options.folders or ()
    if not folders and not options.sample:
        raise ConfigurationError("name the folder of a collection, or give --sample")
    names = [folder.resolve().name for folder in folders]
    refuse_twins(names, "DIR", "a folder of another name")
    qrels = _by_collection(options.qrels or (), names, "--qrels")
    read = [
        read_collection(folder, qrels=_only(qrels[name], name, "--qrels"))
        for folder, name in zip(folders, names, strict=True)
    ]
    return [Collection.sample(), *read] if options.sample else read


def make_tasks(
    collections: Sequence[Collection],
    options: TaskOptions,
    depths: Sequence[int],
    journal: Journal,
    progress: Callable[[str, int, int], None],
) -> list[Task]:
    """Find the candidates of each collection.

    Args:
        collections: The collections.
        options: The options.
        depths: Depths where there is no ``--depth``.
        journal: Keeps what a dense first stage finds.
        progress: Called with (label of the work, steps done, steps in all).

    Raises:
        RerankError: If an option is wrong, or the first stage fails.
    """
    names = [collection.name for collection in collections]
    stages = _by_collection(options.first_stage or (), names, "--first-stage")
    wanted = _by_collection(options.depth or [*map(str, depths)], names, "--depth")
    if len({len(values) for values in wanted.values()}) > 1:
        raise ConfigurationError("--depth: give every collection the same number of depths")
    tasks = []
    for collection in collections:
        name = collection.name
        chosen = tuple(dict.fromkeys(_depth(text) for text in wanted[name]))
        spec = _only(stages[name], name, "--first-stage") or "bm25"
        watch = partial(progress, f"{name}: {spec}")
        stage = first_stage(spec, collection, max(chosen), journal=journal, progress=watch)
        tasks.append(Task(collection, stage, chosen, _sample(collection, options)))
    return tasks


def _sample(collection: Collection, options: TaskOptions) -> tuple[str, ...]:
    ids = collection.evaluated
    if options.queries is None or options.queries >= len(ids):
        return ids
    # Not for secrets: the same seed must give the same sample.
    return tuple(sorted(random.Random(options.seed).sample(ids, options.queries)))  # noqa: S311


def _by_collection(
    values: Sequence[str], names: Sequence[str], option: str
) -> dict[str, list[str]]:
    """Sort ``VALUE`` and ``COLLECTION=VALUE``; a collection's own values replace the common ones.

    Raises:
        ConfigurationError: If a value names a collection that is not evaluated.
    """
    common: list[str] = []
    own: dict[str, list[str]] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if equals and name in names:
            own.setdefault(name, []).append(rest)
        elif equals and _LABELLED.fullmatch(value):
            raise ConfigurationError(
                f"{option} {value}: {name!r} is none of the collections: {', '.join(names)}"
            )
        else:
            common.append(value)
    return {name: own.get(name, common) for name in names}


def _only(values: Sequence[str], name: str, option: str) -> str | None:
    if len(values) > 1:
        raise ConfigurationError(f"{option} is given twice for {name}: {', '.join(values)}")
    return values[0] if values else None


def _depth(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ConfigurationError(
            f"--depth {text}: must be a whole number of at least 1, or COLLECTION=NUMBER"
        )
    return int(text)


def scorer_maker(price_file: Path | None) -> Callable[[str], tuple[str | None, Scorer]]:
    """Return a function that reads ``SPEC`` or ``NAME=SPEC``, and loads each model once.

    Args:
        price_file: A file with the prices of some scorers.

    Raises:
        InvalidInputError: If the file is no such file.
        OSError: If it cannot be read.
    """
    prices = _read_prices(price_file)

    @cache
    def load(spec: str) -> Scorer:
        scorer = load_scorer(spec)
        if spec in prices:
            scorer = load_scorer({**scorer.to_config(), "prices": prices[spec]})
        return scorer

    def make(text: str) -> tuple[str | None, Scorer]:
        match = None if Path(text).exists() else _LABELLED.fullmatch(text)
        label, spec = match.groups() if match else (None, text)
        return label, load(spec)

    return make


def _read_prices(path: Path | None) -> Mapping[str, object]:
    if path is None:
        return {}
    try:
        prices = json.loads(bounded_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not JSON: {error}") from None
    if not isinstance(prices, dict):
        raise InvalidInputError(
            f"{path}: must be an object such as "
            '{"cohere:rerank-v5.0-fast": {"million_tokens": 0.02}}'
        )
    return prices
