"""A profile means the same to the core, both adapters and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ValidationError
from typer.testing import CliRunner

from langchain_rerank import RerankRetriever
from rerank_core import ConfigurationError, Profile, rerank
from rerank_core.cli._app import app
from support.adapters import BOTH, Harness
from support.collections import write_collection

QUERY = "green tea"
TEXTS = ("black coffee", "green tea", "", "green paint", "tea", "a green cup of tea", "milk")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    Profile(scorer="nano", depth=6, blend="rrf:0.4", min_score=0.0155, trim="budget=10").write(path)
    return path


def test_the_core_the_adapters_and_the_command_give_the_same(profile: Path) -> None:
    expected = [(item.text, item.score) for item in rerank(QUERY, TEXTS, **_options(profile))]
    assert 1 < len(expected) < len(TEXTS)
    for harness in BOTH:
        adapter = harness.adapter.from_profile(profile, top_n=None)
        inputs = harness.inputs(TEXTS, range(len(TEXTS), 0, -1), {})
        results = harness.results(harness.run(adapter, QUERY, inputs))
        assert [(result.text, result.score) for result in results] == expected
    result = _rank("--profile", profile)
    assert [(r["text"], r.get("relevance_score")) for r in result] == expected


def test_an_option_replaces_that_of_the_profile(profile: Path) -> None:
    expected = [
        (item.text, item.score)
        for item in rerank(QUERY, TEXTS, **{**_options(profile), "depth": 2, "min_score": 0.0})
    ]
    for harness in BOTH:
        adapter = harness.adapter.from_profile(str(profile), depth=2, min_score=0.0, top_n=None)
        inputs = harness.inputs(TEXTS, range(len(TEXTS), 0, -1), {})
        results = harness.results(harness.run(adapter, QUERY, inputs))
        assert [(result.text, result.score) for result in results] == expected
    result = _rank("--profile", profile, "--depth", "2", "--min-score", "0")
    assert [(r["text"], r.get("relevance_score")) for r in result] == expected


@pytest.mark.parametrize("harness", BOTH)
def test_an_adapter_refuses_what_is_wrong(harness: Harness, profile: Path) -> None:
    with pytest.raises(ValidationError, match="'topn'; did you mean 'top_n'"):
        harness.adapter.from_profile(profile, topn=3)
    profile.write_text('{"profile": 1, "scorer": "nano", "deph": 3}')
    with pytest.raises(ConfigurationError, match="did you mean 'depth'"):
        harness.adapter.from_profile(profile)


class Asked(BaseRetriever):
    """Returns as many texts as it is asked for."""

    k: int = 3

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        del query
        return [Document(text) for text in (TEXTS * 2)[: self.k]]


def test_the_depth_is_what_a_retriever_fetches(profile: Path) -> None:
    retriever = RerankRetriever.from_profile(profile, base_retriever=Asked(), min_score=None)
    assert (retriever.fetch_k, retriever.compressor.depth) == (6, 6)
    assert [d.page_content for d in retriever.invoke(QUERY)] == [
        item.text for item in rerank(QUERY, TEXTS[:6], **_options(profile, min_score=None), top_n=5)
    ]
    other = RerankRetriever.from_profile(profile, base_retriever=Asked(), fetch_k=9, k=2)
    assert (other.fetch_k, other.compressor.depth, other.k) == (9, 6, 2)
    assert RerankRetriever.from_profile(profile, base_retriever=Asked(), depth=4).fetch_k == 4
    with pytest.raises(ConfigurationError, match="top_n of a RerankRetriever is called k"):
        RerankRetriever.from_profile(profile, base_retriever=Asked(), top_n=4)


def test_eval_compares_a_profile(profile: Path, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "small")
    command = ["eval", str(folder), "--first-stage", "run:first", "--resamples", "200"]
    command += ["--json", "-", "--profile", str(profile)]
    alone = json.loads(CliRunner().invoke(app, command).stdout)
    assert [s["name"] for s in alone["collections"][0]["systems"]] == ["mine + rrf:0.4 @6"]
    command += ["--scorer", "nano", "--depth", "2"]
    both = json.loads(CliRunner().invoke(app, command).stdout)
    names = [system["name"] for system in both["collections"][0]["systems"]]
    assert names == ["mine + rrf:0.4 @2", "nano @2"]


@pytest.mark.parametrize("command", [["rank", "-q", QUERY], ["eval", "--sample"]])
def test_a_command_refuses_what_is_wrong(command: list[str], profile: Path) -> None:
    profile.write_text('{"profile": 7, "scorer": "nano"}')
    result = CliRunner().invoke(app, [*command, "--profile", str(profile)])
    assert result.exit_code == 2
    assert f'profile {profile}: "profile" is version 7' in " ".join(result.stderr.split())


def _options(path: Path, **others: Any) -> dict[str, Any]:
    return {**Profile.read(path).options, **others}


def _rank(*options: object) -> list[dict[str, Any]]:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    result = CliRunner().invoke(app, ["rank", "-q", QUERY, *map(str, options)], input=lines)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
