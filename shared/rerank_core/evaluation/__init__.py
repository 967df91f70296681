"""Does reranking help, here, on these queries?

```python
from rerank_core import Blend, load_scorer
from rerank_core.evaluation import System, Task, evaluate, first_stage, read_collection

collection = read_collection("scifact")
candidates = first_stage("bm25", collection, 50)
nano = load_scorer("nano")
report = evaluate(
    [Task(collection, candidates, depths=(50, 20))],
    [System(nano), System(nano, Blend("rrf", 0.3))],
)
for found in report.comparisons:
    print(found.system, found.sentence)
```

**What counts.** Every query with a judgement of at least 1, also where the first stage found
nothing relevant, or nothing at all: it then counts 0. A document without a judgement counts as not
relevant. Each metric is the mean over queries; over several collections each counts alike.

**What is ordered.** The first `depth` candidates are reranked by `rerank_core.rerank` itself, so
blank texts, ties, blends and unscored texts are as in production; candidates behind `depth` follow
in first-stage order. First stage and systems thus order the same candidates, and no metric rewards
a longer list.

**What is compared.** Every system with the first stage and with every other, by the first metric.
With several collections or systems that makes many comparisons, and each one more has to stand a
stricter test (Holm): ask few questions. The interval is of one comparison alone, so it can lie
above 0 where the corrected p says "not proven".

**What is timed.** Each query is one call of `Scorer.score`; a few texts are scored before the first
of them, so that loading does not count. Times hold for this machine and its load, and are what a
journal remembers of them.

A `Journal` keeps what was scored: an interrupted run goes on where it was, and another comparison
of the same scorers costs nothing. ``rerank eval`` is all of this on the command line. It needs the
extra ``eval``.
"""

from __future__ import annotations

from rerank_core.evaluation._collection import Collection, read_collection
from rerank_core.evaluation._evaluate import System, evaluate
from rerank_core.evaluation._first_stage import Candidate, FirstStage, first_stage, read_run
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._keep import KeepChoice, KeepRow, choose_keep
from rerank_core.evaluation._metrics import DEFAULT_METRICS
from rerank_core.evaluation._plot import plot
from rerank_core.evaluation._report import (
    FIRST_STAGE,
    MEAN,
    CollectionReport,
    Comparison,
    Latency,
    Moved,
    QueryChange,
    Report,
    SystemReport,
    Verdict,
)
from rerank_core.evaluation._scoring import Task

__all__ = [
    "DEFAULT_METRICS",
    "FIRST_STAGE",
    "MEAN",
    "Candidate",
    "Collection",
    "CollectionReport",
    "Comparison",
    "FirstStage",
    "Journal",
    "KeepChoice",
    "KeepRow",
    "Latency",
    "Moved",
    "QueryChange",
    "Report",
    "System",
    "SystemReport",
    "Task",
    "Verdict",
    "choose_keep",
    "evaluate",
    "first_stage",
    "plot",
    "read_collection",
    "read_run",
]
