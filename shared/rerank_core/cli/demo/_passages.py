"""Four passages as a retriever might return them: near the question, in poor order."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PASSAGES", "QUESTION", "Passage"]

QUESTION = "What are the latest advancements in AI for drug discovery?"


class Passage(NamedTuple):
    """A retrieved passage with its first-stage score."""

    id: str
    score: float
    text: str


PASSAGES = (
    Passage(
        "doc_101",
        0.85,
        "Deep learning is changing how medicines are found: generative models now propose new "
        "drug molecules, predict how strongly they bind to a protein, and rank them by toxicity, "
        "which shortens drug discovery from years to months.",
    ),
    Passage(
        "doc_205",
        0.72,
        "Artificial intelligence is spreading through many industries. In healthcare it helps "
        "doctors to read scans, plan treatments and predict how patients will fare.",
    ),
    Passage(
        "doc_312",
        0.65,
        "Pharmaceutical companies spend billions on research and development. Bringing a drug "
        "from the laboratory through clinical trials to approval takes more than ten years.",
    ),
    Passage(
        "doc_450",
        0.60,
        "Recent progress in artificial intelligence includes language models that write and "
        "translate text, and vision systems that recognise objects in pictures.",
    ),
)
