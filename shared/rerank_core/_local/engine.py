"""The loaded model: tokenises, batches and scores pairs on a pool of threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from rerank_core._concurrency import ProcessLock
from rerank_core._local.failures import loading
from rerank_core._local.graph import (
    PADDING_MULTIPLE,
    Graph,
    apply_activation,
    padded_width,
    quantises_activations,
)
from rerank_core._local.pairs import EncodedPairs, PairEncoder, plan_batches, rounds
from rerank_core._local.reading import read_tokenizer
from rerank_core._planning import Job, Tally
from rerank_core._types import Progress, Scoring, StopScoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

    from rerank_core._local.files import ModelFiles
    from rerank_core._local.settings import ModelSettings

__all__ = ["Engine"]

# On two cores budgets from 1 to 512 were within 10 % of each other for 15 to 300 tokens a pair, and
# larger ones slower: threads share out small batches more evenly.
_BATCH_TOKENS = 256


class _Pair(NamedTuple):
    """A pair of a batch: the positions of its job and text, and the row of its tokens."""

    job: int
    text: int
    encoded: EncodedPairs
    row: int


class Engine:
    """Scores jobs on one ONNX graph; safe from several threads.

    Args:
        files: The model's files.
        settings: The model's settings.
        threads: Number of batches computed at once, over all callers.
        batch_tokens: Maximum number of tokens of a batch; None for the default.
        providers: Execution providers of ONNX Runtime.

    Raises:
        ConfigurationError: If the model cannot be loaded.
    """

    def __init__(
        self,
        files: ModelFiles,
        settings: ModelSettings,
        threads: int,
        batch_tokens: int | None,
        providers: Sequence[str],
    ) -> None:
        tokenizer = read_tokenizer(files.tokenizer)
        with loading(f"{files.tokenizer} cannot be used"):
            self._encoder = PairEncoder(tokenizer, settings.max_length)
        self._graph = Graph(files.graph, providers, files.head)
        self._activation = settings.activation
        self._threads = threads
        # A batch of one pair costs about as much per pair, and keeps scores independent.
        default = 1 if quantises_activations(files.graph) else _BATCH_TOKENS
        self._batch_tokens = batch_tokens or default
        self._pad_token_id = _pad_token_id(settings, tokenizer)
        self._lock = ProcessLock()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # with its process's id

    def score(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        """Score jobs together; pairs of similar length share a batch, even of different queries.

        Args:
            jobs: Jobs with at least one text each.
            progress: Called after each batch, and regularly while texts are tokenised.

        Returns:
            One scoring per job.

        Raises:
            ScorerError: If the model fails, or a score is NaN or infinite.
        """
        tallies = [Tally(len(job.texts)) for job in jobs]
        total = sum(len(job.texts) for job in jobs)
        done = 0

        def report() -> None:
            progress(done, total)

        try:
            with closing(self._run(self._batches(jobs, report))) as results:
                for batch, logits in results:
                    scores = apply_activation(self._activation, logits.tolist())
                    width = padded_width([(pair.encoded, pair.row) for pair in batch])
                    for pair, score in zip(batch, scores, strict=True):
                        length = pair.encoded.length(pair.row)
                        usage = Usage(
                            pairs=1,
                            tokens=length,
                            padding=width - length,
                            truncated=int(pair.row in pair.encoded.truncated),
                            truncated_queries=int(pair.row in pair.encoded.truncated_queries),
                        )
                        tallies[pair.job].add([pair.text], [score], usage)
                    done += len(batch)
                    report()
        except StopScoring:
            pass  # the scores so far are kept
        return [tally.scoring() for tally in tallies]

    def close(self) -> None:
        """End the threads once they have finished their current batches."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool[1].shutdown(wait=False)

    def _batches(self, jobs: Sequence[Job], report: Callable[[], None]) -> Iterator[list[_Pair]]:
        """Tokenise and batch the texts of all jobs, one round at a time, as batches are needed."""
        positions = [(number, i) for number, job in enumerate(jobs) for i in range(len(job.texts))]
        for start, chunk in rounds(positions):
            if start:
                report()
            pairs: list[_Pair] = []
            for number, group in groupby(chunk, key=itemgetter(0)):
                query, texts = jobs[number]
                chosen = [i for _, i in group]
                encoded = self._encoder.encode(query, texts[chosen[0] : chosen[-1] + 1], report)
                pairs += [_Pair(number, i, encoded, row) for row, i in enumerate(chosen)]
            lengths = [pair.encoded.length(pair.row) for pair in pairs]
            planned = plan_batches(lengths, self._batch_tokens, PADDING_MULTIPLE)
            planned.sort(key=min)  # the first stage's best first, in case scoring is stopped early
            for batch in planned:
                yield [pairs[i] for i in batch]

    def _run(
        self, batches: Iterable[Sequence[_Pair]]
    ) -> Generator[tuple[Sequence[_Pair], npt.NDArray[np.float64]], None, None]:
        """Run batches on the pool, and yield each with its logits, in order.

        Only a few batches are queued at a time, so that a long call does not block short ones.
        """
        pool = self._process_pool()
        queue: deque[tuple[Sequence[_Pair], Future[npt.NDArray[np.float64]]]] = deque()
        try:
            for batch in batches:
                pairs = [(pair.encoded, pair.row) for pair in batch]
                try:
                    future = pool.submit(self._graph.run, pairs, self._pad_token_id)
                except RuntimeError:  # the interpreter is shutting down: no new threads
                    yield batch, self._graph.run(pairs, self._pad_token_id)
                    continue
                queue.append((batch, future))
                if len(queue) > 2 * self._threads:
                    first, future = queue.popleft()
                    yield first, future.result()
            while queue:
                first, future = queue.popleft()
                yield first, future.result()
        finally:
            for _, future in queue:
                future.cancel()

    def _process_pool(self) -> ThreadPoolExecutor:
        """Return this process's pool; threads do not survive a fork, so a child starts its own."""
        with self._lock:
            if self._pool is None or self._pool[0] != os.getpid():
                pool = ThreadPoolExecutor(self._threads, thread_name_prefix="rerank-onnx")
                self._pool = (os.getpid(), pool)
            return self._pool[1]


def _pad_token_id(settings: ModelSettings, tokenizer: Tokenizer) -> int:
    known = (settings.pad_token_id, *map(tokenizer.token_to_id, ("[PAD]", "<pad>")))
    return next((int(token_id) for token_id in known if token_id is not None), 0)
