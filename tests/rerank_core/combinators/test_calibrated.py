"""`Calibrated` and `Calibration`: probabilities for the scores of one scorer."""

from __future__ import annotations

import asyncio
import json
import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Adaptive,
    Cached,
    Calibrated,
    Calibration,
    Cascade,
    ConfigurationError,
    Deadline,
    Excerpt,
    Fallback,
    OnnxCrossEncoder,
    Ranking,
    Scale,
    Scorer,
    Scoring,
    ServiceError,
    Windowed,
    load_scorer,
    rerank,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer

QUERY = "river water level"
TEXTS = ["the river water level", "river", "storm", "", "water level", "river"]
OVERLAP = OverlapScorer()
PLATT = Calibration(
    "overlap", OVERLAP.fingerprint, {"score": 1.5, "intercept": -0.5}, scale=Scale.UNIT
)
LISTWISE = replace(
    PLATT,
    relevant={"score": 0.5, "rank": 1.0, "best": 0.2, "mean": -0.3, "intercept": -1.0},
    knots=[(-3.0, -4.0), (0.0, -0.5), (2.0, 5.0)],
    alone={"score": 0.7, "intercept": -1.0},
    nothing={"best": -0.5, "intercept": 0.25},
    scorer={"type": "onnx", "model": "nano"},
    figures={"ece": 0.02},
)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def logit(share: float) -> float:
    return math.log((share + 1e-6) / (1 - share + 1e-6))


def test_platt_is_a_sigmoid_of_the_score() -> None:
    scoring = Calibrated(OVERLAP, PLATT).score(QUERY, TEXTS)
    shares = [1, 1 / 3, 0, None, 2 / 3, 1 / 3]
    expected = [None if s is None else sigmoid(1.5 * logit(s) - 0.5) for s in shares]
    assert scoring.scores == pytest.approx(expected)
    assert scoring.nothing_probability is None
    assert Calibrated(OVERLAP, PLATT).scale is Scale.PROBABILITY


def test_features_of_the_list_count() -> None:
    logits = [2.0, -1.0, 0.5, -1.0]
    calibration = replace(LISTWISE, scale=Scale.LOGIT)
    sums = [
        0.5 * x - math.log(1 + above) + 0.2 * 2.0 - 0.3 * 0.125 - 1.0
        for x, above in zip(logits, [0, 2, 1, 2], strict=True)
    ]
    lines = [-0.5 + s * 5.5 / 2 if s > 0 else -4.0 + (s + 3) * 3.5 / 3 for s in sums]
    assert calibration.probabilities(logits) == pytest.approx([sigmoid(x) for x in lines])
    assert calibration.nothing_probability(logits, TEXTS[:4]) == pytest.approx(
        sigmoid(-0.5 * 2.0 + 0.25)
    )


def test_features_of_a_list_tell_whether_anything_is_relevant() -> None:
    logits = [1.0, 3.0, -1.0]
    texts = ["a cold river", "the river", "the river is cold"]
    spread = math.sqrt(8 / 3)
    expected = {
        "best": 3.0,
        "mean": 1.0,
        "spread": spread,
        "standout": 2 / spread,
        "crowd": math.log((1 + math.exp(-2) + math.exp(-4)) / 3),
        "agreement": 0.5,  # of the places 0, 1, 2 with 1, 0, 2
        "overlap": (1 / 2 + 1 + 2 / 3) / 3,
    }
    for name, value in expected.items():
        calibration = replace(PLATT, nothing={name: 0.7}, scale=Scale.LOGIT)
        found = calibration.nothing_probability(logits, texts)
        assert found == pytest.approx(sigmoid(0.7 * value)), name
        assert calibration.nothing_probability([2.0], ["one"]) is not None


WEIGHT = st.floats(-50, 50)
SCORES = st.lists(
    st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 30.0, 1e300, -1e300]), min_size=1, max_size=30
)
KNOTS = st.lists(
    st.tuples(st.floats(0.001, 100), st.floats(0.001, 100)), min_size=2, max_size=6
).map(
    lambda steps: [
        (sum(a for a, _ in steps[: i + 1]), sum(b for _, b in steps[: i + 1]))
        for i in range(len(steps))
    ]
)


@given(
    SCORES,
    st.floats(0.001, 50),
    st.floats(0, 50),
    WEIGHT,
    KNOTS | st.just([]),
    st.sampled_from(Scale),
)
def test_the_order_of_a_list_never_changes(
    scores: list[float], score: float, rank: float, other: float, knots: Any, scale: Scale
) -> None:
    if scale is not Scale.LOGIT:
        scores = [abs(value) / 1e300 for value in scores]
    relevant = {"score": score, "rank": rank, "mean": other, "spread": other, "intercept": other}
    calibration = Calibration("x", "x", relevant, knots=knots, alone={"score": 1.0}, scale=scale)
    found = calibration.probabilities(scores)
    assert all(0 < probability <= 1 for probability in found)
    for (low, one), (high, other_one) in pairwise(sorted(zip(scores, found, strict=True))):
        assert (one < other_one) is (low < high)


def test_asynchronous_and_pooled_calls_agree() -> None:
    calibrated = Calibrated(OVERLAP, LISTWISE)
    expected = calibrated.score(QUERY, TEXTS)
    assert expected.nothing_probability is not None
    for scoring in (
        asyncio.run(Calibrated(OVERLAP, LISTWISE).ascore(QUERY, TEXTS)),
        *Calibrated(OVERLAP, LISTWISE).score_many([QUERY, QUERY], [TEXTS, TEXTS]),
    ):
        assert scoring.scores == expected.scores
        assert scoring.nothing_probability == expected.nothing_probability


def test_another_scorer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    calibrated = Calibrated(OverlapScorer("another"), PLATT)
    refusal = "measured on 'overlap' with the fingerprint overlap:overlap.*rerank calibrate"
    for call in (
        calibrated.load,
        lambda: calibrated.score("a", ["b"]),
        lambda: asyncio.run(calibrated.ascore("a", ["b"])),
        lambda: calibrated.score_many(["a"], [["b"]]),
    ):
        with pytest.raises(ConfigurationError, match=refusal):
            call()
    longer = OnnxCrossEncoder("nano", max_length=64)
    nano = OnnxCrossEncoder("nano")
    with pytest.raises(ConfigurationError, match="max_length=64"):
        Calibrated(longer, Calibration("nano", nano.fingerprint, {"score": 1.0})).load()


def test_the_path_of_a_file_is_a_name(tmp_path: Path) -> None:
    nano = OnnxCrossEncoder("nano")
    path = tmp_path / "calibration.json"
    written = replace(LISTWISE, name="nano", fingerprint=nano.fingerprint, scale=Scale.LOGIT)
    written.write(path)
    assert Calibration.read(path) == written
    scorer = load_scorer(f"calibrated:{path}")
    assert (scorer.name, scorer.scale) == ("calibrated(nano)", Scale.PROBABILITY)
    expected = Calibrated(nano, path).score(QUERY, TEXTS)
    assert scorer.score(QUERY, TEXTS).scores == expected.scores
    again = load_scorer(json.loads(json.dumps(scorer.to_config())))
    assert again.fingerprint == scorer.fingerprint
    assert again.score(QUERY, TEXTS).scores == expected.scores
    ranking = rerank(QUERY, TEXTS, f"calibrated:{path}", min_score=0.9)
    assert ranking.scale is Scale.PROBABILITY
    assert ranking.nothing_probability == expected.nothing_probability


def test_a_calibration_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    nano = OnnxCrossEncoder("nano")
    found = []
    for intercept in (-5.0, -9.0):
        weights = {"score": 0.3, "intercept": intercept}
        Calibration("nano", nano.fingerprint, weights, scorer=nano.to_config()).write(path)
        os.utime(path, ns=(0, int(-intercept)))  # two may be written within one tick of the clock
        found.append(rerank(QUERY, TEXTS, f"calibrated:{path}")[0].score)
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] > found[1]


def test_a_calibration_of_a_scorer_without_a_configuration_has_no_name(tmp_path: Path) -> None:
    PLATT.write(tmp_path / "own.json")
    with pytest.raises(ConfigurationError, match="no configuration of its scorer, 'overlap'"):
        load_scorer(f"calibrated:{tmp_path / 'own.json'}")
    assert Calibrated(OVERLAP, tmp_path / "own.json").score(QUERY, TEXTS).scores[0] is not None


def test_a_file_that_names_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "self.json"
    inner = {"type": "fallback", "scorers": [f"calibrated:{path}"]}
    replace(PLATT, scorer=inner).write(path)
    with pytest.raises(ConfigurationError, match="32 levels"):
        load_scorer(f"calibrated:{path}")


VALID = PLATT.to_json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be an object"),
        (json.dumps({**VALID, "figures": {"x": "y" * (1 << 20)}}), "larger than 1,048,576 bytes"),
        (json.dumps({**VALID, "calibration": 2}), "version 1, but 2; make it again"),
        (json.dumps({**VALID, "calibration": True}), "version 1, but True"),
        (json.dumps({**VALID, "knot": []}), "unknown field 'knot'; did you mean 'knots'"),
        (json.dumps({name: VALID[name] for name in ("calibration", "name")}), "field is missing"),
        (
            json.dumps({**VALID, "relevant": {"score": -1}}),
            "'score' and 'rank' must not be below 0",
        ),
        (json.dumps({**VALID, "relevant": {"score": 1, "best": 1}}), "alone must have weights"),
        (json.dumps({**VALID, "relevant": {"score": 1, "length": 1}}), "a weight of 'length'"),
        (json.dumps({**VALID, "relevant": {"score": math.nan}}), "must be a number from"),
        (json.dumps({**VALID, "relevant": [1]}), "relevant must be an object"),
        (json.dumps({**VALID, "nothing": {"score": 1}}), "nothing has a weight of 'score'"),
        (json.dumps({**VALID, "knots": [[0, 0]]}), "two or more pairs"),
        (json.dumps({**VALID, "knots": [[0, 0], [1, 0]]}), "both rise"),
        (json.dumps({**VALID, "knots": [[0, 0], [1e-9, 1]]}), "the first by 1e-06"),
        (json.dumps({**VALID, "knots": [[0, 0], [1e300, 1]]}), "a knot must be a number from"),
        (json.dumps({**VALID, "relevant": {"score": 1e300}}), "must be a number from"),
        (json.dumps({**VALID, "knots": [[0, 0], 5]}), r"knots\[1\] must be a pair"),
        (json.dumps({**VALID, "knots": [[i, i] for i in range(1001)]}), "at most 1000"),
        (json.dumps({**VALID, "scale": "percent"}), "scale must be one of"),
        (json.dumps({**VALID, "name": 5}), "name must be a name"),
        (json.dumps({**VALID, "scorer": "nano"}), "scorer must be an object"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=f"(?s)damaged.json.*{message}"):
        Calibrated(OVERLAP, path)


def test_a_missing_file_and_a_wrong_argument_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no-such.json' cannot be read: No such file"):
        Calibrated(OVERLAP, tmp_path / "no-such.json")
    with pytest.raises(ConfigurationError, match=r"calibration must be a Calibration.*not 5"):
        Calibrated(OVERLAP, 5)  # type: ignore[arg-type]


def failing() -> Scorer:
    return ScriptedScorer(ServiceError("down"), name="overlap-service")


def test_what_a_stand_in_gives_is_no_probability() -> None:
    service = failing()
    table = ScriptedScorer({"river": 0.3, "storm": 7.0}, name="table")
    calibration = replace(PLATT, name=service.name, fingerprint=service.fingerprint)
    inside = Calibrated(Fallback(service, table), calibration)
    around = Fallback(Calibrated(failing(), calibration), table)
    for scorer in (inside, around):
        scoring = scorer.score(QUERY, ["river", "storm"])
        assert (scoring.scores, scoring.scale) == ((0.3, 7.0), Scale.LOGIT)
        assert (scoring.causes, scoring.nothing_probability) == (("ServiceError",), None)
        ranking = rerank(QUERY, ["river", "storm"], scorer, min_score=0.5)
        assert [item.score for item in ranking] == [7.0, 0.3]
        assert ranking.scale is Scale.LOGIT
        assert "min_score was not applied" in (ranking.degraded or "")
        trimmed = rerank(QUERY, ["river", "storm"], scorer, trim=[Adaptive(drop=None, least=0.5)])
        assert [item.score for item in trimmed] == [7.0, 0.3]
        assert "no logit is compared with 0.5" in (trimmed.degraded or "")


def test_a_list_is_calibrated_as_a_whole() -> None:
    calibrated = Calibrated(OVERLAP, LISTWISE)
    for wrap in (Cached, Windowed):
        with pytest.raises(ConfigurationError, match=f"Calibrated\\({wrap.__name__}\\(scorer\\)"):
            wrap(calibrated)
        with pytest.raises(ConfigurationError, match="put it inside"):
            wrap(Fallback(OVERLAP, calibrated))
    Cached(Calibrated(OVERLAP, PLATT))  # the score alone: any part of a list will do
    cached = Calibrated(Cached(OverlapScorer()), LISTWISE)
    expected = calibrated.score(QUERY, TEXTS)
    for _ in range(2):
        scoring = cached.score(QUERY, TEXTS)
        assert scoring.scores == expected.scores
        assert scoring.nothing_probability == expected.nothing_probability
    assert scoring.usage.cache_hits == 4


def test_combinators_pass_it_on() -> None:
    calibrated = Calibrated(OVERLAP, LISTWISE)
    expected = calibrated.score(QUERY, TEXTS)
    for scorer in (
        Deadline(calibrated, 60),
        Fallback(calibrated, OVERLAP),
        Cascade([(OVERLAP, 9), calibrated]),
    ):
        scoring = scorer.score(QUERY, TEXTS)
        assert scorer.scale is Scale.PROBABILITY
        assert scoring.scores == pytest.approx(expected.scores)  # the cascade's order differs
        assert scoring.nothing_probability == expected.nothing_probability
    cascade = Cascade([(OverlapScorer(), 2), OVERLAP])
    of_cascade = replace(LISTWISE, fingerprint=cascade.fingerprint)
    scoring = Calibrated(cascade, of_cascade).score(QUERY, TEXTS)
    assert [score is None for score in scoring.scores] == [False, True, True, True, False, True]
    assert scoring.secondary is not None


def test_nothing_is_said_about_a_list_that_was_not_read() -> None:
    partial = ScriptedScorer(
        Scoring((0.5, None), degraded="half", causes=("deadline",)), name="half"
    )
    calibration = replace(LISTWISE, fingerprint=partial.fingerprint)
    scoring = Calibrated(partial, calibration).score(QUERY, ["river", "storm"])
    assert scoring.scores[1] is None
    assert scoring.nothing_probability is None
    assert scoring.causes == ("deadline",)


def test_windows_have_no_probability_of_their_own() -> None:
    windowed = Windowed(OVERLAP, tokens=8)
    calibrated = Calibrated(windowed, replace(PLATT, fingerprint=windowed.fingerprint))
    long = "river water level and much more that is not about it at all " * 3
    scoring = calibrated.score(QUERY, [long])
    assert scoring.spans is not None
    assert scoring.spans[0]
    assert all(span.score is None for span in scoring.spans[0])


def test_sentences_are_judged_by_the_score_alone() -> None:
    calibrated = Calibrated(OVERLAP, LISTWISE)
    sentences = calibrated.sentence_scorer(0.0)
    assert sentences is not None
    assert sentences.score(QUERY, ["river"]).scores[0] == pytest.approx(
        sigmoid(0.7 * logit(1 / 3) - 1.0)
    )
    text = "The river water level rises. Storms come and go."
    ranking = rerank(QUERY, [text, "storm"], calibrated, trim=[Excerpt(probability=0.5)])
    assert ranking[0].excerpt == "The river water level rises."


def test_an_application_can_say_that_nothing_is_relevant() -> None:
    calibrated = Calibrated(OVERLAP, LISTWISE)

    def asked(nothing: float) -> Ranking:
        trim = [Adaptive(drop=None, nothing=nothing)]
        return rerank(QUERY, ["storm", "weather"], calibrated, trim=trim)

    probability = asked(1.0).nothing_probability
    assert probability == pytest.approx(sigmoid(-0.5 * logit(0.0) + 0.25))
    assert len(asked(1.0)) == 2
    ranking = asked(0.9)
    assert not ranking
    assert ranking.nothing_relevant == (
        "the probability that none of the texts is relevant is 0.999, at least 0.9"
    )
    kept = rerank(QUERY, ["storm"], calibrated, trim=[Adaptive(nothing=0.9, at_least=1)])
    assert len(kept) == 1
    plain = rerank(QUERY, ["storm", "weather"], OVERLAP, trim=[Adaptive(drop=None, nothing=0.0)])
    assert (len(plain), plain.nothing_relevant) == (2, None)
