"""Share of the answers that excerpts and budgets keep, and the cost of an excerpt.

    python -m benchmarks.trim --data DIR

`DIR` holds the test collection ``wikiqa_test`` in BEIR's layout. The sentences of an article are
one text, in order; the sentences that are labelled are what must remain of it. With ``--write``
this collection of articles is written for ``rerank eval --trim``, and nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np

from rerank_core import (
    Budget,
    Excerpt,
    Ranking,
    Scorer,
    TrimContext,
    Trimmer,
    load_scorer,
    rerank,
)
from rerank_core._reranking import rerank_passages
from rerank_core._trimming.base import Passage, Step, shorten
from rerank_core._trimming.sentences import split
from rerank_core._trimming.tokens import make_counter
from rerank_core.evaluation import (
    Collection,
    System,
    Task,
    evaluate,
    first_stage,
    read_collection,
)
from rerank_core.evaluation._statistics import difference
from rerank_core.evaluation._trim import is_answered

FOLDS, SAMPLES, STEPS = 10, 10_000, 100
CANDIDATES, TOKENS = 10, 500

Keep = Callable[[float], tuple[bool, float]]
"""From a threshold in 0 to 1 to whether an answer stays, and the share of words that is cut."""


def articles(sentences: Collection) -> Collection:
    """Join the sentences of each article; those that answer are its answers.

    Questions are left out whose answers are in several articles, or fill one.
    """
    parts: dict[str, list[str]] = defaultdict(list)
    for name in sorted(sentences.documents, key=lambda name: int(name.split("-")[1])):
        parts[name.split("-")[0]].append(name)
    headers = {article: sentences.headers[names[0]] for article, names in parts.items()}
    texts, places = {}, {}
    for article, names in parts.items():
        text = ""
        for name in names:
            text += " " if text else ""
            places[name] = (len(text), len(text) + len(sentences.own_text(name)))
            text += sentences.own_text(name)
        texts[article] = text
    queries, answers = {}, {}
    for query in sentences.evaluated:
        right = [name for name, grade in sentences.judgements[query].items() if grade]
        (article, *others) = {name.split("-")[0] for name in right}
        if not others and len(right) < len(parts[article]):
            queries[query] = sentences.queries[query]
            answers[query] = {article: [places[name] for name in sorted(right)]}
    return Collection(
        "wikiqa_articles",
        {article: headers[article] + text for article, text in texts.items()},
        queries,
        {query: dict.fromkeys(found, 1) for query, found in answers.items()},
        headers=headers,
        answers=answers,
    )


def write(collection: Collection, folder: Path) -> None:
    """Write a collection in the layout that ``rerank eval`` reads."""
    folder.mkdir(parents=True)
    documents = [
        {"_id": name, "title": collection.headers[name][:-2], "text": collection.own_text(name)}
        for name in collection.documents
    ]
    queries = [{"_id": name, "text": text} for name, text in collection.queries.items()]
    for file, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{file}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    judged = [(q, d, 1) for q, found in collection.judgements.items() for d in found]
    answers = [
        (q, d, *place)
        for q, found in collection.answers.items()
        for d, places in found.items()
        for place in places
    ]
    for name, header, table in (
        ("qrels", "query-id\tcorpus-id\tscore", judged),
        ("answers", "query-id\tcorpus-id\tstart\tend", answers),
    ):
        lines = [header, *("\t".join(map(str, row)) for row in table)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def by_excerpt(collection: Collection, query: str, scorer: Scorer, *, titled: bool) -> Keep:
    """Score the sentences as `Excerpt` does, once for all thresholds."""
    ((article, answers),) = collection.answers[query].items()
    header = collection.headers[article] if titled else ""
    text, asked = collection.own_text(article), collection.queries[query]
    passage = Passage(text, header, start=len(header))
    ranking = rerank_passages(asked, [header + text], [passage], scorer=scorer)
    context = TrimContext(asked, scorer, [passage])

    def keep(drop: float) -> tuple[bool, float]:
        (item,) = Excerpt(drop=drop).trim(ranking, context)
        return is_answered(item, answers), 1 - words(item.excerpt) / words(text)

    return keep


def by_sentence(collection: Collection, query: str, scorer: Scorer) -> Keep:
    """Score each sentence alone, without what it is about."""
    ((article, answers),) = collection.answers[query].items()
    text = collection.own_text(article)
    sentences = split(text)
    parts = [text[sentence.start : sentence.end] for sentence in sentences]
    scores = [score or 0.0 for score in scorer.score(collection.queries[query], parts).scores]
    (item,) = rerank(collection.queries[query], [text], scorer)

    def keep(drop: float) -> tuple[bool, float]:
        least = max(scores) - drop * (max(scores) - min(scores))
        kept = [s for s, score in zip(sentences, scores, strict=True) if score >= least]
        left = shorten(item, kept, " ")
        return is_answered(left, answers), 1 - words(left.excerpt) / words(text)

    return keep


def retention(keeps: Sequence[Keep], share: float) -> list[bool]:
    """Return for each question whether an answer stays where `share` of the words are cut.

    The threshold for a tenth of the questions is the one that cuts so much of the others.
    """
    grid = [step / STEPS for step in range(STEPS + 1)]
    table = [[keep(drop) for drop in grid] for keep in keeps]
    order = random.Random(0).sample(range(len(keeps)), len(keeps))
    answered = [False] * len(keeps)
    for fold in range(FOLDS):
        held_out = order[fold::FOLDS]
        others = [i for i in order if i not in held_out]
        chosen = max(
            (d for d in range(STEPS + 1) if fmean(table[i][d][1] for i in others) >= share),
            default=0,
        )
        for i in held_out:
            answered[i] = table[i][chosen][0]
    return answered


def interval(one: Sequence[bool], other: Sequence[bool]) -> str:
    """Return the difference of two shares in points, with a paired bootstrap interval of 95 %."""
    points = 100 * (np.array(one, float) - np.array(other, float))
    found = difference([points], resamples=SAMPLES, seed=0)
    return f"{found.mean:+.1f} points ({found.low:+.1f} to {found.high:+.1f})"


@dataclass(frozen=True)
class WholeTexts(Trimmer):
    """Keeps the first texts that fit a number of tokens together, as `top_n` would."""

    step = Step.FILL

    tokens: int

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:  # noqa: ARG002
        """Drop what no longer fits."""
        count = make_counter("nano")
        room, kept = self.tokens, []
        for item in ranking:
            room -= count(item.text)
            if room < 0:
                break
            kept.append(item)
        return replace(ranking, items=tuple(kept))


def in_context(collection: Collection, scorer: Scorer) -> dict[str, list[bool]]:
    """Return which questions are answered within the tokens, for each way to fill them."""
    task = Task(collection, first_stage("bm25", collection, CANDIDATES), (CANDIDATES,))
    ways: dict[str, list[Trimmer]] = {
        "whole texts": [WholeTexts(TOKENS)],
        "Budget": [Budget(TOKENS)],
        "Excerpt, Budget": [Excerpt(), Budget(TOKENS)],
    }
    found = {}
    for name, trim in ways.items():
        report = evaluate([task], [System(scorer)], resamples=100, trim=trim)
        trimming = report.collections[0].systems[0].trimming
        found[name] = [*trimming.answered.values()] if trimming else []
    return found


def cost(scorer: Scorer, rounds: int = 5) -> float:
    """Return the time of an excerpt of 5 texts of 300 words, by that of reranking 50 of them."""
    draw = random.Random(0)
    vocabulary = ["plant", "light", "sugar", "water", "leaf", "grow", "the", "of", "and", "in"]

    def sentence() -> str:
        return " ".join(draw.choices(vocabulary, k=20)).capitalize() + "."

    texts = [" ".join(sentence() for _ in range(15)) for _ in range(50)]
    query = "how do plants make sugar from light"
    context = [Passage(text) for text in texts[:5]]
    ranking = rerank(query, texts[:5], scorer)
    ratios = []
    for _ in range(rounds):
        began = time.perf_counter()
        scorer.score(query, texts)
        middle = time.perf_counter()
        Excerpt().trim(ranking, TrimContext(query, scorer, context))
        ratios.append((time.perf_counter() - middle) / (middle - began))
    return median(ratios)


def main() -> None:
    """Measure, and print a report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trim", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of test collections")
    parser.add_argument("--scorer", default="nano", help="default: nano")
    parser.add_argument("--queries", type=int, help="so many questions, drawn by seed 0")
    parser.add_argument("--write", type=Path, help="only write the articles to this new folder")
    options = parser.parse_args()
    collection = articles(read_collection(options.data / "wikiqa_test"))
    if options.write is not None:
        write(collection, options.write)
        return
    queries = [*collection.queries]
    if options.queries is not None:
        queries = random.Random(0).sample(queries, min(options.queries, len(queries)))
        chosen = {query: collection.judgements[query] for query in queries}
        collection = replace(collection, judgements=chosen)
    scorer = load_scorer(options.scorer)
    print(f"{len(queries)} questions of wikiqa_test, {scorer.name}")
    ways = {
        "each sentence alone": [by_sentence(collection, q, scorer) for q in queries],
        "Excerpt": [by_excerpt(collection, q, scorer, titled=False) for q in queries],
        "Excerpt, title read": [by_excerpt(collection, q, scorer, titled=True) for q in queries],
    }
    for share in (0.7, 0.6, 0.5):
        kept = {name: retention(keeps, share) for name, keeps in ways.items()}
        alone = kept["each sentence alone"]
        print(f"answers kept where {share:.0%} of the words are cut")
        for name, answered in kept.items():
            against = "" if answered is alone else f", {interval(answered, alone)}"
            print(f"  {name}: {fmean(answered):.3f}{against}")
    found = in_context(collection, scorer)
    whole = found["whole texts"]
    print(f"answered within {TOKENS} tokens of {CANDIDATES} articles")
    for name, answered in found.items():
        against = "" if answered is whole else f", {interval(answered, whole)}"
        print(f"  {name}: {fmean(answered):.3f}{against}")
    print(f"excerpt of 5 texts, reranking of 50 texts = 1: {cost(scorer):.2f}")


if __name__ == "__main__":
    main()
