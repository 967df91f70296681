"""Evaluation: does reranking help on these queries?

```python
from rerank_core import Blend, load_scorer
from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

documents = {"1": "Cats purr.", "2": "Dogs bark.", "3": "Cats and dogs are pets."}
pets = Collection("pets", documents, {"q": "Do cats purr?"}, {"q": {"1": 1}})
candidates = first_stage("bm25", pets, 50)
nano = load_scorer("nano")
report = evaluate(
    [Task(pets, candidates, depths=(50,))], [System(nano), System(nano, Blend("rrf", 0.3))]
)
for found in report.comparisons:
    print(found.system, "against", found.baseline, "-", found.verdict)
```

```text
nano @50 against first stage - cannot tell
nano + rrf:0.3 @50 against first stage - cannot tell
nano + rrf:0.3 @50 against nano @50 - cannot tell
```

`read_collection` reads a collection from a folder.

**Queries.** Every query with a judgement of at least 1 counts. If the first stage found nothing
relevant for it, or nothing at all, its value is 0. Documents without a judgement are not relevant.
Each metric is a mean over queries; several collections have the same weight.

**Order.** The first `depth` candidates are reranked by `rerank_core.rerank` itself, so blank
texts, ties, blends and unscored texts are treated as in production. The other candidates follow in
first-stage order: all systems order the same candidates, and no metric rewards a longer list.

**Comparisons.** Every system is compared with the first stage and with every other system, by the
first metric. The p values are corrected for the number of comparisons (Holm), so each further
system makes it harder to show a difference: compare few. The interval belongs to one comparison
and is not corrected; it can lie above 0 where the verdict is ``"cannot tell"``.

**Latency.** Each query is one call of `Scorer.score`. A few texts are scored before the first
call, so that loading is not included. Times depend on the machine and its load, and a journal
returns the times of the run that it kept.

**Trimming.** With ``trim=`` every ranking is trimmed as well, and each system's `Trimming` tells
how many tokens that saves, and how many relevant candidates and known answers are left. Metrics are
of the ranking before.

A `Journal` keeps scorings: an interrupted run can be resumed, and another comparison of the same
scorers costs nothing. The command ``rerank eval`` does all of this. The extra ``eval`` is required.
"""

from __future__ import annotations

from rerank_core.evaluation._calibrate import calibrate
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
    Trimming,
    Verdict,
)
from rerank_core.evaluation._scoring import Task
from rerank_core.evaluation._tune import tune
from rerank_core.evaluation._tune_report import TuneRow, Tuning

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
    "Trimming",
    "TuneRow",
    "Tuning",
    "Verdict",
    "calibrate",
    "choose_keep",
    "evaluate",
    "first_stage",
    "plot",
    "read_collection",
    "read_run",
    "tune",
]
