"""Cohere's rerank service, and every server that speaks its v2 wire format."""

from rerank_core.scorers.cohere._scorer import CohereScorer

__all__ = ["CohereScorer"]
