"""Reranking many queries, in one process or on Ray Data.

`RerankBatch` reranks a batch of rows, each a query and its candidates, and is made for
``ray.data.Dataset.map_batches``. The command ``rerank bulk`` reranks files with it, with Ray or
without, and continues where it was interrupted.
"""

from rerank_core.bulk._batch import RerankBatch

__all__ = ["RerankBatch"]
