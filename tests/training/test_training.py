"""The steps on a handful of texts, and that a stopped training goes on as if it had not been."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.lists import Batch, Lists
from training.mining import Mined
from training.prepare import prepare, read_labelled, read_passages
from training.settings import Settings
from training.student import Student
from training.teachers import minilm_folder, token_batches
from training.train import train

VALUES = {
    "seed": 3,
    "data": {
        "given_negatives": 1,
        "wikipedia_passages": 5,
        "code_pairs": 3,
        "queries": {"rivers": 6},
    },
    "target": {
        "weights": [0.5, 0.3, 0.2],
        "code_weights": [1.0, 0.0, 0.0],
        "sharpness": 2.0,
        "label": 1.0,
    },
    "train": {
        "open_layers": 1,
        "lists": 2,
        "candidates": 4,
        "max_passage_tokens": 24,
        "max_query_tokens": 16,
        "steps": 4,
        "learning_rate": 1e-3,
        "warm_up": 1,
        "gate_rate": 1e-2,
        "head_rate": 1e-3,
        "average": 0.5,
        "save_every": 2,
        "threads": 1,
    },
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data, work = tmp_path / "data", tmp_path / "work"
    (data / "train").mkdir(parents=True)
    (data / "pretrain").mkdir()
    work.mkdir()
    rows = [
        {"query": f"where does river {i} end", "pos": f"River {i} ends in sea {i % 3}.",
         "negs": [f"River {i} is {i} miles long.", f"River {i} is cold."]}
        for i in range(8)
    ]  # fmt: skip
    with gzip.open(data / "train" / "rivers.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    section = "\n".join(f"Sentence {i} of a section about a town by the river." for i in range(4))
    with gzip.open(data / "pretrain" / "wiki_boolq_7030.txt.gz", "wt", encoding="utf-8") as out:
        out.write("\n\n".join(f"Town {i}.\n{section}" for i in range(9)) + "\n\n")
    return Settings(data, work, VALUES)


@pytest.fixture
def mined(settings: Settings) -> Settings:
    """Candidates with scores made up: the teachers themselves are no part of these tests."""
    prepare(settings)
    chance = np.random.default_rng(0)
    size = len(read_passages(settings.work))
    places, labels = [], []
    for item in read_labelled(settings.work):
        own = item.positives[:1]
        others = [place for place in range(size) if place not in own][:7]
        places.append([*own, *others])
        labels.append([1, *[-1] * 5, *[-2] * 2])
    with (settings.work / "mined.npz").open("wb") as out:
        np.savez(
            out,
            ends=np.cumsum([len(row) for row in places]),
            places=np.concatenate(places).astype(np.int32),
            labels=np.concatenate(labels).astype(np.int8),
            scores=chance.random((3, 8 * len(places))).astype(np.float32),
        )
    return settings


def test_prepare_ties_queries_to_places_in_one_pool(settings: Settings) -> None:
    prepare(settings)
    passages, labelled = read_passages(settings.work), read_labelled(settings.work)
    assert len(set(passages)) == len(passages)
    rivers = [item for item in labelled if item.source == "rivers"]
    assert len(rivers) == 6
    for item in rivers:
        number = item.query.split()[3]
        assert [passages[place] for place in item.positives] == [
            f"River {number} ends in sea {int(number) % 3}."
        ]
        assert len(item.negatives) == 1
    code = [item for item in labelled if item.source == "stdlib"]
    assert len(code) == 3
    for item in code:
        assert item.query not in passages[item.positives[0]]
        assert passages[item.positives[0]].startswith("def ")
    assert sum(text.startswith("Town") for text in passages) == 5


def test_prepare_does_the_same_again(settings: Settings) -> None:
    prepare(settings)
    first = (settings.work / "queries.jsonl").read_bytes()
    prepare(settings)
    assert (settings.work / "queries.jsonl").read_bytes() == first


def test_a_list_holds_one_own_passage_and_its_target_prefers_it(mined: Settings) -> None:
    batch = next(Lists(mined).batches(0))
    assert batch.targets.shape == (2, 4)
    assert batch.targets.exp().sum(1).tolist() == pytest.approx([1, 1])
    assert sorted(batch.order.tolist()) == list(range(8))
    of = torch.cat([of for _, of in batch.passages])[batch.order]
    assert of.tolist() == [0] * 4 + [1] * 4
    candidates = Mined(mined.work)
    assert all((labels == 1).sum() == 1 for labels in candidates.labels)


def test_batches_go_on_from_any_step(mined: Settings) -> None:
    lists = Lists(mined)
    every = lists.batches(0)
    for _ in range(20):
        next(every)
    one, other = next(every), next(lists.batches(20))
    assert one.query.equal(other.query)
    assert one.targets.equal(other.targets)


def test_a_stopped_training_ends_with_the_same_weights(mined: Settings, tmp_path: Path) -> None:
    train(mined)
    whole = torch.load(mined.work / "student.pt", weights_only=True)
    again = tmp_path / "again"
    again.mkdir()
    for name in ("passages.jsonl", "queries.jsonl", "mined.npz"):
        (again / name).write_bytes((mined.work / name).read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.Lists", _Stopping)
        with pytest.raises(_Stopped):
            train(Settings(mined.data, again, VALUES))
    train(Settings(mined.data, again, VALUES))
    resumed = torch.load(again / "student.pt", weights_only=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not torch.equal(whole["gates"], Student(minilm_folder(), 1).gates)


class _Stopped(Exception):
    pass


class _Stopping(Lists):
    """Lists that are interrupted after two steps."""

    def batches(self, start: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().batches(start)):
            if step == 2:
                raise _Stopped
            yield batch


def test_batches_of_tokens_hold_every_text_once() -> None:
    lengths = [5, 4000, 3000, 2, 9000, 7]
    batches = list(token_batches(lengths))
    assert sorted(place for batch in batches for place in batch) == list(range(6))
    assert [4] in batches
