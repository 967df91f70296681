"""`HubCrossEncoder`: a model of which only its files can tell what it runs on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rerank_core._local.files import MissingGraphError, model_name
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._planning import Job
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring

__all__ = ["HubCrossEncoder"]


class HubCrossEncoder(Scorer):
    """A model from a folder or the hub: on ONNX Runtime if it has an ONNX file, else on torch.

    Which of the two shows at first use, since only the hub can tell.

    Args:
        model: Folder, ONNX file or hub id.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._chosen: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """The scorer that was chosen; looks the model up at first use."""
        with self._lock:
            if self._chosen is None:
                scorer = OnnxCrossEncoder(self._model)
                try:
                    _ = scorer.scale  # looks for the files, but loads nothing
                except MissingGraphError:
                    from rerank_core._local.torch import TorchCrossEncoder

                    self._chosen = TorchCrossEncoder(self._model)
                else:
                    self._chosen = scorer
            return self._chosen

    @property
    def name(self) -> str:
        """The folder's or file's name, or the hub id."""
        return model_name(self._model)

    @property
    def scale(self) -> Scale:
        """The chosen scorer's scale."""
        return self.scorer.scale

    @property
    def fingerprint(self) -> str:
        """The chosen scorer's fingerprint."""
        return self.scorer.fingerprint

    @property
    def max_length(self) -> int | None:
        """The chosen scorer's limit."""
        return self.scorer.max_length

    def load(self) -> None:
        """Choose the scorer, and load its model now."""
        self.scorer.load()

    def close(self) -> None:
        """Release the model; the next scoring loads it again."""
        if self._chosen is not None:
            self._chosen.close()

    def to_config(self) -> dict[str, Any]:
        """Return the model's name, with ``"type": "hub"``."""
        return {"type": "hub", "model": self._model}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        return self.scorer.score(query, texts, progress=progress)

    def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        queries, texts = [job.query for job in jobs], [job.texts for job in jobs]
        return self.scorer.score_many(queries, texts, progress=progress)

    def __reduce__(self) -> tuple[type[HubCrossEncoder], tuple[str]]:
        return type(self), (self._model,)

    def __repr__(self) -> str:
        return f"HubCrossEncoder({self._model!r})"
