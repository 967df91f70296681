from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest

from rerank_core import (
    ConfigurationError,
    InvalidInputError,
    OnnxCrossEncoder,
    Scale,
    TorchCrossEncoder,
    load_scorer,
    rerank,
)
from support.models import FAMILIES, WORDS, TinyModel

QUERY = "what is drug discovery"


def sample(count: int, longest: int = 40, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(count)]


def largest_difference(one: Sequence[float | None], other: Sequence[float | None]) -> float:
    return max(abs((a or 0.0) - (b or 0.0)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert"])
@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
@pytest.mark.parametrize("labels", [1, 2])
def test_it_agrees_with_torch_on_the_same_weights(
    tiny: Callable[..., TinyModel], family: str, activation: str, labels: int
) -> None:
    model = tiny(family, labels)
    texts = sample(40, longest=60)
    here = OnnxCrossEncoder(model.onnx, activation=activation)  # type: ignore[arg-type]
    there = TorchCrossEncoder(str(model.torch), activation=activation, device="cpu")  # type: ignore[arg-type]
    one, other = here.score(QUERY, texts), there.score(QUERY, texts)
    assert largest_difference(one.scores, other.scores) < 1e-4
    assert one.usage.truncated == other.usage.truncated > 0
    assert one.usage.tokens == other.usage.tokens
    assert here.scale is there.scale is (Scale.LOGIT if activation == "identity" else Scale.UNIT)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_to_load_a_family_gives_what_sentence_transformers_predicts(
    tiny: Callable[..., TinyModel], family: str
) -> None:
    from sentence_transformers import CrossEncoder

    model, texts = tiny(family), sample(20, longest=16)
    expected = CrossEncoder(str(model.torch)).predict([(QUERY, text) for text in texts]).tolist()
    for name in (f"{model.onnx}", f"onnx:{model.onnx}", f"{model.torch}", f"torch:{model.torch}"):
        scores = load_scorer(name).score(QUERY, texts).scores
        assert largest_difference(scores, expected) < 1e-4


def test_batching_does_not_show_in_fp32_scores(tiny: Callable[..., TinyModel]) -> None:
    texts = sample(60)
    alone = OnnxCrossEncoder(tiny().onnx, batch_tokens=1).score(QUERY, texts)
    for batch_tokens in (64, 256, 4096):
        batched = OnnxCrossEncoder(tiny().onnx, batch_tokens=batch_tokens).score(QUERY, texts)
        assert largest_difference(alone.scores, batched.scores) < 1e-5
        assert batched.usage.tokens == alone.usage.tokens
    assert alone.usage.padding == 0


def test_int8_scores_are_each_pairs_own(int8_model: Path) -> None:
    texts = sample(60)
    scorer = OnnxCrossEncoder(int8_model)
    together = scorer.score(QUERY, texts).scores
    assert together == tuple(scorer.score(QUERY, [text]).scores[0] for text in texts)
    # The reason for that default: in shared batches neighbours do change a score.
    shared = OnnxCrossEncoder(int8_model, batch_tokens=2048).score(QUERY, texts).scores
    assert largest_difference(shared, together) > 0


def test_usage_counts_tokens_padding_and_cuts(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, max_length=16, batch_tokens=1024)
    usage = scorer.score("drug", ["list", "river " * 50, "list", ""]).usage
    assert (usage.pairs, usage.truncated) == (2, 1)
    assert usage.tokens + usage.padding == 2 * 16
    assert usage.seconds > 0


def test_many_queries_share_batches(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, batch_tokens=64, threads=1)
    steps: list[tuple[int, int]] = []
    scorer.score_many(["drug", "list"], [["river"], ["river"]], progress=lambda *s: steps.append(s))
    assert steps == [(2, 2)]


def test_the_embedded_model_needs_nothing_else() -> None:
    scorer = OnnxCrossEncoder()
    assert (scorer.name, scorer.scale) == ("nano", Scale.LOGIT)
    texts = [
        "A river is a natural stream of fresh water.",
        "The json module encodes Python objects as JSON strings.",
        "Paris is the capital of France.",
    ]
    assert rerank("How do I write JSON in Python?", texts, scorer)[0].index == 1
    assert rerank("What is the capital of France?", texts, scorer)[0].index == 2


def test_nothing_is_loaded_before_the_first_score(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder("cross-encoder/never-fetched", local_files_only=True)
    assert scorer.name == "cross-encoder/never-fetched"
    assert "never-fetched" in repr(scorer)
    assert pickle.loads(pickle.dumps(scorer)).to_config() == scorer.to_config()


def test_loading_early_finds_what_is_wrong_early(tmp_path: Path) -> None:
    OnnxCrossEncoder("nano").load()
    with pytest.raises(ConfigurationError, match="no such file"):
        OnnxCrossEncoder(tmp_path / "a" / "b" / "missing.onnx").load()


def test_the_fingerprint_follows_whatever_changes_scores(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "copy")
    fingerprints = {
        OnnxCrossEncoder(folder).fingerprint,
        OnnxCrossEncoder(folder, max_length=20).fingerprint,
        OnnxCrossEncoder(folder, activation="identity").fingerprint,
        OnnxCrossEncoder(folder, batch_tokens=64).fingerprint,
    }
    assert len(fingerprints) == 4
    assert OnnxCrossEncoder(tiny().onnx).fingerprint in fingerprints
    model = onnx.load(folder / "model.onnx")
    model.producer_name = "another training run"
    onnx.save(model, folder / "model.onnx")
    assert OnnxCrossEncoder(folder).fingerprint not in fingerprints


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model"),
        ({"model": b"nano"}, "model"),
        ({"max_length": 0}, "max_length"),
        ({"threads": -1}, "threads"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"activation": "relu"}, "activation"),
        ({"providers": "CPUExecutionProvider"}, "providers"),
        ({"providers": []}, "providers"),
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=message):
        OnnxCrossEncoder(**options)  # type: ignore[arg-type]


def test_more_tokens_than_positions_are_refused(tiny: Callable[..., TinyModel]) -> None:
    with pytest.raises(ConfigurationError, match="65 is more than the 64 positions"):
        OnnxCrossEncoder(tiny().onnx, max_length=65).load()


def test_a_provider_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"MarsExecutionProvider.*CPUExecutionProvider"):
        OnnxCrossEncoder(providers=["MarsExecutionProvider"]).load()


def test_broken_files_are_named(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    for name, content in (
        ("model.onnx", "no graph"),
        ("tokenizer.json", "no tokenizer"),
        ("config.json", "{no json"),
        ("config.json", "[]"),
    ):
        folder = tmp_path / f"{name}-{len(content)}"
        shutil.copytree(tiny().onnx, folder)
        (folder / name).write_text(content)
        with pytest.raises(ConfigurationError, match=name):
            OnnxCrossEncoder(folder).load()


def test_a_graph_with_inputs_we_do_not_know_is_refused(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "pixels")
    model = onnx.load(folder / "model.onnx")
    extra = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["batch", 3])
    model.graph.input.append(extra)
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ConfigurationError, match="pixels"):
        OnnxCrossEncoder(folder).load()


def test_graphs_of_int32_inputs_work(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "int32")
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.input:
        node.type.tensor_type.elem_type = onnx.TensorProto.INT32
        wide = f"{node.name}_int64"
        for user in model.graph.node:
            user.input[:] = [wide if name == node.name else name for name in user.input]
        cast = onnx.helper.make_node("Cast", [node.name], [wide], to=onnx.TensorProto.INT64)
        model.graph.node.insert(0, cast)
    onnx.save(model, folder / "model.onnx")
    texts = sample(5)
    expected = OnnxCrossEncoder(tiny().onnx).score(QUERY, texts).scores
    assert largest_difference(OnnxCrossEncoder(folder).score(QUERY, texts).scores, expected) < 1e-5


def test_our_own_configuration_wins(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "own")
    settings = {"activation": "identity", "max_length": 24}
    (folder / "rerank_config.json").write_text(json.dumps(settings))
    scorer = OnnxCrossEncoder(folder)
    assert scorer.scale is Scale.LOGIT
    assert scorer.score(QUERY, ["river " * 60]).usage.tokens == 24


async def test_cancelling_stops_between_batches(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, batch_tokens=1, threads=1)
    loop = asyncio.get_running_loop()
    first = asyncio.Event()
    seen: list[int] = []

    def watch(done: int, total: int) -> None:
        seen.append(done)
        loop.call_soon_threadsafe(first.set)

    task = asyncio.create_task(scorer.ascore(QUERY, sample(4000), progress=watch))
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen[-1] < 4000
    assert (await scorer.ascore(QUERY, ["river"])).usage.pairs == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_scores_too(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx)
    expected = scorer.score(QUERY, ["river", "list"]).scores  # the parent's threads now run
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=lambda: sender.send(scorer.score(QUERY, ["river", "list"]).scores)
    )
    child.start()
    assert receiver.poll(timeout=60)
    assert receiver.recv() == expected
    child.join()
    assert child.exitcode == 0


LOCKS = """
import threading
from rerank_core import OnnxCrossEncoder, TorchCrossEncoder
import sys
for scorer in (OnnxCrossEncoder(sys.argv[1]), TorchCrossEncoder(sys.argv[2], device="cpu")):
    asked = [
        lambda: scorer.score("drug", ["list"]),
        lambda: scorer.scale,
        lambda: scorer.fingerprint,
        scorer.load,
    ] * 4
    barrier = threading.Barrier(len(asked))
    def work(ask):
        barrier.wait()
        ask()
    threads = [threading.Thread(target=work, args=(ask,), daemon=True) for ask in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "deadlock"
print("done")
"""


def test_first_use_from_many_threads_does_not_deadlock(tiny: Callable[..., TinyModel]) -> None:
    command = [sys.executable, "-c", LOCKS, str(tiny().onnx), str(tiny().torch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]


def test_weights_beside_the_graph_count_in_the_fingerprint(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "external")
    (folder / "model.onnx.data").write_bytes(b"one")
    before = OnnxCrossEncoder(folder).fingerprint
    (folder / "model.onnx.data").write_bytes(b"two")
    assert OnnxCrossEncoder(folder).fingerprint != before


def test_keys_that_mean_something_else_in_others_files_do_not_count(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().onnx, tmp_path / "distil")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "activation": "gelu", "max_length": 20})
    )
    text = ["river list " * 40]
    scoring = OnnxCrossEncoder(folder).score(QUERY, text)
    assert scoring.usage.tokens == 64
    assert scoring.scores == OnnxCrossEncoder(tiny().onnx).score(QUERY, text).scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nano", "revision": "main"}, "leave out revision|means nothing"),
        ({"model": "nano", "precision": "fp32"}, "'nano' is int8 only"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OnnxCrossEncoder(**options).load()  # type: ignore[arg-type]
    OnnxCrossEncoder("nano", precision="int8").load()


def test_a_file_takes_no_choice_of_file(tiny: Callable[..., TinyModel]) -> None:
    for options in ({"precision": "int8"}, {"file": "other.onnx"}):
        with pytest.raises(ConfigurationError, match="is a file"):
            OnnxCrossEncoder(tiny().onnx / "model.onnx", **options).load()  # type: ignore[arg-type]
