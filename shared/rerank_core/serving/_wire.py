"""The bodies of requests and responses: Cohere's, and Text Embeddings Inference's.

Cohere: https://docs.cohere.com/reference/rerank. Jina's and vLLM's have the same fields. TEI:
https://huggingface.github.io/text-embeddings-inference. Fields that are not known are ignored, as
their servers do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag

__all__ = [
    "COHERE",
    "TEI",
    "AnyRequest",
    "CohereRequest",
    "CohereResponse",
    "CohereResult",
    "Document",
    "Failure",
    "Health",
    "Info",
    "Meta",
    "Model",
    "Models",
    "RelevantSpan",
    "Report",
    "SpansWanted",
    "TeiRank",
    "TeiRequest",
    "Tokens",
    "Used",
]


class Document(BaseModel):
    """A document with its text."""

    text: str


class SpansWanted(BaseModel):
    """Relevant spans, as Cohere's Context Focus has them."""

    mode: Literal["enabled", "disabled"] = "disabled"
    threshold: float | None = Field(None, description="Lowest score of a span. Default: any.")
    max_spans: int | None = Field(None, ge=1, description="Most spans of a text. Default: all.")


class CohereRequest(BaseModel):
    """A request for scores, as Cohere, Jina and vLLM have it."""

    query: str
    documents: list[str | Document]
    model: str | None = Field(None, description="Name of a model of /v1/models. Default: its first")
    top_n: int | None = Field(None, ge=1, description="Most results. Default: all.")
    return_documents: bool | None = Field(None, description="Send texts back. Default: false.")
    raw_scores: bool | None = Field(
        None, description="Scores as the scorer gives them, without a sigmoid. Default: false."
    )
    relevant_spans: SpansWanted | None = Field(
        None, description="Best spans of each text, where the scorer knows them."
    )

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [item if isinstance(item, str) else item.text for item in self.documents]


class RelevantSpan(BaseModel):
    """A span of a text, counted in Unicode code points."""

    start: int
    end: int
    score: float | None


class CohereResult(BaseModel):
    """A document in its new place."""

    index: int
    relevance_score: float
    document: Document | None = None
    relevant_spans: list[RelevantSpan] | None = None


class ApiVersion(BaseModel):
    """Version of Cohere's wire."""

    version: str


class Tokens(BaseModel):
    """Tokens that were read, as Cohere writes them."""

    input_tokens: int


class Meta(BaseModel):
    """Facts about the request, as Cohere writes them."""

    api_version: ApiVersion
    tokens: Tokens
    billed_units: dict[str, float] | None = None


class Used(BaseModel):
    """Tokens that were read, as Jina and vLLM write them."""

    prompt_tokens: int
    total_tokens: int


class Report(BaseModel):
    """Facts that Cohere's wire has no place for."""

    scale: str = Field(description="Scale of relevance_score: logit, unit or probability.")
    degraded: str | None = Field(None, description="Why the result is less than was asked for.")
    causes: list[str] = Field([], description="The same in codes.")
    unscored: list[int] = Field(
        [], description="Indices of texts without a score; they come last, with the lowest one."
    )
    usage: dict[str, int | float | dict[str, float] | None] = Field(description="What it cost.")


class CohereResponse(BaseModel):
    """Results, best first."""

    id: str
    model: str
    results: list[CohereResult]
    meta: Meta
    usage: Used
    rerank: Report


class TeiRequest(BaseModel):
    """A request for scores, as Text Embeddings Inference has it."""

    query: str
    texts: list[str]
    raw_scores: bool = Field(False, description="Scores without a sigmoid.")
    return_text: bool = Field(False, description="Send texts back.")
    truncate: bool | None = Field(
        None, description="Cut pairs that are too long; false refuses them. Default: true."
    )
    truncation_direction: Literal["Right", "right"] = Field(
        "Right", description="End that is cut; only the right one can be."
    )
    model: str | None = Field(None, description="Name of a model of /v1/models. Default: its first")


def _dialect(body: Any) -> str:
    """Return whose request a body is."""
    return COHERE if isinstance(body, dict) and "documents" in body else TEI


COHERE, TEI = "cohere", "tei"
"""Tags of the requests of either wire."""

AnyRequest: TypeAlias = Annotated[
    Annotated[CohereRequest, Tag(COHERE)] | Annotated[TeiRequest, Tag(TEI)], Discriminator(_dialect)
]
"""A request on either wire: vLLM and Infinity take Cohere's where TEI has its own."""


class TeiRank(BaseModel):
    """A text in its new place."""

    index: int
    score: float
    text: str | None = None


class Info(BaseModel):
    """Facts about the first model, as Text Embeddings Inference writes them."""

    model_id: str
    max_client_batch_size: int
    max_input_length: int | None
    version: str


class Model(BaseModel):
    """A model, as OpenAI's list of models has it."""

    id: str
    object: Literal["model"] = "model"
    owned_by: str = "rerank-core"
    scorer: str = Field(description="Name of the scorer.")
    scale: str = Field(description="Scale of its own scores: logit, unit or probability.")


class Models(BaseModel):
    """All models; the first is the default."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """State of the server."""

    live: Literal[True] = True
    ready: bool = Field(description="Whether all models are loaded.")


class Failure(BaseModel):
    """An error, in Cohere's field and in TEI's."""

    message: str
    error: str
    error_type: str
    id: Annotated[str, Field(description="Id of the request.")]
