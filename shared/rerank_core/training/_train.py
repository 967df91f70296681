"""Training a student, and proving on queries it has not seen that it is better."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_core._checks import check_number, check_whole
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._loading import load_scorer
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._scorer import Scorer
from rerank_core.evaluation import Comparison, Journal, System, Task, evaluate
from rerank_core.evaluation._collection import digest
from rerank_core.evaluation._scoring import EvalProgress
from rerank_core.evaluation._statistics import LEVEL
from rerank_core.export import export_model
from rerank_core.export._folder import check_target, new_folder
from rerank_core.training._lists import read_candidates

__all__ = ["TrainReport", "train"]

_METRIC = "nDCG@10"
_STOPPING = 0.15  # of the queries that are not held out
_FEWEST = 10  # queries to train on
_NANO_RATE, _RATE = 1e-4, 2e-5


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Result of a training.

    Attributes:
        folder: The folder that was written; None if the student is not proved better.
        comparison: Comparison of the student with the start, on the held-out queries.
        before: nDCG@10 of the start on them.
        after: nDCG@10 of the student.
        trained: Number of queries that were trained on, those for stopping included.
        held_out: Ids of the held-out queries.
        steps: Number of steps that were made.

    Example:
        ```python
        # needs minutes: a training
        from rerank_core.evaluation import Task, first_stage, read_collection
        from rerank_core.training import TrainReport, train

        collection = read_collection("my-collection")
        task = Task(collection, first_stage("bm25", collection, 50))
        report: TrainReport = train(task, "my-nano", labels=True)
        print(report.folder, report.before, report.after)
        ```
    """

    folder: Path | None
    comparison: Comparison
    before: float
    after: float
    trained: int
    held_out: tuple[str, ...]
    steps: int


def train(
    task: Task,
    out: str | os.PathLike[str],
    *,
    start: str = "nano",
    teachers: Sequence[Scorer] = (),
    labels: bool = False,
    minutes: float = 30,
    passes: int = 14,
    learning_rate: float | None = None,
    held_out: float = 0.3,
    resume: str | os.PathLike[str] | None = None,
    seed: int = 0,
    force: bool = False,
    progress: EvalProgress | None = None,
) -> TrainReport:
    """Train a cross-encoder on a collection, and write it as an int8 folder if it is better.

    Some queries are held out first, and some of the others are set aside to choose the best state
    by. The student learns to score candidates as the teachers do together, each standardised over
    the candidates of a query. With labels, it also learns to prefer relevant candidates, and the
    first stage's scores join the teachers' with the share that orders these queries best. Without
    teachers, the start itself is the teacher. The folder is written only if the exported student's
    nDCG@10 on the held-out queries is higher than that of the start, and a randomisation test finds
    that significant (p < 0.05).

    Args:
        task: Collection, candidates, and queries to use.
        out: Folder to write. Its parent folder must exist.
        start: ``"nano"``, or a cross-encoder with one label by folder or hub id.
        teachers: Scorers to learn from. Whether a service's terms allow it is yours to check.
        labels: Learn from judgements, too.
        minutes: Maximum time for training. Scoring by the teachers and the comparison come
            on top.
        passes: Passes over the queries, unless the time ends first.
        learning_rate: Learning rate of the encoder's weights. Default: 1e-4 for ``"nano"``, else
            2e-5.
        held_out: Share of the queries to hold out, from 0.1 to 0.9.
        resume: Folder for the teachers' scores and the state of the training: after an
            interruption, the same call continues from there. Default: nothing is kept.
        seed: Seed of the random numbers.
        force: Replace an earlier export.
        progress: Called with (label of the work, steps done, steps in all).

    Returns:
        The result; ``folder`` is None if the student is not proved better.

    Raises:
        ConfigurationError: If an argument is invalid, there are too few queries, or the start
            cannot be trained.
        MissingExtraError: If the extra ``train`` is not installed.
        ScorerError: If a teacher fails.
        OSError: If a file cannot be written.

    Example:
        ```python
        # needs minutes: a training
        from rerank_core import load_scorer
        from rerank_core.evaluation import Task, first_stage, read_collection
        from rerank_core.training import train

        collection = read_collection("my-collection")
        task = Task(collection, first_stage("bm25", collection, 50))
        report = train(task, "my-nano", teachers=[load_scorer("cohere:rerank-v3.5")], minutes=10)
        ```
    """
    try:
        import accelerate  # noqa: F401 - used by the trainer
        import datasets  # noqa: F401
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("train", "Training a model") from error
    from rerank_core.training._fit import fit
    from rerank_core.training._start import load_start, save_start

    check_number(minutes, "minutes", above=0)
    check_whole(passes, "passes")
    if learning_rate is None:
        learning_rate = _NANO_RATE if start == "nano" else _RATE
    check_number(learning_rate, "learning_rate", above=0)
    check_number(held_out, "held_out", least=0.1, most=0.9)
    check_whole(seed, "seed", least=0)
    if not (teachers or labels):
        raise ConfigurationError("train needs teachers, labels=True, or both")
    folder = Path(os.path.abspath(Path(out).expanduser()))  # noqa: PTH100 - as export_model does
    check_target(folder, force=force)
    learnt_ids, checked_ids, proof = _split(task, held_out, seed)
    first = load_scorer("nano" if start == "nano" else f"torch:{start}")

    with tempfile.TemporaryDirectory(prefix="rerank-train-") as scratch:
        keep = Path(scratch if resume is None else resume)
        keep.mkdir(exist_ok=True)
        with Journal(keep) as journal:
            read = read_candidates(
                task,
                (*learnt_ids, *checked_ids),
                teachers or [first],
                journal,
                labels=labels,
                progress=progress,
            )
            learnt, checked = (
                [read[query] for query in ids if query in read] for ids in (learnt_ids, checked_ids)
            )
            if len(learnt) < _FEWEST or not checked:
                raise ConfigurationError(
                    f"only {len(learnt) + len(checked)} of the queries of {task.collection.name} "
                    "that are not held out have two candidates; check the first stage"
                )
            # A state belongs to one start, its settings and one set of lists.
            lists = [value for item in learnt for value in (item.query, *item.texts)]
            targets = [str(value) for item in learnt for value in item.targets]
            key = digest([start, str((seed, passes, learning_rate)), *lists, *targets])
            work = keep / f"training-{key[:8]}"
            work.mkdir(exist_ok=True)
            model = load_start(start, Path(scratch))
            steps = fit(
                model,
                learnt,
                checked,
                seconds=60 * minutes,
                passes=passes,
                rate=learning_rate,
                seed=seed,
                work=work,
                progress=progress,
            )
            trained, student = Path(scratch) / folder.name, Path(scratch) / "int8"
            save_start(model, trained)
            export_model(trained, student, precision="int8")
            systems = [
                System(first, label="start"),
                System(OnnxCrossEncoder(student), label="student"),
            ]
            asked = Task(task.collection, task.first_stage, (max(task.depths),), proof)
            report = evaluate(
                [asked], systems, metrics=[_METRIC], journal=journal, seed=seed, progress=progress
            )
        comparison = report.comparisons[-1]
        before, after = (item.values[_METRIC] for item in report.collections[0].systems)
        better = comparison.difference > 0 and comparison.p < LEVEL
        if better:
            with new_folder(folder, force=force) as (filled, _):
                shutil.copytree(student, filled, dirs_exist_ok=True)
        shutil.rmtree(work)
    return TrainReport(
        folder=folder if better else None,
        comparison=comparison,
        before=before,
        after=after,
        trained=len(learnt) + len(checked),
        held_out=proof,
        steps=steps,
    )


def _split(
    task: Task, held_out: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return queries to train on, to choose the best state by, and to prove it on."""
    queries = list(task.used)
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    proof = chance.sample(queries, round(held_out * len(queries)))
    others = [query for query in queries if query not in set(proof)]
    chance.shuffle(others)
    stopping = max(1, round(_STOPPING * len(others)))
    if len(others) - stopping < _FEWEST or not proof:
        raise ConfigurationError(
            f"held_out {held_out:g} of the {len(queries)} queries of {task.collection.name} leaves "
            f"{max(0, len(others) - stopping)} to train on; at least {_FEWEST} are needed"
        )
    return tuple(others[stopping:]), tuple(others[:stopping]), tuple(proof)
