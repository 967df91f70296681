"""The embedded model as a start: what it is before training, and what training may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from rerank_core import load_scorer
from rerank_core.evaluation import Collection, Task, first_stage
from rerank_core.export._gated import GatedCrossEncoder
from rerank_core.training._fit import fit
from rerank_core.training._lists import Candidates
from rerank_core.training._start import load_start, save_start


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    return load_start("nano", tmp_path_factory.mktemp("nano"))


def test_it_ranks_as_its_int8_file_does(nano: CrossEncoder) -> None:
    collection = Collection.sample()
    task = Task(collection, first_stage("bm25", collection, 10), (10,), collection.evaluated[:5])
    differences, scores = [], []
    for query in task.used:
        asked, texts = collection.queries[query], [text[:200] for text in task.texts(query, 8)]
        found = nano.predict([(asked, text) for text in texts])
        known = np.array(load_scorer("nano").score(asked, texts).scores, dtype=float)
        differences += (found - known).tolist()
        scores += (known - known.mean()).tolist()
    # The graph also rounds what is multiplied with the weights.
    assert np.std(differences) < 0.1 * np.std(scores)


def test_training_changes_the_layers_that_read_both_texts(
    nano: CrossEncoder, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in nano.state_dict().items()}
    texts = ["Cats purr.", "Dogs bark.", "A storm.", "The sea."]
    relevant = np.array([True, False, False, False])
    pairs = nano.preprocess([("purring", text) for text in texts])
    scores = [nano.train(mode)(pairs)["scores"] for mode in (False, True)]
    assert torch.equal(*scores)  # no dropout
    lists = [Candidates(query, texts, 9.0 * relevant, relevant) for query in ("purring", "cats")]
    options: dict[str, Any] = {"passes": 8, "rate": 1e-4, "seed": 0, "work": tmp_path / "work"}
    for steps in (1, 2):  # each ends after a step, and the second goes on from the first
        assert fit(nano, lists, lists, seconds=1e-3, **options, progress=None) == steps
    after = nano.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    parts = {name.removeprefix("0.student.").split(".")[0] for name in changed}
    learnt = {"layers", "gates", "shared_token", "tau", "late", "weigh", "head", "sparse_weight"}
    assert parts == learnt
    assert {name.split(".")[3] for name in changed if ".layers." in name} == {"2", "3", "4", "5"}

    save_start(nano, tmp_path / "saved")
    saved = GatedCrossEncoder(tmp_path / "saved")
    assert torch.equal(saved.gates, after["0.student.gates"])
