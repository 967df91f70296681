"""Contents of the log and of a trace, and what stays out of both."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from rerank_core import (
    Budget,
    Cached,
    Cascade,
    Deadline,
    Fallback,
    OnnxCrossEncoder,
    Progress,
    Ranking,
    Scorer,
    Scoring,
    ServiceError,
    Usage,
    Windowed,
    _telemetry,
    arerank,
    rerank,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer, no_waiting
from support.models import TinyModel
from support.tracing import span_exporter

QUERY = "private question"
TEXTS = ["a private answer", "another", "question"]


def talkative(name: str) -> ScriptedScorer:
    """Return a scorer that fails with what a service may say: it quotes the text."""

    def fail(query: str, texts: tuple[str, ...]) -> Scoring:
        raise ServiceError(f"cannot read {texts[0]!r}", status_code=422)

    return ScriptedScorer(fail, name=name)


class Priced(OverlapScorer):
    """Knows what it cost in units."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        scoring = super()._score(query, texts, progress)
        return Scoring(scoring.scores, scoring.usage + Usage(billed_units={"search_units": 2.0}))


def run(scorer: Scorer, mode: str, **options: Any) -> Ranking:
    if mode == "rerank":
        return rerank(QUERY, TEXTS, scorer, **options)
    return asyncio.run(arerank(QUERY, TEXTS, scorer, **options))


@pytest.fixture(params=["rerank", "arerank"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spans() -> Callable[[], Sequence[ReadableSpan]]:
    exporter = span_exporter()
    exporter.clear()
    return exporter.get_finished_spans


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    kept: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    handler = Keeping()
    logger = logging.getLogger("rerank_core")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield kept
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _every_warning(request: pytest.FixtureRequest) -> Iterator[None]:
    with nullcontext() if "seldom" in request.fixturenames else no_waiting():
        yield


@pytest.fixture
def seldom() -> None:
    """Hold warnings back: once a minute is enough."""


def test_a_call_is_one_record_and_one_span_with_the_same_fields(
    mode: str, records: list[logging.LogRecord], spans: Callable[[], Sequence[ReadableSpan]]
) -> None:
    run(Priced("model"), mode, top_n=2)
    (record,) = records
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == "model ranked 3 candidates and kept 2"
    scoring, span = spans()
    assert scoring.name == "score model"
    assert scoring.parent == span.context
    assert span.name == "rerank model"
    assert span.status.status_code is StatusCode.UNSET
    fields = dict(span.attributes or {})
    assert {name: vars(record).get(name) for name in fields} == fields
    assert fields.pop("rerank.usage.seconds") > 0  # type: ignore[operator]
    unused = ["tokens", "padding", "truncated", "truncated_queries", "requests", "cache_hits"]
    unused += ["saved", "cost"]
    assert fields == {
        "rerank.scorer": "model",
        "rerank.candidates": 3,
        "rerank.kept": 2,
        "rerank.degraded": False,
        "rerank.usage.pairs": 3,
        "rerank.usage.billed_units.search_units": 2.0,
        **{f"rerank.usage.{name}": 0 for name in unused},
    }


def test_a_degraded_ranking_says_its_causes_and_no_words_of_others(
    mode: str, records: list[logging.LogRecord], spans: Callable[[], Sequence[ReadableSpan]]
) -> None:
    ranking = run(Fallback(talkative("service"), OverlapScorer()), mode)
    assert "private answer" in str(ranking.degraded)  # the caller may know
    (warning,) = [record for record in records if record.levelno == logging.WARNING]
    assert "fallback(service, overlap) is degraded: ServiceError;" in warning.getMessage()
    *_, span = spans()
    attributes = dict(span.attributes or {})
    assert attributes["rerank.degraded"] is True
    assert attributes["rerank.degraded_by"] == ("ServiceError",)
    assert span.status.status_code is StatusCode.UNSET
    shown = " ".join(str(vars(record)) for record in records)
    shown += " ".join(span.to_json() for span in spans())
    assert "private" not in shown


def test_an_error_is_recorded_by_its_kind_alone(
    mode: str, records: list[logging.LogRecord], spans: Callable[[], Sequence[ReadableSpan]]
) -> None:
    with pytest.raises(ServiceError):
        run(talkative("service"), mode)
    scoring, span = spans()
    for each in (scoring, span):
        assert each.status.status_code is StatusCode.ERROR
        assert (each.attributes or {})["error.type"] == "ServiceError"
    assert [record.getMessage() for record in records] == ["service failed with ServiceError"]
    shown = scoring.to_json() + span.to_json() + str([vars(record) for record in records])
    assert "private" not in shown


async def test_a_cancelled_call_ends_its_span(
    spans: Callable[[], Sequence[ReadableSpan]],
) -> None:
    class Waiting(OverlapScorer):
        async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

    started = asyncio.Event()
    task = asyncio.create_task(arerank(QUERY, TEXTS, Waiting()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (spans()[0].attributes or {})["error.type"] == "CancelledError"


def test_what_a_scorer_traces_lies_within_the_call(
    mode: str, spans: Callable[[], Sequence[ReadableSpan]]
) -> None:
    class Tracing(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            with trace.get_tracer("test").start_as_current_span("model"):
                return super()._score(query, texts, progress)

    with trace.get_tracer("test").start_as_current_span("search"):
        run(Deadline(Tracing(), 60), mode)
    names = [span.name for span in spans()]
    assert names == ["model", "score overlap", "score overlap", "rerank overlap", "search"]
    for child, parent in itertools.pairwise(spans()):
        assert child.parent == parent.context


def test_each_scorer_of_a_combinator_is_a_child_span_with_its_own_usage(
    mode: str, spans: Callable[[], Sequence[ReadableSpan]]
) -> None:
    run(Cascade([(OverlapScorer("cheap"), 2), Priced("strong")]), mode)
    cheap, strong, cascade, call = spans()
    assert (cheap.name, strong.name) == ("score cheap", "score strong")
    assert cheap.parent == strong.parent == cascade.context
    assert cascade.parent == call.context
    read = [(span.attributes or {})["rerank.usage.pairs"] for span in (cheap, strong, cascade)]
    assert read == [3, 2, 5]
    assert "rerank.usage.billed_units.search_units" not in (cheap.attributes or {})


@pytest.mark.usefixtures("seldom")
def test_a_dead_service_does_not_flood_the_log(records: list[logging.LogRecord]) -> None:
    logging.getLogger("rerank_core").setLevel(logging.INFO)
    fallback = Fallback(talkative("dead service"))  # of which nothing was said before
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: run(fallback, "rerank"), range(1000)))
    said = [record.getMessage() for record in records]
    # Two causes: the service's failure, and that it was skipped.
    assert len([line for line in said if "is degraded" in line]) == 2
    assert len(said) == 3
    assert (
        "dead service is skipped for 30 s after 3 failures in a row, the last a ServiceError"
        in said
    )


def test_what_was_held_back_is_counted() -> None:
    throttle = _telemetry._Throttle(60)
    assert [throttle.admit("a") for _ in range(5)] == [0, None, None, None, None]
    due, held_back = throttle._kinds["a"]
    throttle._kinds["a"] = (due - 60, held_back)  # a minute later
    assert [throttle.admit("a"), throttle.admit("b"), throttle.admit("a")] == [4, 0, None]
    for number in range(3000):
        throttle.admit(str(number))
    assert len(throttle._kinds) <= 1000


def test_a_service_that_works_again_is_told(records: list[logging.LogRecord]) -> None:
    class Moody(OverlapScorer):
        down = True

        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            if self.down:
                raise ServiceError("down")
            return super()._score(query, texts, progress)

    moody = Moody("moody")
    fallback = Fallback(moody, failures=2, cooldown=0)
    for _ in range(4):
        fallback.score(QUERY, TEXTS)
    moody.down = False
    for _ in range(4):
        fallback.score(QUERY, TEXTS)
    assert [(record.levelname, record.getMessage()) for record in records] == [
        (
            "WARNING",
            "moody is skipped for 0 s after 2 failures in a row, the last a ServiceError",
        ),
        ("INFO", "moody works again"),
    ]


def test_cut_texts_are_told_once_for_each_scorer(
    mode: str, tiny: Callable[..., TinyModel], records: list[logging.LogRecord]
) -> None:
    texts = ["list " * 100, "file", "error " * 100]
    scorer = OnnxCrossEncoder(tiny().onnx, max_length=20)
    for layered in (Fallback(Cached(scorer)), scorer):
        for _ in range(2):
            rerank("list", texts, layered) if mode == "rerank" else asyncio.run(
                arerank("list", texts, layered)
            )
    scorer.score_many(["list"], [texts])
    warnings = [record for record in records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    message = warnings[0].getMessage()
    assert message.startswith("onnx-model read only the beginning of 2 of 3 texts")
    assert "at most 20 tokens" in message
    assert "Windowed(scorer) reads long texts whole" in message
    another = OnnxCrossEncoder(tiny().onnx, max_length=20)
    another.score_many(["list"], [texts])
    assert len([record for record in records if record.levelno == logging.WARNING]) == 2


def test_cut_queries_are_told_once_for_each_scorer(
    tiny: Callable[..., TinyModel], records: list[logging.LogRecord]
) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, max_length=20)
    for _ in range(2):
        rerank("list " * 100, ["file", "error"], Fallback(Cached(scorer)))
    (warning,) = [record for record in records if record.levelno == logging.WARNING]
    assert "read a query without its middle in 2 of 2 pairs" in warning.getMessage()
    assert "at most 20 tokens" in warning.getMessage()


@pytest.mark.parametrize(
    ("query", "text", "warned"),
    [
        ("北京在哪里", "Beijing is in China.", True),
        ("Where is Beijing?", "北京是中华人民共和国的首都。", True),
        ("Где Пекин?", "Beijing", True),
        ("Où est l'été à Zürich, naïve café?", "Łódź — Ħamrun ½ π", False),
        ("E = mc²", "🍞 1 2 3", False),
        ("∀x∈ℝ: ∃y∈ℝ, x² + y² = ∑ᵢ αᵢβᵢ", "𝐇𝐞𝐥𝐥𝐨 𝐰𝐨𝐫𝐥𝐝 ＪＳＯＮ", False),  # noqa: RUF001
    ],
)
def test_the_embedded_model_warns_once_of_scripts_it_cannot_read(
    query: str, text: str, warned: bool, records: list[logging.LogRecord]
) -> None:
    nano = OnnxCrossEncoder("nano")
    for _ in range(2):
        rerank(query, [text, "plain"], nano)
    said = [record.getMessage() for record in records if record.levelno == logging.WARNING]
    assert len(said) == warned
    assert all("nano was trained on English" in message for message in said)


def test_windows_that_fit_are_not_cut(
    tiny: Callable[..., TinyModel], records: list[logging.LogRecord]
) -> None:
    scorer = Windowed(OnnxCrossEncoder(tiny().onnx, max_length=40), tokens=20)
    ranking = rerank("list", ["list " * 100, "file"], scorer)
    assert ranking.usage.truncated == 0
    assert [record for record in records if record.levelno == logging.WARNING] == []


def loaded_after(statement: str) -> str:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""  # without a handler of the application's nothing is shown
    return done.stdout


def test_who_does_not_trace_pays_nothing() -> None:
    call = "import rerank_core as r; r.rerank('q', ['a'], r.Fallback(r.load_scorer('nano')))"
    assert "opentelemetry" not in loaded_after("import rerank_core")
    assert "opentelemetry" not in loaded_after(call)
    hidden = "sys.modules['opentelemetry'] = None\n"  # as if it were not installed
    assert "rerank_core" in loaded_after(hidden + call)


def test_an_application_without_a_tracer_provider_is_not_disturbed() -> None:
    call = "import rerank_core as r; r.rerank('q', ['a'], r.load_scorer('nano'))"
    assert "opentelemetry.sdk" not in loaded_after(f"import opentelemetry.trace; {call}")


def test_a_record_tells_what_trimming_saved(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rerank_core")
    texts = ["Green tea is hot. Cats purr."]
    rerank("green tea", texts, OverlapScorer(), trim=[Budget(4, counter=str.split)])
    rerank("green tea", texts, OverlapScorer())
    trimmed, whole = (record.__dict__ for record in caplog.records)
    names = ("rerank.text_tokens.before", "rerank.text_tokens.after")
    assert [trimmed[name] for name in names] == [6, 4]
    assert whole.keys().isdisjoint(names)
