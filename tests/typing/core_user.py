"""Code that uses the core alone, for the type checker; never run."""

from collections.abc import Sequence
from typing import assert_type

from rerank_core import (
    Blend,
    Cached,
    Cascade,
    CohereScorer,
    Deadline,
    DiskStore,
    Fallback,
    OnnxCrossEncoder,
    Progress,
    RankedItem,
    Ranking,
    Scale,
    Scorer,
    Scoring,
    Span,
    Usage,
    Windowed,
    arerank,
    load_scorer,
    rerank,
)


def rankings(texts: list[str], scorer: Scorer) -> None:
    ranking = rerank(
        "question",
        (text for text in texts),
        scorer,
        top_n=5,
        min_score=0.1,
        blend=Blend("rrf"),
        prior=[0.5, None],
        max_tokens=2000,
        count_tokens=len,
    )
    assert_type(ranking, Ranking)
    assert_type(ranking[0], RankedItem)
    assert_type(ranking[:2], tuple[RankedItem, ...])
    assert_type([item.score for item in ranking], list[float | None])
    assert_type(ranking[0].span, Span | None)
    assert_type(ranking.scale, Scale)
    assert_type(ranking.usage + ranking.usage, Usage)
    rerank("question", texts, "nano", depth=20, blend="rrf:0.3")
    assert_type(rerank("question", texts)[0].spans, tuple[Span, ...])
    rerank("question", texts, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    rerank("question", texts, top_k=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    rerank("question", texts, scorer, 5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def asynchronously(texts: list[str], scorer: Scorer) -> None:
    assert_type(await arerank("question", texts, scorer), Ranking)
    assert_type(await scorer.ascore("question", texts), Scoring)


def scorers(texts: list[str]) -> None:
    nano = load_scorer("nano")
    assert_type(nano, Scorer)
    assert_type(nano.score("question", texts).scores, tuple[float | None, ...])
    assert_type(nano.score_many(["question"], [texts]), list[Scoring])
    Cached(Fallback(CohereScorer("rerank-v3.5", timeout=10), nano), DiskStore("scores.sqlite"))
    Deadline(Windowed(Cascade([(nano, 30), OnnxCrossEncoder("model")])), seconds=0.3)


class Own(Scorer):
    @property
    def name(self) -> str:
        return "own"

    @property
    def scale(self) -> Scale:
        return Scale.LOGIT

    @property
    def fingerprint(self) -> str:
        return "own:1"

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        progress(len(texts), len(texts))
        return Scoring(tuple(float(len(text)) for text in texts))


def own_scorers(texts: list[str]) -> None:
    assert_type(rerank("question", texts, Own()), Ranking)
    Windowed(Own())
