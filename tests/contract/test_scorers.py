"""One suite over every scorer: what DESIGN promises of all of them."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from rerank_core import (
    BiEncoderScorer,
    Cached,
    Calibrated,
    Calibration,
    Cascade,
    CohereScorer,
    ConfigurationError,
    Deadline,
    DiskStore,
    Fallback,
    InvalidInputError,
    NimScorer,
    OnnxCrossEncoder,
    Scale,
    Scorer,
    SglangScorer,
    TeiScorer,
    TorchCrossEncoder,
    Usage,
    VoyageScorer,
    Windowed,
    load_scorer,
)
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedServer
from support.bi_encoders import build_bi_encoder
from support.models import TinyModel
from support.services import nim, sglang, voyage
from support.tei_server import TeiServer

KEY = "contract-secret-key"
QUERY = "what is drug discovery"
TEXTS = [
    "deep learning model for drug discovery",
    "river mountain weather storm",
    "the python list error string file",
    "",
    "river mountain weather storm",
    " \n\t",
    "health care patient hospital " * 12,
    "a lone surrogate \ud800 in the text",
    "ein Süßwasserfluss — 河流 🌊",
    "drug",
]
KINDS = ["overlap", "nano", "bert", "bert2", "roberta", "xlm-roberta", "modernbert", "int8"]
KINDS += [
    "torch",
    "causal",
    "bi",
    "cohere",
    "tei",
    "voyage",
    "sglang",
    "nim",
    "hub-onnx",
    "hub-torch",
]
KINDS += ["cached", "disk", "fallback", "cascade", "windowed", "deadline", "nested"]
KINDS += ["calibrated"]

SERVICES: dict[str, tuple[Callable[[Request], Reply], Callable[[str], Scorer]]] = {
    "voyage": (
        voyage,
        lambda url: VoyageScorer("rerank-2.5", base_url=url, api_key=KEY, batch_size=3),
    ),
    "sglang": (sglang, lambda url: SglangScorer(url, api_key=KEY)),
    "nim": (nim, lambda url: NimScorer("nvidia/rerank", base_url=url, api_key=KEY)),
}


@pytest.fixture(params=KINDS, scope="module")
def scorer(
    request: pytest.FixtureRequest,
    tiny: Callable[..., TinyModel],
    int8_model: Path,
    causal: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scorer]:
    with ExitStack() as stack:
        kind = request.param
        if kind == "cohere":
            server = stack.enter_context(ScriptedServer())
            yield CohereScorer("rerank-v3.5", api_key=KEY, base_url=server.url)
            return
        if kind == "tei":
            tei = stack.enter_context(TeiServer(limit=3))
            yield TeiScorer(tei.url, api_key=KEY)
            return
        if kind in SERVICES:
            respond, service = SERVICES[kind]
            yield service(stack.enter_context(ScriptedServer(respond=respond)).url)
            return
        store = DiskStore(tmp_path_factory.mktemp("store") / "scores.sqlite")
        bert = OnnxCrossEncoder(tiny().onnx)
        make: dict[str, Callable[[], Scorer]] = {
            "overlap": OverlapScorer,
            "nano": lambda: OnnxCrossEncoder("nano"),
            "bert2": lambda: OnnxCrossEncoder(tiny("bert", 2).onnx),
            "int8": lambda: OnnxCrossEncoder(int8_model, threads=2),
            "torch": lambda: TorchCrossEncoder(str(tiny("bert").torch), device="cpu"),
            "causal": lambda: TorchCrossEncoder(str(causal), device="cpu", instruction="health"),
            "bi": lambda: BiEncoderScorer(
                str(build_bi_encoder(tiny("bert").torch, tmp_path_factory.mktemp("bi") / "bi"))
            ),
            "cached": lambda: Cached(bert),
            "disk": lambda: Cached(bert, store),
            "fallback": lambda: Fallback(bert, OnnxCrossEncoder("nano")),
            "cascade": lambda: Cascade([(OnnxCrossEncoder("nano"), 50), bert]),
            "windowed": lambda: Windowed(bert, tokens=40),
            "deadline": lambda: Deadline(bert, 60),
            "nested": lambda: Cached(
                Fallback(Cascade([(Windowed(bert), 50), Deadline(Cached(bert), 60)]))
            ),
            "calibrated": lambda: Calibrated(
                Cached(bert),
                Calibration(
                    bert.name,
                    bert.fingerprint,
                    {"score": 2.0},
                    nothing={"best": -1.0, "overlap": 2.0},
                ),
            ),
            "hub-onnx": lambda: load_scorer(str(tiny("bert").onnx)),
            "hub-torch": lambda: load_scorer(str(tiny("bert").torch)),
        }
        yield make.get(kind, lambda: OnnxCrossEncoder(tiny(kind).onnx))()


def close(one: tuple[float | None, ...], other: tuple[float | None, ...]) -> bool:
    return len(one) == len(other) and all(
        a is b is None or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-5))
        for a, b in zip(one, other, strict=True)
    )


def pairs(usage: Usage) -> int:
    """Distinct texts that were scored: read (in a cascade by each stage), or known from before."""
    return max(usage.pairs // (2 if usage.pairs > 7 else 1), usage.cache_hits)


def test_one_plain_finite_float_or_none_per_text(scorer: Scorer) -> None:
    before = list(TEXTS)
    scoring = scorer.score(QUERY, TEXTS)
    assert before == TEXTS
    assert len(scoring.scores) == len(TEXTS)
    assert [i for i, score in enumerate(scoring.scores) if score is None] == [3, 5]
    scores = [score for score in scoring.scores if score is not None]
    assert all(type(score) is float and math.isfinite(score) for score in scores)
    assert len(set(scores)) > 1
    assert scoring.degraded is None
    if scorer.scale is not Scale.LOGIT:
        assert all(0 <= score <= 1 for score in scores)
    json.dumps(scoring.scores, allow_nan=False)


def test_blank_and_empty_input_costs_no_model_call(scorer: Scorer) -> None:
    for texts in ([], ["", "  "]):
        scoring = scorer.score(QUERY, texts)
        assert scoring.scores == (None,) * len(texts)
        assert (scoring.usage.pairs, scoring.usage.requests) == (0, 0)


def test_duplicates_get_equal_scores_and_are_read_once(scorer: Scorer) -> None:
    scoring = scorer.score(QUERY, TEXTS)
    assert scoring.scores[1] == scoring.scores[4]
    assert pairs(scoring.usage) == 7


def test_a_score_does_not_depend_on_its_neighbours(scorer: Scorer) -> None:
    together = scorer.score(QUERY, TEXTS).scores
    alone = tuple(scorer.score(QUERY, [text]).scores[0] for text in TEXTS)
    backwards = scorer.score(QUERY, TEXTS[::-1]).scores[::-1]
    assert close(together, alone)
    assert close(together, backwards)


def test_async_agrees_with_sync_in_several_loops(scorer: Scorer) -> None:
    expected = scorer.score(QUERY, TEXTS).scores
    for _ in range(2):
        assert close(asyncio.run(scorer.ascore(QUERY, TEXTS)).scores, expected)

    async def swarm() -> list[tuple[float | None, ...]]:
        scorings = await asyncio.gather(*(scorer.ascore(QUERY, TEXTS) for _ in range(4)))
        return [scoring.scores for scoring in scorings]

    assert all(close(scores, expected) for scores in asyncio.run(swarm()))


def test_threads_do_not_mix_results(scorer: Scorer) -> None:
    queries = [f"{QUERY} {word}" for word in ("river", "python", "health", "storm")] * 4
    expected = [scorer.score(query, TEXTS).scores for query in queries]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda query: scorer.score(query, TEXTS).scores, queries))
    assert all(close(a, b) for a, b in zip(expected, found, strict=True))


def test_score_many_agrees_with_score(scorer: Scorer) -> None:
    queries = [QUERY, "river", "python list"]
    groups = [TEXTS, [], TEXTS[::-1]]
    scorings = scorer.score_many(queries, groups)
    assert len(scorings) == 3
    for query, texts, scoring in zip(queries, groups, scorings, strict=True):
        assert close(scoring.scores, scorer.score(query, texts).scores)
    assert scorer.score_many([], []) == []


def test_progress_counts_up_to_the_pairs(scorer: Scorer) -> None:
    seen: list[tuple[int, int]] = []
    scorer.score(QUERY, TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] == (7, 7)


def test_what_progress_raises_stops_the_scoring(scorer: Scorer) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scorer.score(QUERY, TEXTS, progress=stop)
    assert pairs(scorer.score(QUERY, TEXTS).usage) == 7  # and the next call works


@pytest.mark.parametrize("query", ["", "  \n", None, 7])
def test_a_wrong_query_is_named(scorer: Scorer, query: object) -> None:
    with pytest.raises(InvalidInputError, match="query"):
        scorer.score(query, ["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "message"),
    [("one string", "texts must be a list"), (["a", None], r"texts\[1\]"), (5, "texts")],
)
def test_wrong_texts_are_named(scorer: Scorer, texts: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        scorer.score(QUERY, texts)  # type: ignore[arg-type]


def test_identity_survives_pickling_without_secrets(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(scorer)
    assert KEY.encode() not in data
    assert KEY not in repr(scorer)
    monkeypatch.setenv("CO_API_KEY", KEY)  # a pickled scorer takes its key from here
    again = pickle.loads(data)
    assert (again.name, again.scale, again.fingerprint) == (
        scorer.name,
        scorer.scale,
        scorer.fingerprint,
    )
    assert close(again.score(QUERY, TEXTS).scores, scorer.score(QUERY, TEXTS).scores)


def test_no_query_is_too_long(scorer: Scorer) -> None:
    long = "\n".join(["What is drug discovery?", *TEXTS * 40, "Thank you."])
    for query in (long, "drug " * 3000):
        scoring = scorer.score(query, TEXTS)
        scored = [score is not None for score in scoring.scores]
        assert scored == [bool(text.strip()) for text in TEXTS]
        assert scoring.degraded is None
        assert close(asyncio.run(scorer.ascore(query, TEXTS)).scores, scoring.scores)
        if scorer.max_length is not None and not scoring.usage.cache_hits:
            assert scoring.usage.truncated_queries > 0


def test_a_closed_scorer_scores_again(scorer: Scorer) -> None:
    scorer.load()
    expected = scorer.score(QUERY, TEXTS).scores
    scorer.close()
    assert close(scorer.score(QUERY, TEXTS).scores, expected)
    asyncio.run(scorer.aclose())
    assert close(asyncio.run(scorer.ascore(QUERY, TEXTS)).scores, expected)


def test_configuration_makes_an_equal_scorer(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(json.dumps(scorer.to_config()))
    if isinstance(scorer, OverlapScorer):  # not among those load_scorer knows
        with pytest.raises(ConfigurationError, match="type 'overlap'"):
            load_scorer(config)
        return
    assert KEY not in json.dumps(config)
    monkeypatch.setenv("CO_API_KEY", KEY)
    again = load_scorer(config)
    assert again.fingerprint == scorer.fingerprint
    assert close(again.score(QUERY, TEXTS).scores, scorer.score(QUERY, TEXTS).scores)
