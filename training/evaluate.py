"""Steps 8 and 9: evaluating the exported model, and writing the figures into its card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from training.settings import Settings
from training.teachers import minilm_folder

__all__ = ["card", "evaluate"]

_BEGIN, _END = "<!-- quality -->", "<!-- end of quality -->"
_METRIC = "nDCG@10"
_CARD = Path(__file__).parents[1] / "shared" / "rerank_core" / "models" / "nano" / "README.md"


def evaluate(settings: Settings) -> None:
    """Compare the exported model with the bi-encoder that it started from.

    Writes ``report.json`` and ``report.png``. Scores in an existing ``scores.jsonl`` are reused.

    Args:
        settings: Settings of the recipe.

    Raises:
        subprocess.CalledProcessError: If ``rerank eval`` fails.
    """
    options = settings.section("evaluate")
    work = settings.work.resolve()
    subprocess.run(
        [
            *(sys.executable, "-m", "rerank_core.cli", "eval", *options["collections"]),
            *(f"--scorer=nano=onnx:{work / 'nano-int8'}", f"--scorer=minilm=bi:{minilm_folder()}"),
            *(f"--first-stage={stage}" for stage in options["first_stage"]),
            *(f"--depth={depth}" for depth in options["depth"]),
            *(f"--metric={_METRIC}", f"--resume={work / 'scores.jsonl'}"),
            *(f"--json={work / 'report.json'}", f"--plot={work / 'report.png'}"),
        ],
        cwd=settings.data / "eval",
        check=True,
    )


def card(settings: Settings, path: Path = _CARD) -> None:
    """Write the figures of the report into the model card, between its two markers.

    Args:
        settings: Settings of the recipe.
        path: The card.

    Raises:
        ValueError: If the card lacks a marker.
    """
    text = path.read_text(encoding="utf-8")
    if _BEGIN not in text or _END not in text:
        raise ValueError(f"{path} lacks {_BEGIN} and {_END}; add them where the figures should go")
    report = json.loads((settings.work / "report.json").read_text(encoding="utf-8"))
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.write_text(f"{before}{_BEGIN}\n{_table(report)}\n{_END}{after}", encoding="utf-8")


def _table(report: dict[str, Any]) -> str:
    """Return a Markdown table of the metric in percent, one row per collection and the mean."""
    names = ["first stage", *(name for name in report["mean"] if name != "first stage")]
    rows = [
        [
            f"{found['name']}, {found['queries']} queries",
            *(system["values"][_METRIC] for system in (found["first_stage"], *found["systems"])),
        ]
        for found in report["collections"]
    ]
    rows.append(["mean", *(report["mean"][name][_METRIC] for name in names)])
    lines = [["", *(name.partition(" @")[0] for name in names)], ["---"] * (len(names) + 1)]
    lines += [[name, *(f"{100 * value:.1f}" for value in values)] for name, *values in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
