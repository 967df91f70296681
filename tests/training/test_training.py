"""The steps on a handful of texts, and that a stopped training goes on as if it had not been."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from training.lists import Batch, Lists
from training.mining import Mined
from training.prepare import prepare, read_labelled, read_passages
from training.settings import Settings
from training.start import new_student, start
from training.teachers import minilm_folder, read_tokenizer, token_batches
from training.train import train

VALUES: dict[str, Any] = {
    "seed": 3,
    "data": {
        "given_negatives": 1,
        "wikipedia_passages": 5,
        "code_pairs": 3,
        "questions": 1,
        "run": 2,
        "queries": {"rivers": 6},
    },
    "mining": {"held_out": 2},
    "target": {
        "weights": {"minilm": 0.5, "sparse": 0.5},
        "code_weights": {"minilm": 1.0, "sparse": 0.0},
        "sharpness": 2.0,
        "label": 1.0,
    },
    "start": {"revision": "", "sparse_weights": {"other": 0.5, "stdlib": 0.25}},
    "train": {
        "open_layers": 1,
        "lists": 2,
        "held_out": 1,
        "max_passage_tokens": 24,
        "max_query_tokens": 16,
        "steps": 4,
        "learning_rate": 1e-3,
        "warm_up": 1,
        "cool_down": 2,
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
    questions = data / "train" / "queries_only_wellformedness.txt.gz"
    with gzip.open(questions, "wt", encoding="utf-8") as out:
        out.write("which river is long\nwhich river is cold\n")
    with gzip.open(data / "pretrain" / "wiki_boolq_7030.txt.gz", "wt", encoding="utf-8") as out:
        out.write("\n\n".join(f"Town {i}.\n{section}" for i in range(9)) + "\n\n")
    return Settings(data, work, VALUES)


@pytest.fixture
def sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sparse encoder of the vocabulary's size, instead of the one in a package."""
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    folder = tmp_path / "sparse"
    torch.manual_seed(5)
    BertForMaskedLM(config).save_pretrained(folder)
    monkeypatch.setattr("training.start.sparse_folder", lambda: folder)
    return folder


@pytest.fixture
def mined(settings: Settings, sparse: Path) -> Settings:
    """Candidates with scores made up: the teachers themselves are no part of these tests."""
    prepare(settings)
    chance = np.random.default_rng(0)
    size = len(read_passages(settings.work))
    labelled = read_labelled(settings.work)
    places, labels = [], []
    for item in labelled:
        own = item.positives[:1]
        others = [place for place in range(size) if place not in own][: 4 - len(own)]
        places.append([*own, *others])
        labels.append([1] * len(own) + [-1] * len(others))
    scores = chance.random((2, len(labelled), 4)).astype(np.float32)
    np.savez(
        settings.work / "mined.npz",
        queries=np.arange(len(labelled)),
        places=np.array(places, np.int32),
        labels=np.array(labels, np.int8),
        scores=scores,
    )
    np.savez(settings.work / "scores.npz", minilm=scores[0], sparse=scores[1])
    torch.save(new_student(settings).state_dict(), settings.work / "start.pt")
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
    assert [item.positives for item in labelled if item.source == "questions"] == [[]]


def test_prepare_takes_neighbours_together(settings: Settings) -> None:
    prepare(settings)
    rows = [item.query for item in read_labelled(settings.work) if item.source == "rivers"]
    numbers = [int(query.split()[3]) for query in rows]
    assert all(
        second == first + 1 for first, second in zip(numbers[::2], numbers[1::2], strict=True)
    )


def test_prepare_does_the_same_again(settings: Settings) -> None:
    prepare(settings)
    first = (settings.work / "queries.jsonl").read_bytes()
    prepare(settings)
    assert (settings.work / "queries.jsonl").read_bytes() == first


def test_a_target_prefers_what_teachers_and_labels_prefer(mined: Settings) -> None:
    lists = Lists(mined)
    batch = next(lists.batches(0))
    assert batch.targets.shape == (2, 4)
    assert batch.targets.exp().sum(1).tolist() == pytest.approx([1, 1])
    assert sorted(batch.order.tolist()) == list(range(8))
    of = torch.cat([of for _, of in batch.passages])[batch.order]
    assert of.tolist() == [0] * 4 + [1] * 4
    held_out = next(lists.held_out(1))
    scores = Mined(mined.work).scores[:, 0]
    scaled = scores / np.maximum(scores.std(axis=1, keepdims=True), 1e-9)
    best = 2.0 * 0.5 * scaled.sum(axis=0) + np.array([1.0, 0, 0, 0])
    assert int(held_out.targets[0].argmax()) == int(best.argmax())


def test_lists_that_are_held_out_are_not_trained_on(mined: Settings) -> None:
    lists = Lists(mined)
    batches = lists.batches(0)
    seen = {tuple(row) for _ in range(32) for row in next(batches).targets.tolist()}
    assert not seen & {tuple(row) for row in next(lists.held_out(9)).targets.tolist()}


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
    before = torch.load(mined.work / "start.pt", weights_only=True)
    whole = torch.load(mined.work / "student.pt", weights_only=True)
    again = tmp_path / "again"
    again.mkdir()
    for name in ("passages.jsonl", "queries.jsonl", "mined.npz", "scores.npz", "start.pt"):
        (again / name).write_bytes((mined.work / name).read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.Lists", _Stopping)
        with pytest.raises(_Stopped):
            train(Settings(mined.data, again, VALUES))
    train(Settings(mined.data, again, VALUES))
    resumed = torch.load(again / "student.pt", weights_only=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not torch.equal(whole["gates"], before["gates"])
    closed = [name for name in before if name.startswith("sparse")]
    assert all(torch.equal(whole[name], before[name]) for name in closed)


def test_without_steps_the_student_stays_as_it_starts(mined: Settings, sparse: Path) -> None:
    start(mined)
    train(Settings(mined.data, mined.work, VALUES | {"train": {**VALUES["train"], "steps": 0}}))
    weights = torch.load(mined.work / "student.pt", weights_only=True)
    fresh = new_student(mined)
    apart = {"expansions", "sparse_weight.weight", "sparse_weight.bias"}
    unchanged = {name: value for name, value in fresh.state_dict().items() if name not in apart}
    assert all(torch.equal(weights[name], value) for name, value in unchanged.items())

    fresh.load_state_dict(weights)
    tokenizer = read_tokenizer(minilm_folder())

    def weight(source: str) -> float:
        queries = [item.query for item in read_labelled(mined.work) if item.source == source]
        tokens = [torch.tensor([tokenizer.encode(query).ids]) for query in queries]
        with torch.no_grad():
            means = [fresh.lower(ids, ids > 0)[0].mean(0) for ids in tokens]
            return float(fresh.sparse_weight(torch.stack(means)).mean())

    assert 0.25 < weight("stdlib") < weight("rivers") < 0.5


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
