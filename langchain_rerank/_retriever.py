"""`RerankRetriever`: retrieve many, rerank, return the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from pydantic import ConfigDict, ValidationInfo, field_validator

from langchain_rerank._compressor import CommonOptions, RerankCompressor, make_compressor
from langchain_rerank._fetching import over_fetching
from rerank_core import ConfigurationError, InvalidInputError, Profile
from rerank_core._checks import check_flag, check_query, check_whole, optional

if TYPE_CHECKING:
    from typing import Unpack

    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
    )

__all__ = ["RerankRetriever"]


class RerankRetriever(BaseRetriever):
    """Asks a base retriever for many candidates, reranks them and returns the best `k`.

    `k` can be given for one call, too: ``retriever.invoke(query, k=3)``. Neither the base nor
    what it returns is changed. Retrieving and reranking are two children of the call's run in
    LangChain's traces.

    Args:
        base_retriever: The first stage: any retriever, or a Runnable from a query to documents.
        compressor: What reranks. Without it, one is made from `options`.
        k: At most this many documents are returned. Default: the compressor's `top_n`, which is
            5 unless it was set.
        fetch_k: How many candidates to ask the base for, and never fewer than `k`. It holds for a
            base with `search_kwargs` (all vector stores'), with a field `k` (such as BM25's), or
            with an argument `k`; any other base gives what it gives. Default: `depth`, else the
            base's own number where you gave it one, else 50.
        name: The name in traces.
        tags: Tags of its runs.
        metadata: Metadata of its runs.
        distinct_ids: Keep only the first of several documents with the same id, as ensemble and
            multi-query retrievers give them; documents without id all stay. Default True.
        **options: Arguments of `RerankCompressor`: `scorer`, `depth`, `min_score`, `blend`,
            `max_tokens`, `count_tokens`, `score_key`, `span_key`, `rank_fields`, `text_key`,
            `prior_key`.

    Raises:
        ConfigurationError: If there are `options` beside a `compressor`.
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it. Both
            are ValueErrors.

    Example:
        ```python
        from langchain_core.documents import Document
        from langchain_core.runnables import RunnableLambda

        from langchain_rerank import RerankRetriever

        found = [Document("Cats purr."), Document("Plants use light.")]
        search = RunnableLambda(lambda query: found)
        retriever = RerankRetriever(base_retriever=search, scorer="nano", k=1)
        (best,) = retriever.invoke("How do plants eat?")
        assert best.page_content == "Plants use light."
        ```
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        # A refused argument may hold a key.
        hide_input_in_errors=True,
    )

    base_retriever: RetrieverLike
    compressor: RerankCompressor
    k: int | None = None
    fetch_k: int | None = None
    distinct_ids: bool = True

    def __init__(
        self,
        *,
        base_retriever: RetrieverLike,
        compressor: RerankCompressor | None = None,
        k: int | None = None,
        fetch_k: int | None = None,
        distinct_ids: bool = True,
        name: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        for guess in ("top_n", "top_k", "topn", "topk", "n", "limit"):
            if guess in options:
                raise ConfigurationError(
                    f"{guess} of a RerankRetriever is called k (how many are returned) or depth "
                    "(how many are fetched and scored)"
                )
        # As one mapping: to type checkers the base class has no fields but its own.
        fields: dict[str, Any] = {
            "base_retriever": base_retriever,
            "compressor": make_compressor(compressor, options),
            "k": k,
            "fetch_k": fetch_k,
            "distinct_ids": distinct_ids,
            "name": name,
            "tags": tags,
            "metadata": metadata,
        }
        super().__init__(**fields)

    @classmethod
    def from_profile(
        cls, path: str | Path, *, base_retriever: RetrieverLike, **overrides: Any
    ) -> Self:
        """Make a retriever with the scorer, depth, blend, threshold and trimmers of a profile.

        Args:
            path: File that ``rerank tune`` or `rerank_core.Profile.write` wrote. Its depth is
                `fetch_k` as well.
            base_retriever: The first stage.
            **overrides: Other arguments of `RerankRetriever`; they replace those of the profile.

        Raises:
            ConfigurationError: If the file is no profile, or a value in it is wrong.
            pydantic.ValidationError: If an argument is unknown or wrong; the message names it.
            OSError: If the file cannot be read.
        """
        options = {**Profile.read(path).options, **overrides}
        return cls(**{"base_retriever": base_retriever, "fetch_k": options["depth"], **options})

    @field_validator("k", "fetch_k", mode="plain")
    @classmethod
    def _check(cls, value: Any, info: ValidationInfo) -> int | None:
        return optional(check_whole, value, str(info.field_name))

    @field_validator("distinct_ids", mode="plain")
    @classmethod
    def _check_distinct_ids(cls, value: Any) -> bool:
        return check_flag(value, "distinct_ids")

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `langchain_core.load.dumps` writes this class for `loads`."""
        return True

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        base, arguments, compressor = self._prepare(query, k)
        found = base.invoke(query, {"callbacks": run_manager.get_child()}, **arguments)
        return compressor.compress_documents(found, query, run_manager.get_child())

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        base, arguments, compressor = self._prepare(query, k)
        found = await base.ainvoke(query, {"callbacks": run_manager.get_child()}, **arguments)
        return await compressor.acompress_documents(found, query, run_manager.get_child())

    def _prepare(
        self, query: str, k: int | None
    ) -> tuple[RetrieverLike, dict[str, int], RerankCompressor]:
        check_query(query)  # before anything is retrieved
        keep = (
            optional(check_whole, k, "k", error=InvalidInputError)
            or self.k
            or self.compressor.top_n
        )
        fetch = self.fetch_k or self.compressor.depth
        base, arguments = over_fetching(self.base_retriever, fetch, keep)
        update = {"top_n": keep, "distinct_ids": self.distinct_ids}
        return base, arguments, self.compressor.model_copy(update=update)
