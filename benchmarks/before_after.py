"""Places of the right answers in the sample collection before and after reranking, and a picture.

python -m benchmarks.before_after

For each question, nano reranks the 50 best passages of BM25. Writes the places, which
`rerank demo` counts, and the picture in the README and on the site. It takes a minute on two free
cores, and needs the extras cli and eval.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rerank_core import load_scorer, rerank
from rerank_core.cli.demo import DEPTH, PLACES, Places, place_of_answer, read_places
from rerank_core.evaluation import Collection, first_stage

PICTURE = Path(__file__).parents[1] / "docs/assets/before-after.svg"

SHOWN, SEED = 12, 0
WIDTH, ROW, TOP = 600, 48, 112
LEFT, RIGHT, NOWHERE = 14, 520, 572  # of the first place, of the last, and of none

STYLE = """
text { font: 17px -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 21px; font-weight: 600 }
.small { font-size: 15px; fill: #59636e }
.card { fill: #fff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0 }
.before { fill: #fff; stroke: #818b98; stroke-width: 2.5 }
.won { fill: #0969da; stroke: #0969da }
.lost { fill: #bc4c00; stroke: #bc4c00 }
.kept { fill: #818b98; stroke: #818b98 }
line.won, line.lost { stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .card, .before { fill: #0d1117 }
  .card, .grid { stroke: #3d444d }
  .won { fill: #58a6ff; stroke: #58a6ff }
  .lost { fill: #f0883e; stroke: #f0883e }
}
"""


def main() -> None:
    """Rerank, and write the places and the picture."""
    sample = Collection.sample()
    found = first_stage("bm25", sample, DEPTH).candidates
    nano = load_scorer("nano")
    places = {}
    for query in sample.evaluated:
        ids, judged = [hit.id for hit in found[query]], sample.judgements[query]
        ranking = rerank(sample.queries[query], [sample.documents[name] for name in ids], nano)
        after = [ids[item.index] for item in ranking]
        places[query] = (place_of_answer(ids, judged), place_of_answer(after, judged))
    rows = ",\n".join(f"{json.dumps(query)}: {json.dumps(pair)}" for query, pair in places.items())
    text = f'{{"scorer": {json.dumps(nano.fingerprint)}, "places": {{\n{rows}\n}}}}\n'
    PLACES.write_text(text, encoding="utf-8")
    draw(read_places())
    print(read_places().summary)


def draw(places: Places) -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(places), encoding="utf-8")


def picture(places: Places) -> str:
    """Return the picture as SVG."""
    return "\n".join([*lines(places), "</svg>", ""])


def lines(places: Places) -> Iterator[str]:
    """Yield the lines of the picture."""
    questions = Collection.sample().queries
    drawn = random.Random(SEED).sample(sorted(places.of), SHOWN)
    drawn.sort(key=lambda query: x(places.of[query][0]) - x(places.of[query][1]), reverse=True)
    drawn.sort(key=lambda query: places.of[query][0] is None)
    height = TOP + SHOWN * ROW + 72
    title = "Where the right answer stood, before and after reranking"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{title}">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield text(LEFT, 32, title, "title")
    yield f'<circle class="before" cx="{LEFT + 6}" cy="54" r="5.5"/>' + text(LEFT + 20, 60, "BM25")
    yield '<circle class="won" cx="104" cy="54" r="6.5"/>' + text(118, 60, "better with nano")
    yield '<circle class="lost" cx="276" cy="54" r="6.5"/>' + text(290, 60, "worse")
    yield '<circle class="kept" cx="364" cy="54" r="6.5"/>' + text(378, 60, "the same")
    bottom = TOP + SHOWN * ROW - 8
    for place in (1, 2, 5, 10, 20, DEPTH, None):
        name = "none" if place is None else f"{place}."
        yield f'<path class="grid" d="M{x(place)} {TOP - 10}V{bottom}"/>'
        yield text(x(place), TOP - 18, name, "small", "middle" if place != 1 else "start")
    for number, query in enumerate(drawn):
        before, after = places.of[query]
        y = TOP + number * ROW
        yield text(LEFT, y + 12, questions[query])
        y += 27
        if before is not None and after is not None and before != after:
            kind = "won" if after < before else "lost"
            yield f'<line class="{kind}" x1="{x(before)}" y1="{y}" x2="{x(after)}" y2="{y}"/>'
        else:
            kind = "kept"
        yield f'<circle class="before" cx="{x(before)}" cy="{y}" r="5.5"/>'
        if after is not None:
            yield f'<circle class="{kind}" cx="{x(after)}" cy="{y}" r="6.5"/>'
    before, after = places.first
    end = f"{SHOWN} of {len(places.of)} questions about Python, drawn at random. Over all of them,"
    yield text(LEFT, height - 52, end, "small")
    yield text(
        LEFT, height - 32, f"the answer comes first {after} times instead of {before};", "small"
    )
    yield text(LEFT, height - 12, f"{places.summary}.", "small")


def x(place: int | None) -> float:
    """Return where a place is drawn: the first ones wide apart, the last ones close together."""
    if place is None:
        return NOWHERE
    return round(LEFT + 7 + (RIGHT - LEFT - 7) * math.log(place) / math.log(DEPTH), 1)


def text(left: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return an element with a line of text."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{left}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
