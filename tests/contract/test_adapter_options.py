"""Both adapters: the same options, refused, written and read back alike; light imports."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from rerank_core import Blend, ConfigurationError
from rerank_core._remote.cohere import CohereScorer
from rerank_core.testing import ScriptedScorer
from support.adapters import BOTH, Harness, pairs
from support.scorers import BlockingScorer

QUERY = "green tea"
TEXTS = ("black coffee", "green tea", "", "green paint", "tea", "green tea")


@pytest.fixture(params=BOTH, ids=["langchain", "llamaindex"])
def harness(request: pytest.FixtureRequest) -> Harness:
    found = request.param
    assert isinstance(found, Harness)
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topn": 3}, "'topn'; did you mean 'top_n'"),
        ({"top_k": 3}, "'top_k'; did you mean top_n (how many are kept) or depth"),
        ({"model": "nano"}, "'model'; did you mean scorer"),
        ({"scorer": "nanoo"}, "did you mean 'nano'"),
        ({"scorer": "cohere"}, "did you mean 'cohere:"),
        ({"depth": 0}, "depth must be"),
        ({"distinct_ids": 1}, "distinct_ids must be True or False"),
        ({"top_n": 0}, "top_n must be"),
        ({"top_n": -1}, "top_n must be"),
        ({"top_n": "3"}, "top_n must be"),
        ({"top_n": True}, "top_n must be"),
        ({"top_n": 2.0}, "top_n must be"),
        ({"min_score": float("nan")}, "min_score must be"),
        ({"min_score": "0.5"}, "min_score must be"),
        ({"max_tokens": 0, "count_tokens": len}, "max_tokens must be"),
        ({"count_tokens": 4}, "count_tokens must be a name such as 'nano'"),
        ({"count_tokens": "nan"}, "count_tokens: there is no counter 'nan'; did you mean 'nano'"),
        ({"trim": ["exerpt"]}, "trim[0]: there is no trimmer 'exerpt'; did you mean 'excerpt'"),
        ({"trim": ["budget=x"]}, "tokens must be a number, not 'x'"),
        ({"trim": ["excerpt", 4]}, "trim[1] must be a trimmer, a name such as"),
        ({"trim": 4}, "trim must be a list such as"),
        ({"trim": [{"type": "excerpt", "dorp": 0.1}]}, "dorp"),
        ({"trim_key": ""}, "trim_key must be None or the name"),
        ({"blend": "best"}, "method must be one of"),
        ({"blend": 0.5}, "blend must be"),
        ({"blend": {"method": "rrf", "wieght": 0.5}}, "wieght"),
        ({"score_key": ""}, "score_key must be"),
        ({"scorer": "no-such-scorer"}, "no-such-scorer"),
        ({"scorer": 3}, "scorer"),
    ],
)
def test_a_wrong_argument_is_refused_and_named(
    harness: Harness, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        harness.make(**arguments)
    assert message in str(caught.value)


def test_an_assignment_is_checked_too(harness: Harness) -> None:
    adapter = harness.make()
    with pytest.raises(ValidationError, match="top_n must be"):
        adapter.top_n = 0
    adapter.top_n = np.int64(2)
    assert type(adapter.top_n) is int


def test_a_refused_argument_does_not_show_its_value(harness: Harness) -> None:
    with pytest.raises(ValidationError) as caught:
        harness.make(api_key="s3cret", scorer={"type": "nonsense", "api_key": "s3cret"})
    assert "api_key" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("blend", [None, "rrf:0.3", {"method": "zscore", "weight": 0.25}])
def test_a_written_adapter_comes_back_whole(harness: Harness, blend: Any) -> None:
    scorer = CohereScorer("rerank-v3.5", api_key="s3cret", base_url="https://rerank.internal/v1")
    adapter = harness.make(
        scorer=scorer, top_n=3, min_score=np.float32(0.5), blend=blend, score_key="s"
    )
    written = json.dumps(adapter.to_dict())
    assert "https://rerank.internal/v1" in written
    assert "s3cret" not in written + repr(adapter) + str(adapter)
    assert b"s3cret" not in pickle.dumps(adapter)
    for again in (
        harness.adapter.from_dict(json.loads(written)),
        harness.adapter.model_validate(adapter.model_dump()),
        harness.adapter.model_validate_json(adapter.model_dump_json()),
    ):
        assert again.to_dict() == adapter.to_dict()
        assert again.blend == adapter.blend
        assert isinstance(again.scorer, CohereScorer)


def test_only_the_first_inputs_are_scored(harness: Harness) -> None:
    adapter = harness.make(depth=2, top_n=None)
    results = harness.results(harness.run(adapter, QUERY, harness.inputs(TEXTS, range(6), {})))
    assert pairs(results) == [
        ("green tea", 1.0),
        ("black coffee", 0.0),
        *((text, None) for text in TEXTS[2:]),
    ]


@pytest.mark.parametrize(
    "arguments", [{"scorer": ScriptedScorer({})}, {"count_tokens": len, "max_tokens": 9}]
)
def test_what_cannot_be_written_fails_loudly(harness: Harness, arguments: dict[str, Any]) -> None:
    adapter = harness.make(**arguments)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        adapter.to_dict()
    with pytest.raises(PydanticSerializationError, match="cannot be written"):
        adapter.model_dump()


def test_a_pickled_adapter_works_as_before(harness: Harness) -> None:
    adapter = harness.make(top_n=2, blend=Blend("rrf", weight=0.25))
    again = pickle.loads(pickle.dumps(adapter))
    inputs = harness.inputs(TEXTS, range(6), {})
    assert pairs(harness.results(harness.run(again, QUERY, inputs))) == pairs(
        harness.results(harness.run(adapter, QUERY, inputs))
    )
    assert again.scorer.calls == [(QUERY, adapter.scorer.calls[0][1])]


def test_a_scorer_that_cannot_be_pickled_is_not_replaced(harness: Harness) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(harness.make(scorer=BlockingScorer()))


@pytest.mark.parametrize("package", ["langchain_rerank", "llamaindex_rerank"])
def test_import_loads_no_model_library(package: str) -> None:
    heavy = ["onnxruntime", "tokenizers", "torch", "cohere", "sentence_transformers"]
    code = f"import sys, {package}; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [
        ("langchain_rerank", "langchain_core", "langchain"),
        ("llamaindex_rerank", "llama_index", "llamaindex"),
    ],
)
def test_a_missing_framework_is_named_with_its_install_line(
    package: str, framework: str, extra: str
) -> None:
    done = run_python(f"import sys; sys.modules[{framework!r}] = None; import {package}")
    assert done.returncode == 1
    assert f'MissingExtraError: {package} needs an extra: pip install "rerank-core[{extra}]"' in (
        done.stderr
    )


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
