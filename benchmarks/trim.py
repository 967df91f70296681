"""Share of the answers that excerpts and budgets keep, and the cost of an excerpt.

    python -m benchmarks.trim --data DIR

`DIR` holds the test collection ``wikiqa_test`` in BEIR's layout. The sentences of an article are
one text, in order; the sentences that are labelled are what must remain of it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean, median

import bm25s

from rerank_core import Budget, Excerpt, RankedItem, Scorer, TrimContext, load_scorer, rerank
from rerank_core._metadata import scored_text
from rerank_core._reranking import rerank_passages
from rerank_core._trimming.base import Passage, shorten
from rerank_core._trimming.sentences import split
from rerank_core._trimming.tokens import make_counter

FOLDS, SAMPLES, STEPS = 10, 10_000, 100
CANDIDATES, TOKENS = 10, 500

Keep = Callable[[float], tuple[bool, float]]
"""From a threshold in 0 to 1 to whether an answer stays, and the share of words that is cut."""


@dataclass(frozen=True)
class Question:
    """A question, the article that answers it, and the places of the answers."""

    query: str
    article: str
    title: str
    text: str
    answers: Sequence[tuple[int, int]]

    def passage(self, *, titled: bool) -> Passage:
        """Return the text as an adapter with ``rank_fields=["title"]`` would read it, or alone."""
        read = scored_text(self.text, {"title": self.title}, ["title"] if titled else None, None)
        return Passage(self.text, read.header, start=read.start)

    def is_answered(self, item: RankedItem) -> bool:
        """Return whether a whole sentence that answers is left."""
        kept = item.kept or ((0, len(item.text), None),)
        return any(s <= start and end <= e for start, end in self.answers for s, e, _ in kept)


def read_questions(folder: Path) -> list[Question]:
    """Return the questions of articles that have sentences which answer, and others."""
    articles: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        sentence = json.loads(line)
        articles[sentence["_id"].split("-")[0]].append(sentence)
    right: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, sentence_id, grade = line.split("\t")
        if int(grade):
            right[query_id].add(sentence_id)
    questions = []
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        names = {identity.split("-")[0] for identity in right[query["_id"]]}
        if len(names) != 1:
            continue
        (name,) = names
        text, answers = "", []
        for sentence in sorted(articles[name], key=lambda s: int(s["_id"].split("-")[1])):
            text += " " if text else ""
            if sentence["_id"] in right[query["_id"]]:
                answers.append((len(text), len(text) + len(sentence["text"])))
            text += sentence["text"]
        if len(articles[name]) > len(answers):
            title = articles[name][0]["title"]
            questions.append(Question(query["text"], name, title, text, answers))
    return questions


def words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def by_excerpt(question: Question, scorer: Scorer, *, titled: bool) -> Keep:
    """Score the sentences as `Excerpt` does, once for all thresholds."""
    passage = question.passage(titled=titled)
    read = passage.header + passage.text
    ranking = rerank_passages(question.query, [read], [passage], scorer=scorer)
    context = TrimContext(question.query, scorer, [passage])

    def keep(drop: float) -> tuple[bool, float]:
        (item,) = Excerpt(drop=drop).trim(ranking, context)
        return question.is_answered(item), 1 - words(item.excerpt) / words(question.text)

    return keep


def by_sentence(question: Question, scorer: Scorer) -> Keep:
    """Score each sentence alone, without what it is about."""
    sentences = split(question.text)
    parts = [question.text[sentence.start : sentence.end] for sentence in sentences]
    scores = [score or 0.0 for score in scorer.score(question.query, parts).scores]
    (item,) = rerank(question.query, [question.text], scorer)

    def keep(drop: float) -> tuple[bool, float]:
        least = max(scores) - drop * (max(scores) - min(scores))
        kept = [s for s, score in zip(sentences, scores, strict=True) if score >= least]
        left = shorten(item, kept, " ")
        return question.is_answered(left), 1 - words(left.excerpt) / words(question.text)

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
    differences = [100 * (a - b) for a, b in zip(one, other, strict=True)]
    draw = random.Random(0)
    means = sorted(fmean(draw.choices(differences, k=len(differences))) for _ in range(SAMPLES))
    low, high = means[SAMPLES // 40], means[-SAMPLES // 40]
    return f"{fmean(differences):+.1f} points ({low:+.1f} to {high:+.1f})"


def in_context(
    questions: Sequence[Question], articles: Sequence[Question], scorer: Scorer
) -> dict[str, list[bool]]:
    """Return which questions are answered within the tokens, for each way to fill them."""
    index = bm25s.BM25()
    names = [f"{article.title} {article.text}" for article in articles]
    index.index(bm25s.tokenize(names, show_progress=False), show_progress=False)
    count = make_counter("nano")
    answered: dict[str, list[bool]] = defaultdict(list)
    for question in questions:
        asked = bm25s.tokenize([question.query], show_progress=False)
        found, _ = index.retrieve(asked, k=CANDIDATES, show_progress=False)
        candidates = [articles[position] for position in found[0]]
        passages = [candidate.passage(titled=True) for candidate in candidates]
        texts = [passage.header + passage.text for passage in passages]
        right = {i for i, a in enumerate(candidates) if a.article == question.article}
        whole = rerank_passages(question.query, texts, passages, scorer=scorer)
        totals = accumulate(count(item.text) for item in whole)
        fitting = sum(total <= TOKENS for total in totals)
        ways = {"whole texts": whole[:fitting]}
        context = TrimContext(question.query, scorer, passages)
        ways["Budget"] = Budget(TOKENS).trim(whole, context)[:]
        excerpts = Excerpt().trim(whole, context)
        ways["Excerpt, Budget"] = Budget(TOKENS).trim(excerpts, context)[:]
        for way, items in ways.items():
            stays = [question.is_answered(item) for item in items if item.index in right]
            answered[way].append(any(stays))
    return answered


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
    options = parser.parse_args()
    scorer = load_scorer(options.scorer)
    everything = read_questions(options.data / "wikiqa_test")
    questions = everything
    if options.queries is not None:
        questions = random.Random(0).sample(everything, min(options.queries, len(everything)))
    print(f"{len(questions)} questions of wikiqa_test, {scorer.name}")
    ways = {
        "each sentence alone": [by_sentence(q, scorer) for q in questions],
        "Excerpt": [by_excerpt(q, scorer, titled=False) for q in questions],
        "Excerpt, title read": [by_excerpt(q, scorer, titled=True) for q in questions],
    }
    for share in (0.7, 0.6, 0.5):
        kept = {name: retention(keeps, share) for name, keeps in ways.items()}
        alone = kept["each sentence alone"]
        print(f"answers kept where {share:.0%} of the words are cut")
        for name, answered in kept.items():
            against = "" if answered is alone else f", {interval(answered, alone)}"
            print(f"  {name}: {fmean(answered):.3f}{against}")
    distinct = {question.article: question for question in everything}
    found = in_context(questions, [*distinct.values()], scorer)
    whole = found["whole texts"]
    print(f"answered within {TOKENS} tokens of {CANDIDATES} articles")
    for name, answered in found.items():
        against = "" if answered is whole else f", {interval(answered, whole)}"
        print(f"  {name}: {fmean(answered):.3f}{against}")
    print(f"excerpt of 5 texts, reranking of 50 texts = 1: {cost(scorer):.2f}")


if __name__ == "__main__":
    main()
