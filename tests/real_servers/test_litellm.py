"""CohereScorer through a real LiteLLM proxy, which passes requests on to stand-ins.

Runs where LiteLLM's command is found, on the PATH or in ``LITELLM``:

```
python3 -m venv litellm
litellm/bin/pip install "litellm[proxy]==1.106.2"
LITELLM=litellm/bin/litellm python -m pytest tests/real_servers -k litellm
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rerank_core import CohereScorer
from rerank_core.testing import ScriptedServer
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, run
from support.dialects import DIALECTS
from support.processes import free_port, running

COMMAND = os.environ.get("LITELLM") or shutil.which("litellm")
pytestmark = pytest.mark.skipif(COMMAND is None, reason="litellm is not installed")

PROVIDERS = {"cohere": "cohere", "infinity": "infinity", "vllm": "hosted_vllm"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert COMMAND is not None
    dialects = {dialect.name: dialect for dialect in DIALECTS}
    port = free_port()
    with ExitStack() as stack:
        models = []
        for name, provider in PROVIDERS.items():
            backend = stack.enter_context(ScriptedServer(respond=dialects[name].answer))
            goal = {"model": f"{provider}/m", "api_base": backend.url, "api_key": "backend-key"}
            models.append({"model_name": name, "litellm_params": goal})
        config: Path = tmp_path_factory.mktemp("litellm") / "config.json"
        general = {"master_key": KEY}
        config.write_text(json.dumps({"model_list": models, "general_settings": general}))
        command = [COMMAND, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        stack.enter_context(running(command, settings, ready="Uvicorn running"))
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("mode", ["score", "ascore"])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("model", list(PROVIDERS))
def test_it_passes_scores_and_usage_on(proxy: str, model: str, path: str, mode: str) -> None:
    scorer = CohereScorer(model, base_url=proxy, path=path, api_key=KEY)
    scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == SCORES
    if model == "cohere":
        assert scoring.usage.billed_units == {"search_units": 1.0}
    else:
        assert scoring.usage.tokens == 42


def test_its_refusals_are_explained(proxy: str) -> None:
    error = failure(CohereScorer("unknown", base_url=proxy, api_key=KEY), "score")
    assert not error.retryable
    assert "unknown" in str(error)
    assert KEY not in str(error)
