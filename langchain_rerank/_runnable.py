"""`RerankRunnable`: a compressor as a step of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig, RunnableSerializable, ensure_config
from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from langchain_rerank._compressor import CompressorOptions, RerankCompressor, make_compressor
from rerank_core import InvalidInputError
from rerank_core._checks import describe

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["RerankRunnable"]


class RerankInput(TypedDict):
    """The query and the documents to rerank for it."""

    query: str
    documents: Sequence[Document]


class RerankRunnable(RunnableSerializable[Mapping[str, Any], list[Document]]):
    """Takes ``{"query": …, "documents": …}``, gives the best documents, best first.

    Other keys in the mapping do not matter.

    `RerankCompressor.as_runnable` makes it. It has all that a Runnable has: ``ainvoke``,
    ``batch``, ``astream_events``, ``with_retry``, ``with_fallbacks``, and tags, metadata and
    callbacks by ``config``. A call is one run in the traces, the same as a compressor's: it ends
    with the documents, the scorer's name, the scale, why it is degraded, and the usage.

    Args:
        compressor: What reranks. Without it, one is made from `options`.
        name: The name in traces.
        **options: Arguments of `RerankCompressor`.

    Raises:
        ConfigurationError: If there are `options` beside a `compressor`.
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    compressor: RerankCompressor

    def __init__(
        self,
        *,
        compressor: RerankCompressor | None = None,
        name: str | None = None,
        **options: Unpack[CompressorOptions],
    ) -> None:
        # As one mapping: to type checkers the base class has no fields but its own.
        fields: dict[str, Any] = {"compressor": make_compressor(compressor, options), "name": name}
        super().__init__(**fields)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Say that `langchain_core.load.dumps` writes this class so that `loads` can read it."""
        return True

    @property
    def InputType(self) -> type[RerankInput]:  # noqa: N802  the base class calls it so
        """What goes in, for schemas; `RunnableParallel` gives type checkers but a dict."""
        return RerankInput

    def invoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  the base class calls it so
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Rerank the documents for the query.

        Args:
            input: The query and the documents, in first-stage order.
            config: Callbacks, tags, metadata and the name of the run.
            **kwargs: There are none; they are here for the base class.

        Returns:
            Copies of the documents that stayed, best first.

        Raises:
            InvalidInputError: If `input` is no mapping with both keys, or holds something wrong,
                or if there are other arguments.
            ScorerError: If the scorer fails.
        """
        return self.compressor._compress(*_unpack(input), self._configure(config, kwargs))

    async def ainvoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  the base class calls it so
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Like `invoke`, without blocking the event loop while the scorer works."""
        return await self.compressor._acompress(*_unpack(input), self._configure(config, kwargs))

    def _configure(
        self, config: RunnableConfig | None, others: Mapping[str, Any]
    ) -> RunnableConfig:
        if others:
            raise InvalidInputError(
                f"{', '.join(others)}: the step takes an input and a config only; options are "
                "arguments of the compressor"
            )
        filled = ensure_config(config)
        filled.setdefault("run_name", self.get_name())
        return filled


def _unpack(given: object) -> tuple[Sequence[Document], str]:
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            'the input must be a mapping with "query" and "documents", such as RunnableParallel '
            f"gives, not {type(given).__name__}"
        )
    for key in ("query", "documents"):
        if key not in given:
            raise InvalidInputError(
                f"the input has no {key!r}, only {describe(sorted(map(str, given)))}; it needs "
                '"query" and "documents"'
            )
    return given["documents"], given["query"]
