"""`HubCrossEncoder`: a model that runs on ONNX Runtime or torch, depending on its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerank_core._concurrency import Lazy
from rerank_core._local.files import MissingGraphError, local_path, model_name
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._planning import Job
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring

__all__ = ["HubCrossEncoder"]


class HubCrossEncoder(Scorer):
    """A model from a folder or the hub: on ONNX Runtime if it has an ONNX file that
    scores, alone or with the modules beside it, else on torch.

    The choice is made at first use, since it may need to ask the hub.

    Args:
        model: Folder, ONNX file or hub id.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._chosen: Lazy[Scorer] = Lazy()

    @property
    def scorer(self) -> Scorer:
        """The chosen scorer; finds the model's files at first use."""
        return self._chosen.get(self._choose)

    def _choose(self) -> Scorer:
        scorer = OnnxCrossEncoder(self._model)
        try:
            _ = scorer.graph  # finds the files, but does not load the model
        except MissingGraphError:
            path = local_path(self._model)
            if path is not None and path.is_file():
                raise
            from rerank_core._local.torch import TorchCrossEncoder

            return TorchCrossEncoder(self._model)
        return scorer

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
        """The chosen scorer's maximum length."""
        return self.scorer.max_length

    def load(self) -> None:
        """Choose the scorer and load its model now, rather than with the first scoring."""
        self.scorer.load()

    def close(self) -> None:
        """Release the model; the next scoring loads it again."""
        chosen = self._chosen.clear()
        if chosen is not None:
            chosen.close()

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
