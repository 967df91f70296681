"""A stand-in for Text Embeddings Inference on this machine: its wire, limits and errors.

The shapes are those of huggingface/text-embeddings-inference: ``router/src/http/server.rs``,
``router/src/http/types.rs`` and ``router/src/lib.rs``. The scores are those of `ScriptedServer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rerank_core.testing import Reply, Request, ScriptedServer

__all__ = ["TeiServer", "refusal"]

FIELDS = {"query", "texts", "raw_scores", "return_text", "truncate", "truncation_direction"}


def refusal(status: int, error_type: str, error: str) -> Reply:
    """An error as TEI writes it."""
    return Reply({"error": error, "error_type": error_type}, status=status)


class TeiServer(ScriptedServer):
    """Answers ``GET /info`` and ``POST /rerank``.

    Args:
        replies: Sent for the first requests, in turn.
        limit: ``--max-client-batch-size``.
        key: ``--api-key``; None lets everybody in.
        prefix: What a gateway puts before the paths.
    """

    def __init__(
        self,
        *replies: Reply | Callable[[Request], Reply],
        limit: int = 32,
        key: str | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(*replies, respond=self._respond_like_tei)
        self.limit = limit
        self.key = key
        self.prefix = prefix

    @property
    def reranks(self) -> list[Request]:
        """The requests for scores."""
        return [request for request in self.requests if request.path.endswith("/rerank")]

    def _respond_like_tei(self, request: Request) -> Reply:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return Reply(b"", status=401)
        route = (request.method, request.path.removeprefix(self.prefix))
        if route == ("GET", "/info"):
            return Reply(self._info())
        if route == ("POST", "/rerank"):
            return self._rerank(request)
        return Reply(b"", status=404)

    def _info(self) -> dict[str, object]:
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return {
            "model_id": "BAAI/bge-reranker-base",
            "model_sha": "2cfc18c9415c912f9d8155881c133215df768a70",
            "model_dtype": "float16",
            "model_type": {"reranker": labels},
            "max_concurrent_requests": 512,
            "max_input_length": 512,
            "max_batch_tokens": 16384,
            "max_batch_requests": None,
            "max_client_batch_size": self.limit,
            "auto_truncate": False,
            "tokenization_workers": 4,
            "version": "1.8.2",
            "sha": None,
            "docker_label": None,
        }

    def _rerank(self, request: Request) -> Reply:
        body, texts = request.body, request.body["texts"]
        if body.keys() - FIELDS or body.get("truncation_direction", "Right") not in (
            "Left",
            "Right",
        ):
            return Reply("Failed to deserialize the JSON body into the target type", status=422)
        if len(texts) > self.limit:
            return refusal(
                413,
                "Validation",
                f"batch size {len(texts)} > maximum allowed batch size {self.limit}",
            )
        reply = self.answer(request)
        return replace(reply, headers={"x-compute-type": "cpu", **reply.headers})
