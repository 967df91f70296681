"""Training for some time with the trainer of sentence-transformers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import ListNetLoss
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from rerank_core.evaluation._scoring import EvalProgress
from rerank_core.training._lists import Candidates, sample
from rerank_core.training._start import trained_groups

__all__ = ["fit"]

_LISTS = 8  # per step
_CHECKS = 10  # on the queries for stopping
_DRAWS = 3  # lists of each query for stopping
_SCALES = 2.0 ** np.arange(-3, 1.5, 0.5)  # of logits, that a check tries
_PATIENCE = 6  # checks without a lower loss
_SHARES = (0.25, 0.5, 0.75)  # of what was learnt, that are tried beside all of it
_NEVER = 1 << 30
_ELAPSED = "seconds.txt"


def fit(
    model: CrossEncoder,
    learnt: Sequence[Candidates],
    checked: Sequence[Candidates],
    *,
    seconds: float,
    passes: int,
    rate: float,
    seed: int,
    work: Path,
    progress: EvalProgress | None,
) -> int:
    """Train a model, and leave it in the state with the lowest loss on the queries for stopping.

    The states are those of the checks, and for the best of them, states between it and the start
    (Wortsman et al., "Robust fine-tuning of zero-shot models", https://arxiv.org/abs/2109.01903).
    What an interrupted training has left in `work` is continued.

    Args:
        model: The model; on a machine with a GPU, it is trained there.
        learnt: Candidates to train on.
        checked: Candidates of the queries for stopping.
        seconds: Time for training, the checks included.
        passes: Most passes over the queries.
        rate: Learning rate of encoders.
        seed: Seed of the random numbers.
        work: Folder for the states.
        progress: Called with (label, percent done, 100).

    Returns:
        Number of steps.
    """
    groups = trained_groups(model, rate)
    start = _copy(groups)
    on_cpu = model.device.type == "cpu"
    half = on_cpu and "AVX512" in torch.backends.cpu.get_cpu_capability()
    clock = _Clock(seconds, work / _ELAPSED, progress)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
    trainer = _Trainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(work),
            num_train_epochs=1,
            per_device_train_batch_size=_LISTS,
            # The clock says when; both must agree for the best state to be found.
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=_NEVER,
            save_steps=_NEVER,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            use_cpu=on_cpu,
            bf16=half,
            seed=seed,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=_dataset(learnt, passes, seed),
        evaluator=_Check(checked, seed, half=half),
        loss=ListNetLoss(model, mini_batch_size=16),
        optimizers=(optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, clock.rate)),
        callbacks=[clock, EarlyStoppingCallback(_PATIENCE)],
    )
    trainer.remove_callback(PrinterCallback)
    last: str | None = get_last_checkpoint(str(work))  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=last)
    losses, best = {1.0: trainer.evaluate()["eval_loss"]}, _copy(groups)
    for share in _SHARES:
        _blend(groups, start, best, share)
        losses[share] = trainer.evaluate()["eval_loss"]
    _blend(groups, start, best, min(losses, key=lambda share: losses[share]))
    return int(trainer.state.global_step)


class _Trainer(CrossEncoderTrainer):
    def add_model_card_callback(self, _: object) -> None:
        """Leave out the model's card, which would take statistics of all texts."""


class _Clock(TrainerCallback):
    """Ends a training after some time, with checks in between; what was spent is kept in a file."""

    def __init__(self, seconds: float, file: Path, progress: EvalProgress | None) -> None:
        self._seconds, self._file, self._progress = seconds, file, progress
        before = float(file.read_text(encoding="utf-8")) if file.exists() else 0.0
        self._began = time.monotonic() - before
        self._done = 0.0  # share of the training
        self._checks = 1  # number of the next one

    def rate(self, step: int) -> float:
        """Return what to multiply a learning rate with."""
        return min(1.0, (step + 1) / 10, max(0.02, (1 - self._done) / 0.7))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Find out which check is the next one."""
        del args, control
        self._checks = int(self._share(state) * _CHECKS) + 1

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a check, and at the end for the last one."""
        del args
        self._done = self._share(state)
        if self._progress is not None:
            self._progress("training", int(100 * self._done), 100)
        if self._done >= min(1.0, self._checks / _CHECKS):
            self._checks = int(self._done * _CHECKS) + 1
            control.should_evaluate = control.should_save = True
        control.should_training_stop |= self._done >= 1

    def on_save(self, *_: Any, **__: Any) -> None:
        """Keep the time that was spent."""
        self._file.write_text(str(time.monotonic() - self._began), encoding="utf-8")

    def _share(self, state: Any) -> float:
        """Return the share of the time or of the passes that is over."""
        passed = (time.monotonic() - self._began) / self._seconds
        return min(1.0, max(passed, float(state.global_step / state.max_steps)))


class _Check(BaseEvaluator):
    """Loss on the queries for stopping, with logits at the scale that suits them best.

    A student that is too sure of itself may still order better than before.
    """

    def __init__(self, checked: Sequence[Candidates], seed: int, *, half: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._half = half
        self._pairs: list[tuple[str, str]] = []
        self._targets: list[NDArray[np.float64]] = []
        for row in range(_DRAWS * len(checked)):
            found = checked[row % len(checked)]
            listed, wanted = sample(found, np.random.default_rng((seed, row)))
            self._pairs += [(found.query, text) for text in listed]
            self._targets.append(_log_softmax(np.array(wanted)))

    def __call__(self, model: Any, *_: object, **__: object) -> dict[str, float]:
        """Return the loss of a model."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            logits = model.predict(
                self._pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
        lists = np.split(logits, np.cumsum([len(wanted) for wanted in self._targets])[:-1])
        losses = [
            sum(
                float(np.exp(wanted) @ (wanted - _log_softmax(scale * found)))
                for found, wanted in zip(lists, self._targets, strict=True)
            )
            for scale in _SCALES
        ]
        return {"loss": min(losses) / len(lists)}


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted = logits.astype(float) - logits.max()
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return found


def _dataset(candidates: Sequence[Candidates], passes: int, seed: int) -> Dataset:
    """Return lists that are drawn when they are read, each time the same ones."""

    def draw(rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        queries, texts, targets = [], [], []
        for row in rows["row"]:
            found = candidates[row % len(candidates)]
            listed, wanted = sample(found, np.random.default_rng((seed, row)))
            queries.append(found.query)
            texts.append(listed)
            targets.append(wanted)
        return {"query": queries, "texts": texts, "label": targets}

    rows = Dataset.from_dict({"row": list(range(passes * len(candidates)))})
    return rows.with_transform(draw)


def _copy(groups: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
    return [item.detach().clone() for group in groups for item in group["params"]]


@torch.no_grad()
def _blend(
    groups: Sequence[dict[str, Any]],
    start: Sequence[torch.Tensor],
    end: Sequence[torch.Tensor],
    share: float,
) -> None:
    """Set parameters to a state between two others."""
    parameters = [item for group in groups for item in group["params"]]
    for parameter, before, after in zip(parameters, start, end, strict=True):
        parameter.copy_(before.to(after.device).lerp(after, share))
