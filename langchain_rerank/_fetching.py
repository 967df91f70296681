"""Asking a base retriever for more candidates than it gives by itself."""

from __future__ import annotations

from inspect import signature
from typing import Any

from langchain_core.retrievers import BaseRetriever, RetrieverLike

__all__ = ["DEFAULT_FETCH_K", "over_fetching"]

DEFAULT_FETCH_K = 50
"""Candidates that a base is asked for unless it or the user has a number."""

_MMR_FETCH_K = 20
"""Candidates that LangChain's vector stores fetch for maximal marginal relevance by default."""


def over_fetching(
    base: RetrieverLike, fetch_k: int | None, k: int | None
) -> tuple[RetrieverLike, dict[str, int]]:
    """Make a base give many candidates; the base itself is left as it is.

    Args:
        base: The first stage.
        fetch_k: How many candidates are wanted; None for the base's own number where the user
            gave it one, else `DEFAULT_FETCH_K`.
        k: How many will be kept: never fewer are asked for.

    Returns:
        The base or a copy of it, and arguments for its ``invoke``.
    """
    if not isinstance(base, BaseRetriever):
        return base, {}

    def count(own: Any) -> int:
        return max(fetch_k or own or DEFAULT_FETCH_K, k or 1)

    search = getattr(base, "search_kwargs", None)  # of vector stores' and multi-vector retrievers
    if isinstance(search, dict):
        asked = {**search, "k": count(search.get("k"))}
        if getattr(base, "search_type", None) == "mmr":
            asked["fetch_k"] = max(search.get("fetch_k", _MMR_FETCH_K), asked["k"])
        return base.model_copy(update={"search_kwargs": asked}), {}
    if isinstance(own := getattr(base, "k", None), int) and "k" in type(base).model_fields:
        set_by_user = own if "k" in base.model_fields_set else None
        return base.model_copy(update={"k": count(set_by_user)}), {}
    if "k" in signature(base._get_relevant_documents).parameters:
        return base, {"k": count(None)}
    return base, {}
