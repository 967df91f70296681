from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerank_core import (
    Blend,
    Budget,
    Cascade,
    CohereScorer,
    ConfigurationError,
    Excerpt,
    OnnxCrossEncoder,
    Profile,
)
from rerank_core.testing import OverlapScorer

PLAIN = {"profile": 1, "scorer": {"type": "onnx", "model": "nano"}}


def full() -> Profile:
    short = OnnxCrossEncoder("nano", max_length=64)
    return Profile(
        scorer=Cascade([(short, 3), OnnxCrossEncoder("nano")]),
        depth=40,
        blend="rrf:0.3",
        min_score=0.25,
        trim=["excerpt", "budget=900"],
        found={"collection": "pets", "figures": {"nDCG@10": 0.5, "interval": [0.1, None]}},
    )


def test_a_profile_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    full().write(path)
    read = Profile.read(str(path))
    assert read == full()
    assert read.blend == Blend("rrf", 0.3)
    assert read.trim == (Excerpt(), Budget(900))
    assert read.scorer["stages"][0][1] == 3
    read.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert set(json.loads(path.read_bytes())) == {
        "profile", "scorer", "depth", "blend", "min_score", "trim", "found",
    }  # fmt: skip
    assert len([*tmp_path.iterdir()]) == 2  # no draft stays


def test_a_short_profile_has_the_defaults_of_rerank(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PLAIN))
    assert Profile.read(path) == Profile(scorer="nano")
    assert Profile(scorer="nano").options == {
        "scorer": {"type": "onnx", "model": "nano"},
        "depth": None,
        "blend": None,
        "min_score": None,
        "trim": (),
    }


def test_it_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    profile = Profile(scorer=CohereScorer("rerank-v5.0-fast", api_key="secret-key-1234"))
    profile.write(path)
    assert "secret" not in path.read_text() + repr(profile)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": 2}, '"profile" is version 2, and this release reads version 1'),
        ({"profile": True}, '"profile" is version True'),
        ({"profile": 1.0}, '"profile" is version 1.0'),
        ({"deph": 5}, "has an unknown key, 'deph'; did you mean 'depth'"),
        ({"top_n": 5}, "has an unknown key, 'top_n'"),
        ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ({"blend": "best"}, "method must be one of"),
        ({"min_score": "0.5"}, "min_score must be a finite number"),
        ({"trim": ["exerpt"]}, "trim[0]: there is no trimmer 'exerpt'"),
        ({"scorer": {"type": "nano"}}, "has type 'nano'"),
        ({"found": 3}, "found must be a mapping"),
    ],
)
def test_a_wrong_value_is_refused_with_its_file_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(PLAIN | change))
    with pytest.raises(ConfigurationError) as caught:
        Profile.read(path)
    assert str(caught.value).startswith(f"profile {path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        (b"[1]", "is no profile"),
        (b"{}", "is no profile"),
        (b'{"profile": 1}', 'has no "scorer"'),
        (b'{"profile": 1, "scorer": "nano", "min_score": NaN}', "holds NaN"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * ((1 << 20) + 1), "is larger than 1,048,576 bytes"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"^profile .*odd\.json: ") as caught:
        Profile.read(path)
    assert message in str(caught.value)


def test_what_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="has type 'overlap'"):
        Profile(scorer=OverlapScorer())
    with pytest.raises(ConfigurationError, match="found must hold plain JSON"):
        Profile(scorer="nano", found={"value": float("nan")})
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Profile(scorer="nano", trim=[Budget(5, len)])
