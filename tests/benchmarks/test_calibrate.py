from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest

from benchmarks.calibrate import main
from rerank_core import Scale
from rerank_core.testing import ScriptedScorer
from support.collections import write_collection


def test_a_calibration_is_measured_beside_platt_and_on_another_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(0)
    for name in ("one", "two"):
        documents = {f"d{i}": f"text {draw.gauss(0, 3)}" for i in range(300)}
        queries = {f"q{i}": f"question {i}" for i in range(40)}
        runs, judgements = {}, {}
        for query in queries:
            found = draw.sample(sorted(documents), 12)
            runs[query] = {document: 12.0 - place for place, document in enumerate(found)}
            judgements[query] = {
                document: int(draw.random() < 1 / (1 + math.exp(-score)))
                for document in found
                for score in [float(documents[document].split()[-1])]
            }
        write_collection(tmp_path / name, documents, queries, judgements, {"bm25": runs})
    arguments = ["--data", str(tmp_path), "--collections", "one", "two", "--splits", "3"]
    monkeypatch.setattr("sys.argv", ["calibrate", *arguments])
    written = ScriptedScorer(
        lambda _, texts: [float(text.split()[-1]) for text in texts], scale=Scale.LOGIT
    )
    monkeypatch.setattr("benchmarks.calibrate.load_scorer", lambda _: written)
    main()
    halves, across = capsys.readouterr().out.split("fitted on all the others\n")
    for part, rows in ((halves, 4), (across, 2)):
        found = re.findall(r"^(?:one|two|mean|median) .*", part, re.MULTILINE)
        assert len(found) == rows
        for line in found:  # labels follow from the score alone, as Platt has it
            error, peer_error, skill, peer_skill, area, peer_area = map(
                float, re.findall(r"-?\d\.\d{3}", line)
            )
            assert error < 0.12
            assert peer_error < 0.12
            assert skill == pytest.approx(peer_skill, abs=0.05)
            assert 0.2 < skill < 0.8
            assert min(area, peer_area) > 0.5
