"""CohereScorer against a real Infinity server, and the same weights under torch in this process.

Runs where Infinity's command is found, on the PATH or in ``INFINITY_EMB``; it needs an older
transformers than this project, so it lives in an environment of its own:

```
python3 -m venv infinity
infinity/bin/pip install -c constraints-dev.txt "infinity-emb[server,torch]==0.0.78"
INFINITY_EMB=infinity/bin/infinity_emb python -m pytest tests/real_servers -k infinity
```
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rerank_core import (
    AuthenticationError,
    CohereScorer,
    Scale,
    ServiceError,
    TorchCrossEncoder,
    rerank,
)
from support.cohere_runs import KEY, failure, run
from support.models import TinyModel
from support.processes import free_port, running

COMMAND = os.environ.get("INFINITY_EMB") or shutil.which("infinity_emb")
pytestmark = pytest.mark.skipif(COMMAND is None, reason="infinity_emb is not installed")

QUERY = "what is drug discovery"
TEXTS = [
    "river mountain weather storm",
    "deep learning model for drug discovery",
    "",
    "the python list error string file",
    "drug",
    "market price stock",
    "health care patient hospital",
]


@contextmanager
def infinity(model: TinyModel, *options: str) -> Iterator[str]:
    assert COMMAND is not None
    port = free_port()
    command = [
        *(COMMAND, "v2", "--model-id", str(model.torch), "--served-model-name", "tiny"),
        *("--engine", "torch", "--device", "cpu", "--no-bettertransformer"),
        *("--no-model-warmup", "--host", "127.0.0.1", "--port", str(port), *options),
    ]
    settings = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with running(command, settings, ready="Uvicorn running"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(tiny: Callable[..., TinyModel]) -> Iterator[str]:
    with infinity(tiny("bert")) as url:
        yield url


@pytest.mark.parametrize("mode", ["score", "ascore"])
@pytest.mark.parametrize("raw", [False, True])
def test_it_scores_as_torch_does(
    server: str, tiny: Callable[..., TinyModel], mode: str, raw: bool
) -> None:
    remote = CohereScorer(
        "tiny",
        base_url=server,
        path="/rerank",
        raw_scores=raw,
        extra_body={"raw_scores": True} if raw else None,
        prices={"million_tokens": 1e6},
    )
    local = TorchCrossEncoder(
        str(tiny("bert").torch), device="cpu", activation="identity" if raw else "sigmoid"
    )
    found, expected = run(remote, mode, QUERY, TEXTS), local.score(QUERY, TEXTS)
    for one, other in zip(found.scores, expected.scores, strict=True):
        assert one == (None if other is None else pytest.approx(other, abs=1e-5))
    assert remote.scale is local.scale is (Scale.LOGIT if raw else Scale.UNIT)
    order = [[item.index for item in rerank(QUERY, TEXTS, scorer)] for scorer in (remote, local)]
    assert order[0] == order[1]
    assert found.usage.tokens > 0
    assert found.usage.cost == pytest.approx(found.usage.tokens)


def test_more_texts_than_one_request_holds(server: str, tiny: Callable[..., TinyModel]) -> None:
    texts = [f"{TEXTS[i % 2]} {'drug ' * (i % 7)}{i}" for i in range(1001)]
    remote = CohereScorer("tiny", base_url=server, path="/rerank").score(QUERY, texts)
    local = TorchCrossEncoder(str(tiny("bert").torch), device="cpu", activation="sigmoid")
    assert remote.scores == pytest.approx(local.score(QUERY, texts).scores, abs=1e-5)
    assert remote.usage.requests == 2


@pytest.mark.parametrize("mode", ["score", "ascore"])
def test_its_refusals_are_explained(server: str, mode: str) -> None:
    odd = CohereScorer(
        "tiny", base_url=server, path="/rerank", extra_body={"raw_scores": "perhaps"}
    )
    refused = failure(odd, mode)
    assert type(refused) is ServiceError
    assert refused.status_code == 422
    assert "raw_scores" in str(refused)
    lost = failure(CohereScorer("tiny", base_url=server), mode)
    assert lost.status_code == 404
    assert "'/v2/rerank' is added to it" in str(lost)


def test_behind_a_prefix_and_a_key(tiny: Callable[..., TinyModel]) -> None:
    with infinity(tiny("bert"), "--url-prefix", "/v1", "--api-key", KEY) as url:
        places = [(url, "/v1/rerank"), (f"{url}/v1", "/rerank"), (f"{url}/v1/rerank", "")]
        for base_url, path in places:
            scorer = CohereScorer("tiny", base_url=base_url, path=path, api_key=KEY)
            assert len(scorer.score(QUERY, TEXTS).scores) == len(TEXTS)
        locked = CohereScorer("tiny", base_url=url, path="/v1/rerank", api_key=False)
        assert isinstance(failure(locked, "score"), AuthenticationError)
