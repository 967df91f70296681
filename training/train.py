"""Step 4: training the student to rank candidates as its teachers and the labels do."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch.nn import functional

from training.lists import Batch, Lists
from training.settings import Settings, whole_file
from training.student import Student
from training.teachers import minilm_folder

__all__ = ["load_student", "train"]


def train(settings: Settings) -> None:
    """Write ``student.pt``, resuming from ``checkpoint.pt`` if there is one.

    Args:
        settings: Settings of the recipe.
    """
    options = settings.section("train")
    torch.manual_seed(settings.seed)
    torch.set_num_threads(options["threads"])
    student = Student(minilm_folder(), options["open_layers"])
    mean = copy.deepcopy(student)
    groups = _groups(student, options)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    checkpoint, best = settings.work / "checkpoint.pt", settings.work / "student.pt"
    step = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(stored["student"])
        mean.load_state_dict(stored["mean"])
        optimiser.load_state_dict(stored["optimiser"])
        step = int(stored["step"])
    began, pairs, losses = time.monotonic(), 0, 0.0
    for batch in Lists(settings).batches(step):
        if step >= options["steps"]:
            break
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * _rate(step, options)
        loss = _loss(student, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(groups[0]["params"], 1.0)
        optimiser.step()
        step += 1
        decay = min(options["average"], (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, new in zip(mean.parameters(), student.parameters(), strict=True):
                if new.requires_grad:
                    kept.lerp_(new, 1 - decay)
        pairs, losses = pairs + batch.targets.numel(), losses + loss.item()
        if step % 50 == 0:
            speed = pairs / (time.monotonic() - began)
            print(
                f"step {step}/{options['steps']} loss {losses / 50:.4f} {speed:.1f} pairs/s "
                f"tau {student.tau.item():.2f} late {student.late.item():.2f} "
                f"gates {student.gates.mean().item():.2f}",
                flush=True,
            )
            losses = 0.0
        if step % options["save_every"] == 0 or step == options["steps"]:
            state = {
                "student": student.state_dict(),
                "mean": mean.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            }
            for content, path in ((state, checkpoint), (mean.state_dict(), best)):
                with whole_file(path) as out:
                    torch.save(content, out)


def load_student(settings: Settings) -> Student:
    """Load the trained student, in evaluation mode."""
    student = Student(minilm_folder(), settings.section("train")["open_layers"])
    student.load_state_dict(torch.load(settings.work / "student.pt", weights_only=True))
    return student.eval()


def _loss(student: Student, batch: Batch) -> torch.Tensor:
    logits = []
    with torch.autocast("cpu", torch.bfloat16):  # around all parts, so that weights are cast once
        for passage, of in batch.passages:
            logits.append(student(batch.query, batch.query > 0, passage, passage > 0, of).float())
    listed = torch.cat(logits)[batch.order].view(batch.targets.shape)
    return functional.kl_div(
        listed.log_softmax(-1), batch.targets, log_target=True, reduction="batchmean"
    )


def _groups(student: Student, options: dict[str, Any]) -> list[dict[str, Any]]:
    for frozen in [student.embeddings, *student.layers[: student.closed]]:
        frozen.requires_grad_(requires_grad=False)
    encoder = [item for item in student.layers.parameters() if item.requires_grad]
    scalars = [student.gates, student.late, student.tau]
    heads = [student.shared_token, *student.weigh.parameters(), *student.head.parameters()]
    return [
        {"params": encoder, "base": options["learning_rate"], "weight_decay": 0.01},
        {"params": scalars, "base": options["gate_rate"], "weight_decay": 0.0},
        {"params": heads, "base": options["head_rate"], "weight_decay": 0.0},
    ]


def _rate(step: int, options: dict[str, Any]) -> float:
    left = 1 - step / options["steps"]
    return float(min(1.0, (step + 1) / options["warm_up"]) * max(0.02, left))
