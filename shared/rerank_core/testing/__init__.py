"""Scorers, a server and a switch for tests: no model, no network, no paid service, no waiting.

```python
from rerank_core import Fallback, ServiceError, rerank
from rerank_core.testing import OverlapScorer, ScriptedScorer

down = ScriptedScorer(ServiceError("down"))
ranking = rerank("cold river", ["a sunny day", "the river"], Fallback(down, OverlapScorer()))
assert [item.text for item in ranking] == ["the river", "a sunny day"]
assert ranking.causes == ("ServiceError",)
```

| name | use |
| --- | --- |
| `OverlapScorer` | scores that follow from the texts: the share of the query's words |
| `ScriptedScorer` | scores, failures and degraded answers of your choice |
| `ScriptedServer` | a service on this machine; unscripted for `CohereScorer` and `TeiScorer` |
| `no_waiting` | retries without pauses, and every log message |

The scorers are `Scorer`s like any other, so they go wherever one goes: into combinators, into both
adapters, into an evaluation. But `load_scorer` does not know them: an adapter saved with one cannot
be loaded again.
"""

from __future__ import annotations

from rerank_core._concurrency import no_waiting
from rerank_core.testing._scorers import OverlapScorer, ScriptedScorer
from rerank_core.testing._server import Reply, Request, ScriptedServer

__all__ = [
    "OverlapScorer",
    "Reply",
    "Request",
    "ScriptedScorer",
    "ScriptedServer",
    "no_waiting",
]
