"""A stand-in for Cohere's rerank service on this machine: real HTTP, real sockets, no key needed.

```python
with CohereServer() as server:
    scorer = CohereScorer("rerank-v3.5", api_key="any", base_url=server.url)
```

It scores a text by the share of query words it holds.
"""

from __future__ import annotations

import math
import re
from typing import Any

from support.http_server import LoopbackServer, Reply, Request, Responder, overlap

__all__ = ["CohereServer", "Reply", "Request", "answer"]


def answer(request: Request) -> Reply:
    """Score by word overlap, in the shape of the v2 API: best first, matched by index."""
    words = set(request.body["query"].lower().split())
    texts: list[str] = request.body["documents"]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": overlap(request.body["query"], text)}
        for index, text in enumerate(texts)
    ]
    if (request.body.get("relevant_spans") or {}).get("mode") == "enabled":
        for result, text in zip(results, texts, strict=True):
            result["relevant_spans"] = [
                {"start": word.start(), "end": word.end(), "score": 1.0}
                for word in re.finditer(r"\S+", text)
                if word.group().lower() in words
            ][: request.body["relevant_spans"].get("max_spans")]
    results.sort(key=lambda result: -result["relevance_score"])
    units = {"search_units": math.ceil(len(texts) / 100)}  # one covers up to 100 documents
    return Reply({"id": "stand-in", "results": results, "meta": {"billed_units": units}})


class CohereServer(LoopbackServer):
    """Answers as Cohere does, unless it is told otherwise.

    Args:
        replies: Sent for the first requests, in turn.
        respond: Answers all requests after those.
    """

    def __init__(self, *replies: Reply | Responder, respond: Responder = answer) -> None:
        super().__init__(*replies, respond=respond)
