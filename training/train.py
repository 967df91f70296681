"""Step 6: training the student to rank candidates as its teachers and the labels do."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch.nn import functional

from rerank_core.training._student import Student
from training.lists import Batch, Lists
from training.settings import Settings, whole_file
from training.start import new_student

__all__ = ["load_student", "train"]


def train(settings: Settings) -> None:
    """Write ``student.pt``, resuming from ``checkpoint.pt`` if there is one.

    Runs on CUDA where there is a GPU. With no steps, the student stays as it starts.

    Args:
        settings: Settings of the recipe.
    """
    options = settings.section("train")
    torch.manual_seed(settings.seed)
    torch.set_num_threads(options["threads"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student = new_student(settings)
    student.load_state_dict(torch.load(settings.work / "start.pt", weights_only=True))
    student.to(device)
    mean = copy.deepcopy(student)
    groups = _groups(student, options)
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    checkpoint, best = settings.work / "checkpoint.pt", settings.work / "student.pt"
    step = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True, map_location=device)
        student.load_state_dict(stored["student"])
        mean.load_state_dict(stored["mean"])
        optimiser.load_state_dict(stored["optimiser"])
        step = int(stored["step"])
    elif not options["steps"]:
        _save({best: student.state_dict()})
        return
    lists = Lists(settings)
    began, pairs, losses = time.monotonic(), 0, 0.0
    if not step:
        print(f"held out, before: {_held_out(mean, lists, options['held_out'])}", flush=True)
    for batch in lists.batches(step):
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
        if step % options["save_every"] == 0 or step == options["steps"]:
            state = {
                "student": student.state_dict(),
                "mean": mean.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
            }
            _save({checkpoint: state, best: mean.state_dict()})
            print(
                f"step {step}/{options['steps']} loss {losses / options['save_every']:.4f} "
                f"{pairs / (time.monotonic() - began):.1f} pairs/s "
                f"held out {_held_out(mean, lists, options['held_out'])} "
                f"tau {student.tau.item():.2f} late {student.late.item():.2f} "
                f"gates {student.gates.mean().item():.2f}",
                flush=True,
            )
            losses = 0.0


def load_student(settings: Settings) -> Student:
    """Load the trained student, in evaluation mode."""
    student = new_student(settings)
    weights = torch.load(settings.work / "student.pt", weights_only=True, map_location="cpu")
    student.load_state_dict(weights)
    return student.eval()


def _loss(student: Student, batch: Batch) -> torch.Tensor:
    device = student.tau.device
    query = batch.query.to(device)
    logits = []
    # Around all parts, so that weights are cast once.
    with torch.autocast(device.type, torch.bfloat16):
        for tokens, rows in batch.passages:
            passage, of = tokens.to(device), rows.to(device)
            logits.append(student(query, query > 0, passage, passage > 0, of).float())
    targets = batch.targets.to(device)
    listed = torch.cat(logits)[batch.order.to(device)].view(targets.shape)
    return functional.kl_div(
        listed.log_softmax(-1), targets, log_target=True, reduction="batchmean"
    )


@torch.no_grad()
def _held_out(student: Student, lists: Lists, most: int) -> str:
    """Return the mean loss on lists that are held out."""
    found = [_loss(student, batch).item() for batch in lists.held_out(most)]
    return f"{sum(found) / max(len(found), 1):.4f}"


def _groups(student: Student, options: dict[str, Any]) -> list[dict[str, Any]]:
    closed = student.layers[: student.closed]
    for frozen in (student.embeddings, *closed, student.sparse, student.sparse_weight):
        frozen.requires_grad_(requires_grad=False)
    scalars = [student.gates, student.late, student.tau]
    heads = [
        student.shared_token,
        *(*student.weigh.parameters(), *student.head.parameters()),
    ]
    apart = {id(parameter) for parameter in [*scalars, *heads]}
    encoders = [
        item for item in student.parameters() if item.requires_grad and id(item) not in apart
    ]
    return [
        {"params": encoders, "base": options["learning_rate"], "weight_decay": 0.01},
        {"params": scalars, "base": options["gate_rate"], "weight_decay": 0.0},
        {"params": heads, "base": options["head_rate"], "weight_decay": 0.0},
    ]


def _rate(step: int, options: dict[str, Any]) -> float:
    warm = (step + 1) / options["warm_up"]
    left = (options["steps"] - step) / options["cool_down"]
    return float(min(1.0, warm, max(0.02, left)))


def _save(files: dict[Any, Any]) -> None:
    for path, content in files.items():
        with whole_file(path) as out:
            torch.save(content, out)
