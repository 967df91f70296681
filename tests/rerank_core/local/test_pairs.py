from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rerank_core import (
    Cached,
    ConfigurationError,
    OnnxCrossEncoder,
    Scorer,
    StopScoring,
    TorchCrossEncoder,
    Windowed,
    arerank,
)
from rerank_core._local.files import embedded_tokenizer
from rerank_core._local.pairs import ROUND, PairEncoder, read_ends
from support.models import WORDS, TinyModel

FAMILIES = ["bert", "roberta", "xlm-roberta", "modernbert"]


def tokenizer_of(model: TinyModel) -> Tokenizer:
    return Tokenizer.from_file(str(model.onnx / "tokenizer.json"))


def laid_out(encoder: PairEncoder, query: str, text: str) -> tuple[list[int], list[int]]:
    encoded = encoder.encode(query, [text])
    head = encoded.heads[0]
    ids = [*head.ids, *encoded.texts[0], *encoded.tail]
    types = [
        *head.types,
        *[encoded.text_type] * len(encoded.texts[0]),
        *encoded.tail_types,
    ]
    assert encoded.length(0) == len(ids)
    return [int(i) for i in ids], [int(t) for t in types]


@pytest.mark.parametrize("family", FAMILIES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(min_size=1, max_size=30), text=st.text(min_size=1, max_size=60))
def test_the_layout_is_the_tokenizers_own(
    tiny: Callable[..., TinyModel], family: str, query: str, text: str
) -> None:
    query, text = (t.encode("utf-8", "ignore").decode() for t in (query, text))
    reference = tokenizer_of(tiny(family))
    encoder = PairEncoder(tokenizer_of(tiny(family)), max_length=512)
    reference.no_truncation()
    reference.no_padding()
    expected = reference.encode(query, text)
    assert laid_out(encoder, query, text) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_text_is_cut(tiny: Callable[..., TinyModel], family: str) -> None:
    long = " ".join(WORDS * 3)
    whole = PairEncoder(tokenizer_of(tiny(family)), 4096).encode("drug discovery", [long])
    encoded = PairEncoder(tokenizer_of(tiny(family)), 32).encode("drug discovery", [long, "list"])
    assert encoded.truncated == {0}
    assert encoded.length(0) == 32
    assert np.array_equal(encoded.heads[0].ids, whole.heads[0].ids)
    assert encoded.truncated_queries == frozenset()
    assert np.array_equal(encoded.tail, whole.tail)
    assert np.array_equal(encoded.texts[0], whole.texts[0][: len(encoded.texts[0])])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text",
    [" ".join(WORDS * 200), " " * 20_000 + "drug discovery list", "drug" + "\n" * 50_000 + "list"],
)
def test_a_very_long_text_reads_as_if_it_had_been_read_whole(
    tiny: Callable[..., TinyModel], family: str, text: str
) -> None:
    encoder = PairEncoder(tokenizer_of(tiny(family)), 32)
    whole = PairEncoder(tokenizer_of(tiny(family)), 10**6).encode("drug", [text]).texts[0]
    encoded = encoder.encode("drug", ["list", text])
    kept = encoded.texts[1]
    assert np.array_equal(kept, whole[: len(kept)])
    assert (encoded.truncated == {1}) == (len(whole) > len(kept))


def test_a_cut_text_reads_as_its_first_tokens(tiny: Callable[..., TinyModel]) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 64)
    text = "Drug   discovery, molecule; protein"
    cut = encoder.cut(text, 3)
    assert text.startswith(cut)
    first, second = encoder.encode("q", [text, cut]).texts
    assert np.array_equal(second, first[:3])


def layout(encoder: PairEncoder, query: str, texts: list[str]) -> list[tuple[int, int, int]]:
    """Tokens of the query and of the text, and of the pair, for each text."""
    encoded = encoder.encode(query, texts)
    special = len(encoder.encode("a", ["a"]).heads[0].ids) - 1
    return [
        (len(head.ids) - special, len(text), encoded.length(row))
        for row, (head, text) in enumerate(zip(encoded.heads, encoded.texts, strict=True))
    ]


def test_the_text_yields_to_half_then_the_query(tiny: Callable[..., TinyModel]) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 32)  # three special tokens: room for 29
    texts = [" ".join(WORDS[:count]) for count in (2, 20, 40)]
    by_length = {count: layout(encoder, " ".join(WORDS[:count]), texts) for count in (5, 20, 60)}
    assert by_length[5] == [(5, 2, 10), (5, 20, 28), (5, 24, 32)]
    assert by_length[20] == [(20, 2, 25), (13, 16, 32), (13, 16, 32)]
    assert by_length[60] == [(27, 2, 32), (13, 16, 32), (13, 16, 32)]
    encoded = encoder.encode(" ".join(WORDS[:20]), texts)
    assert encoded.truncated == {1, 2}
    assert encoded.truncated_queries == {1, 2}


def test_a_query_loses_its_middle(tiny: Callable[..., TinyModel]) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 32)
    words = WORDS[:40]
    (head,) = encoder.encode(" ".join(words), [" ".join(WORDS)]).heads
    assert head.query == " ".join([*words[:7], *words[-6:]])


@pytest.mark.parametrize("family", FAMILIES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(min_size=1, max_size=80), text=st.text(min_size=1, max_size=80))
def test_a_pair_that_fits_is_whole_and_one_that_does_not_is_full(
    tiny: Callable[..., TinyModel], family: str, query: str, text: str
) -> None:
    query, text = (t.encode("utf-8", "ignore").decode() for t in (query, text))
    tokenizer = tokenizer_of(tiny(family))
    encoder, whole = PairEncoder(tokenizer, 24), PairEncoder(tokenizer_of(tiny(family)), 4096)
    encoded, complete = encoder.encode(query, [text]), whole.encode(query, [text])
    assert encoded.length(0) <= 24
    fits = complete.length(0) <= 24
    assert (not encoded.truncated and not encoded.truncated_queries) == fits
    if fits:
        assert np.array_equal(encoded.heads[0].ids, complete.heads[0].ids)
        assert np.array_equal(encoded.texts[0], complete.texts[0])


def test_a_query_of_a_million_characters_is_read_at_its_ends(
    tiny: Callable[..., TinyModel],
) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 32)
    words = ["drug", *["list"] * 200_000, "river"]
    encoded = encoder.encode(" ".join(words), ["a", "python " * 50])
    assert encoded.truncated_queries == {0, 1}
    for head in encoded.heads:
        assert (head.query[:4], head.query[-5:]) == ("drug", "river")
        assert len(head.query) < 200
    sparse = encoder.encode(("drug" + " " * 200) * 5000, [" ".join(WORDS[:n]) for n in range(40)])
    assert len({head.query for head in sparse.heads}) > 10
    assert max(len(head.query) for head in sparse.heads) < 200
    blank = "drug" + " " * 1_000_000 + "river"
    assert encoder.encode(blank, ["a"]).truncated_queries == frozenset()


SPACES = st.text(st.sampled_from(" \t\n\u3000"), max_size=400)


@settings(max_examples=100)
@given(
    st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=90), min_size=1, max_size=60),
    st.lists(SPACES, min_size=61, max_size=61),
    st.integers(1, 12),
)
def test_the_ends_are_those_of_the_text_without_its_long_gaps(
    words: list[str], gaps: list[str], length: int
) -> None:
    joined = "".join(f"{gap}{word} " for word, gap in zip(words, gaps, strict=False))
    text = joined[: -1 if gaps[-1] else None] + gaps[-1]
    tokenizer = embedded_tokenizer()
    limit = (length + 64) * 16
    read = read_ends(tokenizer, text, length)
    close = re.sub(r"\s+", " ", text) if len(text) > 2 * limit else text
    ends = close if len(close) <= 2 * limit else f"{close[:limit]} {close[-limit:]}"
    if len(tokenizer.encode(ends, add_special_tokens=False).ids) >= length or ends == close:
        assert (read.text, read.whole) == (ends, ends == close)
    encoded = tokenizer.encode(read.text, add_special_tokens=False)
    assert (read.ids, read.offsets) == (encoded.ids, encoded.offsets)
    assert read.whole or len(read.ids) >= length


@pytest.mark.parametrize("word", ["a" * 200_000, "\u200b" * 200_000 + "a"])
def test_an_endless_word_is_read_whole(tiny: Callable[..., TinyModel], word: str) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 32)
    encoded = encoder.encode(word, ["a"])
    assert (encoded.truncated_queries, encoded.heads[0].query) == (frozenset(), word)
    part = encoder.cut("list " * 3 + word, 2)
    assert part == "list list"


LONG = {
    "words": ("plants eat light " * 300_000, 2),
    "letters": ("á " * 2_500_000, 2),
    "gap": ("plants" + " " * 5_000_000 + "light", 0),
    "unseen": ("\u200b" * 300_000 + "light", 0),
    "one word": ("a" * 300_000, 0),
}


async def longest_wait(query: str, scorer: Scorer, cut: int) -> float:
    """Rank with a long query, and return the longest time that the event loop stood still."""
    scorer.load()
    asked = asyncio.create_task(arerank(query, ["Plants use light.", "Cats purr."], scorer))
    longest = 0.0
    while not asked.done():
        before = time.perf_counter()
        await asyncio.wait({asked}, timeout=0.001)
        longest = max(longest, time.perf_counter() - before)
    usage = asked.result().usage
    assert (usage.pairs, usage.truncated_queries) == (2, cut)
    return longest


@pytest.mark.parametrize(("query", "cut"), LONG.values(), ids=LONG)
async def test_a_query_of_millions_of_characters_leaves_the_event_loop_free(
    query: str, cut: int
) -> None:
    assert await longest_wait(query, OnnxCrossEncoder("nano"), cut) < 0.4


@pytest.mark.parametrize("wrap", [Windowed, Cached])
async def test_so_it_does_around_a_scorer(wrap: Callable[[Scorer], Scorer]) -> None:
    assert await longest_wait(LONG["words"][0], wrap(OnnxCrossEncoder("nano")), 2) < 0.4


def test_a_length_without_room_is_refused(tiny: Callable[..., TinyModel]) -> None:
    with pytest.raises(ConfigurationError, match="at least 5"):
        PairEncoder(tokenizer_of(tiny()), 4)


def test_many_texts_are_encoded_in_order(tiny: Callable[..., TinyModel]) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 64)
    texts = [" ".join(WORDS[: 1 + i % 20]) for i in range(700)]
    together = encoder.encode("q", texts).texts
    assert len(together) == 700
    for i in (0, 255, 256, 511, 512, 699):
        assert np.array_equal(together[i], encoder.encode("q", [texts[i]]).texts[0])


def test_what_tick_raises_ends_the_tokenising(tiny: Callable[..., TinyModel]) -> None:
    encoder = PairEncoder(tokenizer_of(tiny()), 32)
    asked: list[int] = []

    def tick() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise StopScoring

    with pytest.raises(StopScoring):
        encoder.encode("drug", ["list"] * 10**6, tick)
    assert len(encoder.encode("drug", ["list"] * 1000, lambda: None).texts) == 1000


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_long_list_is_not_read_whole_before_its_first_is_scored(
    tiny: Callable[..., TinyModel], kind: str
) -> None:
    told: list[int] = []  # once for each 64 texts that are read, and for each batch

    def stop(done: int, total: int) -> None:
        assert total == 2000
        told.append(done)
        if done:
            raise StopScoring

    model = str(tiny().onnx if kind == "onnx" else tiny().torch)
    scorer = OnnxCrossEncoder(model) if kind == "onnx" else TorchCrossEncoder(model, device="cpu")
    scoring = scorer.score("drug", [f"drug {number}" for number in range(2000)], progress=stop)
    assert scoring.scores[0] is not None
    assert scoring.scores[-1] is None
    assert 0 < told.count(0) <= ROUND / 64


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_rounds_do_not_show(tiny: Callable[..., TinyModel], kind: str) -> None:
    model = str(tiny().onnx if kind == "onnx" else tiny().torch)
    scorer = OnnxCrossEncoder(model) if kind == "onnx" else TorchCrossEncoder(model, device="cpu")
    texts = [f"drug {' '.join(WORDS[: number % 30])} {number}" for number in range(2 * ROUND + 9)]
    whole = scorer.score("drug", texts)
    assert whole.usage.pairs == len(texts)
    for at in (0, ROUND - 1, ROUND, 2 * ROUND, len(texts) - 1):
        (alone,) = scorer.score("drug", [texts[at]]).scores
        assert whole.scores[at] == pytest.approx(alone, abs=1e-5)
    halves = scorer.score_many(["drug", "drug"], [texts[:300], texts[300:]])
    together = [score for scoring in halves for score in scoring.scores]
    assert together == pytest.approx(whole.scores, abs=1e-5)
