"""Training: a small cross-encoder learns a collection, from judgements or from other scorers.

The extra ``train`` is required. The command ``rerank train`` does all of this.
"""

from rerank_core.training._train import TrainReport, train

__all__ = ["TrainReport", "train"]
