"""From a ranking to the bodies of responses."""

from __future__ import annotations

import math
from dataclasses import asdict

from rerank_core._planning import encodable
from rerank_core._types import RankedItem, Ranking, Scale
from rerank_core.serving._wire import (
    ApiVersion,
    CohereRequest,
    CohereResponse,
    CohereResult,
    Document,
    Meta,
    RelevantSpan,
    Report,
    SpansWanted,
    TeiRank,
    TeiRequest,
    Tokens,
    Used,
)

__all__ = ["cohere_response", "tei_ranks"]


def cohere_response(
    ranking: Ranking, body: CohereRequest, *, request_id: str, model: str, version: str
) -> CohereResponse:
    """Return the response on Cohere's wire.

    Args:
        ranking: All texts.
        body: The request.
        request_id: Its id.
        model: Name of the model.
        version: Version of the wire, such as ``"2"``.
    """
    sent = _Sent(ranking, raw=bool(body.raw_scores))
    spans = (
        body.relevant_spans
        if body.relevant_spans and body.relevant_spans.mode == "enabled"
        else None
    )
    tokens = ranking.usage.tokens
    return CohereResponse(
        id=request_id,
        model=model,
        results=[
            CohereResult(
                index=item.index,
                relevance_score=sent.score(item),
                document=Document(text=encodable(item.text)) if body.return_documents else None,
                relevant_spans=sent.spans(item, spans) if spans else None,
            )
            for item in ranking[: body.top_n]
        ],
        meta=Meta(
            api_version=ApiVersion(version=version),
            tokens=Tokens(input_tokens=tokens),
            billed_units=dict(ranking.usage.billed_units) or None,
        ),
        usage=Used(prompt_tokens=tokens, total_tokens=tokens),
        rerank=Report(
            scale=str(sent.scale),
            degraded=ranking.degraded,
            causes=list(ranking.causes),
            unscored=[item.index for item in ranking if item.score is None],
            usage=asdict(ranking.usage),
        ),
    )


def tei_ranks(ranking: Ranking, body: TeiRequest) -> list[TeiRank]:
    """Return the response on the wire of Text Embeddings Inference.

    Args:
        ranking: All texts.
        body: The request.
    """
    sent = _Sent(ranking, raw=body.raw_scores)
    return [
        TeiRank(
            index=item.index,
            score=sent.score(item),
            text=encodable(item.text) if body.return_text else None,
        )
        for item in ranking
    ]


class _Sent:
    """Scores of a ranking as they are sent.

    Args:
        ranking: The ranking.
        raw: Leave logits as they are, instead of a sigmoid of them.
    """

    def __init__(self, ranking: Ranking, *, raw: bool) -> None:
        self._maps = ranking.scale is Scale.LOGIT and not raw
        self.scale = Scale.UNIT if self._maps else ranking.scale
        scores = [item.score for item in ranking if item.score is not None]
        # A text without a score comes last, and clients may sort again.
        self._lowest = min(self.map(min(scores)), 0.0) if scores else 0.0

    def map(self, score: float) -> float:
        """Return a score on the scale that is sent."""
        if not self._maps:
            return score
        # Two equal forms: each is used where its exponential cannot overflow.
        return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))

    def score(self, item: RankedItem) -> float:
        """Return the score of an item."""
        return self._lowest if item.score is None else self.map(item.score)

    def spans(self, item: RankedItem, wanted: SpansWanted) -> list[RelevantSpan]:
        """Return the spans of an item that were asked for, best first."""
        found = [
            RelevantSpan(
                start=span.start,
                end=span.end,
                score=None if span.score is None else self.map(span.score),
            )
            for span in item.spans
        ]
        least = wanted.threshold
        if least is not None:
            found = [span for span in found if span.score is None or span.score >= least]
        return found[: wanted.max_spans]
