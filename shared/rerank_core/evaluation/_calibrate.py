"""Calibration: from the scores of labelled candidates to probabilities, and how far they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rerank_core._checks import check_choice, check_whole
from rerank_core._combinators.calibrated import Calibrated
from rerank_core._combinators.calibration import Calibration, Weights
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._scorer import Scorer
from rerank_core.evaluation._fitting import (
    METHODS,
    NOTHING,
    Method,
    ScoredList,
    cross_fitted,
    fit_nothing,
)
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._probabilities import (
    area,
    brier,
    brier_skill,
    ece,
    interval,
    is_better,
    log_losses,
    reliability,
    thresholds,
)
from rerank_core.evaluation._scoring import EvalProgress, Evaluator, Task

__all__ = ["UNJUDGED", "Unjudged", "calibrate", "read_lists"]

Array = npt.NDArray[np.float64]
Unjudged = Literal["skip", "negative"]
UNJUDGED: tuple[Unjudged, ...] = get_args(Unjudged)

# Ten labels of the rarer kind for each of two parameters: Peduzzi et al., "A simulation study of
# the number of events per variable in logistic regression analysis", J. Clin. Epidemiol. 49(12),
# 1996, https://doi.org/10.1016/S0895-4356(96)00236-3.
_FEWEST_LABELS = 20
_FEWEST_QUERIES = 15
_DO_NOT_SEPARATE = (
    "scores do not tell relevant texts from others here, so no calibration would help"
)


def calibrate(
    tasks: Sequence[Task],
    scorer: Scorer,
    *,
    unjudged: Unjudged = "skip",
    resamples: int = 1000,
    seed: int = 0,
    journal: Journal | None = None,
    progress: EvalProgress | None = None,
) -> Calibration:
    """Measure how the scores of a scorer become probabilities of relevance.

    Logistic regression (Platt, "Probabilistic Outputs for Support Vector Machines", 1999) and
    isotonic regression (Zadrozny and Elkan, KDD 2002, https://doi.org/10.1145/775047.775151), on
    the score alone and with features of the list, are compared by five-fold cross-fitting over
    queries. A method replaces a simpler one if its log loss on the ten best of each query is less
    by more than a standard error. Every figure is of probabilities that were fitted without the
    query they are about. A calibration belongs to the kind of queries and candidates that it was
    measured on.

    Args:
        tasks: Collections with their candidates. The first depth of each is used: calibrate with
            the number of candidates that you rerank.
        scorer: The scorer, without a `Calibrated`.
        unjudged: What to do with candidates without a judgement: ``"skip"`` them, or take them as
            ``"negative"``, not relevant. Default: ``"skip"``.
        resamples: Resamples of the bootstrap over queries.
        seed: Seed of the folds and of the bootstrap.
        journal: Known scorings; new ones are added. Default: a journal in memory.
        progress: Called with (label of the work, steps done, steps in all).

    Returns:
        The calibration. Its ``figures`` are plain JSON values:

        * ``collections``, ``first_stages``, ``depths``, ``queries``, ``texts``, ``relevant``,
          ``without_judgement``, ``unjudged``: what it was fitted on;
        * ``method``, and ``log_loss`` of each method that was compared;
        * ``ece``: expected calibration error over the ten best of each query, in ten bins of equal
          size, with a bootstrap interval; ``brier``, ``base_rate``, and ``brier_skill`` against a
          constant base rate, with an interval;
        * ``reliability``: of each bin the mean probability, the share that is relevant, the texts;
        * ``thresholds``: for each aim the probability to cut at, precision, recall, the
          false-positive rate, and the texts per query at or above it;
        * ``nothing``: the area under the ROC curve of lists without their relevant texts against
          the same lists with them, and thresholds.

    Raises:
        ConfigurationError: If an argument is invalid.
        InvalidInputError: If a calibration would mean nothing: there are too few labels, they are
            all of one kind, scores do not tell relevant texts from others, or the scorer did not
            score everything.
        MissingExtraError: If scikit-learn is not installed.
        ScorerError: If the scorer fails; the journal keeps what was scored before.

    Example:
        ```python
        from rerank_core import Calibrated, OnnxCrossEncoder, rerank
        from rerank_core.evaluation import Collection, Task, calibrate, first_stage

        sample = Collection.sample()
        found = first_stage("bm25", sample, 10)
        task = Task(sample, found, depths=(10,), queries=sample.evaluated[:40])
        scorer = OnnxCrossEncoder("nano", max_length=64)
        calibration = calibrate([task], scorer, unjudged="negative", resamples=200)
        figures = calibration.figures
        print(f"{figures['queries']} queries, {figures['relevant']} relevant texts")
        texts = ["Use json.dump to write JSON to a file.", "Rivers flow to the sea."]
        ranking = rerank("How do I write JSON to a file?", texts, Calibrated(scorer, calibration))
        assert ranking[0].score > 0.3 > ranking[1].score
        ```

        ```text
        40 queries, 23 relevant texts
        ```
    """
    check_choice(unjudged, "unjudged", UNJUDGED)
    check_whole(resamples, "resamples")
    if not tasks:
        raise ConfigurationError("calibrate needs at least one task")
    if isinstance(scorer, Calibrated):
        raise ConfigurationError(f"{scorer.name} is calibrated already; calibrate what is inside")
    journal = journal or Journal()
    found = [each for task in tasks for each in read_lists(task, scorer, journal, progress)]
    holes = sum(int((~each.judged).sum()) for each in found)
    lists = [each.filled() for each in found] if unjudged == "negative" else found
    _check(lists, resamples, seed)
    base = Calibration(scorer.name, scorer.fingerprint, {"score": 1.0}, scale=scorer.scale)
    with suppress(ConfigurationError):  # a scorer of one's own, say
        base = replace(base, scorer=dict(scorer.to_config()))
    method, figures = _choose(base, lists, resamples, seed)
    nothing, of_nothing = _choose_nothing(base, lists, seed)
    calibration = method.fit(base, lists)
    if calibration is None:
        raise InvalidInputError(_DO_NOT_SEPARATE)
    return replace(
        calibration,
        nothing=nothing,
        figures={
            "collections": [task.collection.name for task in tasks],
            "first_stages": [task.first_stage.name for task in tasks],
            "depths": [task.depths[0] for task in tasks],
            "queries": len(lists),
            "texts": sum(len(each.scores) for each in lists),
            "relevant": sum(int((each.labels > 0).sum()) for each in lists),
            "without_judgement": holes,
            "unjudged": unjudged,
            **figures,
            "nothing": of_nothing,
        },
    )


def read_lists(
    task: Task, scorer: Scorer, journal: Journal, progress: EvalProgress | None = None
) -> Iterator[ScoredList]:
    """Yield the scored candidates of each query.

    Raises:
        InvalidInputError: If a scoring is less than was asked for.
    """
    collection, depth = task.collection, task.depths[0]
    scored = Evaluator(task, (), journal, progress).score(scorer, depth)
    for query, scoring in scored.scorings.items():
        if scoring.degraded is not None or scoring.scale is not None:
            raise InvalidInputError(
                f"the scoring of query {query!r} of {collection.name} is degraded "
                f"({scoring.degraded}); a calibration needs the scorer's own scores of all texts"
            )
        grades = collection.judgements[query]
        # A text that is there twice has one score, and is relevant if it is anywhere.
        texts: dict[str, tuple[float, float]] = {}
        names = (candidate.id for candidate in task.first_stage.candidates[query])
        for name, text, score in zip(names, task.texts(query, depth), scoring.scores, strict=False):
            if score is not None:
                label = float(grades[name] > 0) if name in grades else np.nan
                known = texts.get(text, (score, label))[1]
                texts[text] = (score, label if np.isnan(known) else max(known, label))
        if texts:
            scores, labels = np.array([*texts.values()]).T
            yield ScoredList(scores, labels, [*texts], scorer.scale)


def _check(lists: Sequence[ScoredList], resamples: int, seed: int) -> None:
    """Refuse labels that no calibration can be fitted on.

    Raises:
        InvalidInputError: If there are too few, all are alike, or scores do not separate them.
    """
    labels = [each.labels[each.judged] for each in lists]
    relevant = int(sum(each.sum() for each in labels))
    others = sum(map(len, labels)) - relevant
    counts = f"{relevant} relevant and {others} other judged candidates of {len(lists)} queries"
    if not relevant or not others:
        if relevant:
            raise InvalidInputError(
                f"unjudged is 'skip', and labels are all of one kind: there are {counts}; if only "
                "relevant texts were judged, 'negative' takes the others as not relevant"
            )
        raise InvalidInputError(f"labels are all of one kind: there are {counts}")
    if min(relevant, others) < _FEWEST_LABELS or len(lists) < _FEWEST_QUERIES:
        raise InvalidInputError(
            f"labels are too few: there are {counts}; a calibration needs {_FEWEST_LABELS} of each "
            f"kind, from {_FEWEST_QUERIES} queries, at least"
        )
    scores = [each.scores[each.judged] for each in lists]
    found = interval(area, scores, labels, resamples=resamples, seed=seed)
    if found["low"] <= 0.5:
        raise InvalidInputError(
            f"{_DO_NOT_SEPARATE}: a relevant text has the greater score in {found['value']:.0%} of "
            f"pairs (95 % interval {found['low']:.0%} to {found['high']:.0%}), and chance gives "
            "50 %; try another scorer, or look at the labels"
        )


def _choose(
    base: Calibration, lists: Sequence[ScoredList], resamples: int, seed: int
) -> tuple[Method, dict[str, Any]]:
    """Return the simplest method that no other one clearly beats, and figures of cross-fitting."""
    shown = [each.shown for each in lists]
    labels = [each.labels[place] for each, place in zip(lists, shown, strict=True)]
    truth = np.concatenate(labels)
    losses: dict[str, float] = {}
    best: tuple[Method, list[Array], Array] | None = None
    for method in METHODS:
        found = cross_fitted(lists, partial(method.fit, base), _probabilities, seed)
        if found is not None:
            kept = [p[place] for p, place in zip(found, shown, strict=True)]
            each = np.array([log_losses(*pair).sum() for pair in zip(kept, labels, strict=True)])
            losses[method.name] = float(each.sum() / len(truth))
            if best is None or is_better(each, best[2]):
                best = method, found, each
    if best is None:
        raise InvalidInputError(_DO_NOT_SEPARATE)
    method, everything, _ = best
    kept = [p[place] for p, place in zip(everything, shown, strict=True)]
    judged = [each.judged for each in lists]
    estimate = partial(interval, probabilities=kept, labels=labels, resamples=resamples, seed=seed)
    return method, {
        "method": method.name,
        "log_loss": losses,
        "ece": estimate(ece),
        "brier": brier(np.concatenate(kept), truth),
        "base_rate": float(truth.mean()),
        "brier_skill": estimate(brier_skill),
        "reliability": reliability(np.concatenate(kept), truth),
        "thresholds": thresholds(
            np.concatenate([p[place] for p, place in zip(everything, judged, strict=True)]),
            np.concatenate([each.labels[place] for each, place in zip(lists, judged, strict=True)]),
            np.concatenate(everything),
            len(lists),
        ),
    }


def _probabilities(calibration: Calibration, each: ScoredList) -> Array:
    return np.array(calibration.probabilities(each.scores))


def _choose_nothing(
    base: Calibration, lists: Sequence[ScoredList], seed: int
) -> tuple[Weights | None, dict[str, Any] | None]:
    """Return weights for lists without a relevant text, and the figures of cross-fitting.

    The same lists with and without their relevant texts: they are as many, so probabilities hold
    where every other question has no answer.
    """
    pairs = [each for each in lists if each.answerable]
    if len(pairs) < _FEWEST_QUERIES:
        return None, None
    truth = np.tile([0.0, 1.0], len(pairs))
    chosen: tuple[tuple[str, ...], Array, Array] | None = None
    for names in NOTHING:
        found = cross_fitted(pairs, partial(fit_nothing, base, names), _with_and_without, seed)
        if found is not None:
            each = np.array([log_losses(pair, truth[:2]).sum() for pair in found])
            if chosen is None or is_better(each, chosen[2]):
                chosen = names, np.concatenate(found), each
    if chosen is None:
        return None, None
    names, best, _ = chosen
    rows = thresholds(best, truth, best, 2 * len(pairs))
    return fit_nothing(base, names, pairs).nothing, {
        "method": Method(names).name,
        "lists": len(truth),
        "area": area(best, truth),
        "thresholds": [
            {name: row[name] for name in ("aim", "threshold", "recall", "fpr")}
            for row in rows
            if row["aim"].startswith("fpr")
        ],
    }


def _with_and_without(calibration: Calibration, each: ScoredList) -> Array:
    lists = [(each.scores, each.texts), each.others]
    return np.array([calibration.nothing_probability(*found) for found in lists], dtype=np.float64)
