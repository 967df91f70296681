"""`rerank eval`: read, retrieve, score, compare, write."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from rerank_core._blend import make_blend
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._loading import load_scorer
from rerank_core._profile import Profile
from rerank_core._scorer import Scorer
from rerank_core.cli._eval_table import keep_lines, report_lines
from rerank_core.cli._guard import interrupt_raised, on_interrupt
from rerank_core.cli._interrupts import interrupts
from rerank_core.cli._output import check_target, output_console, progress_bar, write_lines
from rerank_core.cli._values import trimmers
from rerank_core.evaluation import (
    DEFAULT_METRICS,
    Collection,
    Journal,
    System,
    Task,
    choose_keep,
    evaluate,
    first_stage,
    plot,
    read_collection,
)
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._plot import check_ending

__all__ = ["EvalOptions", "run_eval"]

_MOST_PRICES = 1 << 20
_LABELLED = re.compile(r"([\w.+-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """The options of ``rerank eval``, by their names; see its help."""

    folders: Sequence[Path] | None
    sample: bool
    scorer: Sequence[str] | None
    profile: Path | None
    blend: Sequence[str] | None
    depth: Sequence[str] | None
    first_stage: Sequence[str] | None
    qrels: Sequence[str] | None
    metric: Sequence[str] | None
    queries: int | None
    seed: int
    resamples: int
    examples: int
    resume: Path | None
    prices: Path | None
    cascade: tuple[str, str] | None
    trim: Sequence[str] | None
    top_n: int | None
    max_loss: float
    json: Path | None
    plot: Path | None


def run_eval(options: EvalOptions) -> None:
    """Evaluate, and write the report to standard output and to the files asked for.

    Raises:
        Failure: If a file cannot be written.
        RerankError: If an argument or a file is wrong, or a scorer fails.
        OSError: If reading or writing fails.
    """
    report_file = None if options.json == Path("-") else options.json
    for path in (None, report_file, options.plot):
        check_target(path)
    if options.plot is not None:
        check_ending(options.plot)
    metrics = check_metrics(options.metric or DEFAULT_METRICS)
    blends = [None, *dict.fromkeys(map(make_blend, options.blend or ()))]
    profile = options.profile and Profile.read(options.profile)
    make = _scorer_maker(_read_prices(options.prices))
    labelled = [make(text) for text in options.scorer or (() if profile else ("nano",))]
    _refuse_twins([label or scorer.name for label, scorer in labelled], "--scorer", "NAME=SCORER")
    systems = [System(scorer, blend, label) for label, scorer in labelled for blend in blends]
    if options.profile and profile:
        scorer = load_scorer(profile.scorer)
        systems.insert(0, System(scorer, profile.blend, options.profile.stem))
    trim = trimmers(options.trim) or [*(profile.trim if profile else ())]
    if options.top_n is not None and not trim:
        raise ConfigurationError("--top-n is for --trim: name a trimmer, too")
    pair = options.cascade and [make(text)[1] for text in options.cascade]
    collections = _read_collections(options)
    with (
        Journal(options.resume) as journal,
        on_interrupt(partial(_point_to, journal)),
        progress_bar("reading") as progress,
    ):
        depth = (profile and profile.depth) or 50
        tasks = _make_tasks(collections, options, depth, journal, progress)
        report = evaluate(
            tasks,
            systems,
            metrics=metrics,
            journal=journal,
            resamples=options.resamples,
            seed=options.seed,
            examples=options.examples,
            trim=trim,
            top_n=options.top_n,
            progress=progress,
        )
        choice = pair and choose_keep(
            tasks,
            *pair,
            max_loss=options.max_loss,
            metric=report.metrics[0],
            journal=journal,
            progress=progress,
        )
    if options.json is not None:
        found = report.to_json()
        if choice:
            found["cascade"] = choice.to_json()
        write_lines([json.dumps(found, indent=1, allow_nan=False)], report_file)
    if options.plot is not None:
        with interrupt_raised():
            plot(report, options.plot)
    if options.json is not None and report_file is None:
        return  # standard output has the report
    console = output_console(160)
    lines = report_lines(report, console)
    if choice and pair:
        names = [scorer.name for scorer in pair]
        lines += keep_lines(choice, names, options.max_loss, console)
    write_lines(lines, None)


def _refuse_twins(names: Sequence[str], what: str, instead: str) -> None:
    """Refuse a name that is there twice, before the work that would be lost is done."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigurationError(f"{what} {name!r} is given twice; give one as {instead}")


def _point_to(journal: Journal) -> None:
    """Print at Ctrl-C where a journal is, and close it."""
    if journal.path is not None:
        path = printable(str(journal.path))
        interrupts.write(
            f"rerank: what was scored is in {path}; the same command continues from there\n"
        )
    journal.close()


def _read_collections(options: EvalOptions) -> list[Collection]:
    folders = options.folders or ()
    if not folders and not options.sample:
        raise ConfigurationError("name the folder of a collection, or give --sample")
    names = [folder.resolve().name for folder in folders]
    _refuse_twins(names, "DIR", "a folder of another name")
    qrels = _by_collection(options.qrels or (), names, "--qrels")
    read = [
        read_collection(folder, qrels=_only(qrels[name], name, "--qrels"))
        for folder, name in zip(folders, names, strict=True)
    ]
    return [Collection.sample(), *read] if options.sample else read


def _make_tasks(
    collections: Sequence[Collection],
    options: EvalOptions,
    depth: int,
    journal: Journal,
    progress: Callable[[str, int, int], None],
) -> list[Task]:
    names = [collection.name for collection in collections]
    stages = _by_collection(options.first_stage or (), names, "--first-stage")
    depths = _by_collection(options.depth or (str(depth),), names, "--depth")
    if len({len(values) for values in depths.values()}) > 1:
        raise ConfigurationError("--depth: give every collection the same number of depths")
    tasks = []
    for collection in collections:
        name = collection.name
        chosen = tuple(dict.fromkeys(_depth(text) for text in depths[name]))
        spec = _only(stages[name], name, "--first-stage") or "bm25"
        watch = partial(progress, f"{name}: {spec}")
        stage = first_stage(spec, collection, max(chosen), journal=journal, progress=watch)
        tasks.append(Task(collection, stage, chosen, _sample(collection, options)))
    return tasks


def _sample(collection: Collection, options: EvalOptions) -> tuple[str, ...]:
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


def _scorer_maker(prices: Mapping[str, object]) -> Callable[[str], tuple[str | None, Scorer]]:
    """Return a function that reads ``SPEC`` or ``NAME=SPEC``, and loads each model once."""

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
        with path.open("rb") as stream:
            prices = json.loads(stream.read(_MOST_PRICES))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not JSON: {error}") from None
    if not isinstance(prices, dict):
        raise InvalidInputError(
            f"{path}: must be an object such as "
            '{"cohere:rerank-v5.0-fast": {"million_tokens": 0.02}}'
        )
    return prices
