"""The loaded model: encoder, graph and threads, and the way a call takes through them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import Tokenizer

from rerank_core._errors import ConfigurationError
from rerank_core._local.graph import (
    PADDING_MULTIPLE,
    Graph,
    apply_activation,
    padded_width,
    quantises_activations,
)
from rerank_core._local.pairs import ROUND, EncodedPairs, PairEncoder, plan_batches
from rerank_core._planning import Job, Tally
from rerank_core._types import Progress, Scoring, StopScoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rerank_core._local.files import ModelFiles
    from rerank_core._local.settings import ModelSettings

__all__ = ["Engine"]

# On two cores budgets from 1 to 512 were within 10 % of each other for 15 to 300 tokens a pair, and
# larger ones slower: threads share out small batches more evenly.
_BATCH_TOKENS = 256


class _Pair(NamedTuple):
    """One pair of a batch: its job, its text's position there, and where its tokens are."""

    job: int
    text: int
    encoded: EncodedPairs
    row: int


class Engine:
    """Scores jobs on one ONNX graph, from any number of threads at once.

    Args:
        files: The model's files.
        settings: How to run it.
        threads: Batches computed at once, over all callers.
        batch_tokens: Most tokens of a batch; None for the default.
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
        try:
            tokenizer = Tokenizer.from_file(str(files.tokenizer))
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigurationError(f"{files.tokenizer} is not a tokenizer") from error
        self._encoder = PairEncoder(tokenizer, settings.max_length)
        self._graph = Graph(files.graph, providers)
        self._settings = settings
        self._threads = threads
        # A pair alone costs about as much as one in a batch, and its score is its own.
        alone = quantises_activations(files.graph)
        self._batch_tokens = batch_tokens or (1 if alone else _BATCH_TOKENS)
        self._pad_token_id = _pad_token_id(settings, tokenizer)
        self._lock = threading.Lock()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def score(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        """Score jobs together: pairs of like length share a batch, whichever query they have.

        Args:
            jobs: Each with at least one text.
            progress: Called after each batch, and now and then while texts are tokenised.

        Returns:
            One scoring per job.

        Raises:
            ScorerError: If the model fails, or a score is NaN or infinite.
        """
        tallies = [Tally(len(job.texts)) for job in jobs]
        total = sum(len(job.texts) for job in jobs)
        done = 0

        def tick() -> None:
            progress(done, total)

        try:
            with closing(self._run_all(self._batches(jobs, tick))) as results:
                for batch, logits in results:
                    scores = apply_activation(self._settings.activation, logits.tolist())
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
                    tick()
        except StopScoring:
            pass  # what has come is kept
        return [tally.scoring() for tally in tallies]

    def _batches(self, jobs: Sequence[Job], tick: Callable[[], None]) -> Iterator[list[_Pair]]:
        """Tokenise and batch round by round, each when it is asked for."""
        for turn, pieces in enumerate(_rounds(jobs)):
            if turn:
                tick()
            pairs: list[_Pair] = []
            for number, start, end in pieces:
                query, texts = jobs[number].query, jobs[number].texts[start:end]
                encoded = self._encoder.encode(query, texts, tick)
                pairs += [_Pair(number, start + row, encoded, row) for row in range(len(texts))]
            lengths = [pair.encoded.length(pair.row) for pair in pairs]
            planned = plan_batches(lengths, self._batch_tokens, PADDING_MULTIPLE)
            planned.sort(key=min)  # the first stage's best first, should this end early
            for batch in planned:
                yield [pairs[position] for position in batch]

    def _run_all(
        self, batches: Iterable[Sequence[_Pair]]
    ) -> Generator[tuple[Sequence[_Pair], npt.NDArray[np.float64]], None, None]:
        """Run batches on the pool, and hand them back in their order.

        Only a few wait in the pool at a time, so that a long call does not keep out short ones.
        """
        pool = self._threads_of_this_process()
        waiting: deque[tuple[Sequence[_Pair], Future[npt.NDArray[np.float64]]]] = deque()
        try:
            for batch in batches:
                pairs = [(pair.encoded, pair.row) for pair in batch]
                try:
                    future = pool.submit(self._graph.run, pairs, self._pad_token_id)
                except RuntimeError:  # the interpreter is going, and starts no more threads
                    yield batch, self._graph.run(pairs, self._pad_token_id)
                    continue
                waiting.append((batch, future))
                if len(waiting) > 2 * self._threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def close(self) -> None:
        """Let the threads end once they have finished what they are at."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool[1].shutdown(wait=False)

    def _threads_of_this_process(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork, so a child process starts its own.
        with self._lock:
            if self._pool is None or self._pool[0] != os.getpid():
                pool = ThreadPoolExecutor(self._threads, thread_name_prefix="rerank-onnx")
                self._pool = (os.getpid(), pool)
            return self._pool[1]


def _rounds(jobs: Sequence[Job]) -> Iterator[list[tuple[int, int, int]]]:
    """Share jobs out over rounds: pieces of (job, first text, end), at most `ROUND` texts each."""
    pieces: list[tuple[int, int, int]] = []
    room = ROUND
    for number, job in enumerate(jobs):
        start = 0
        while start < len(job.texts):
            end = min(start + room, len(job.texts))
            pieces.append((number, start, end))
            room -= end - start
            start = end
            if not room:
                yield pieces
                pieces, room = [], ROUND
    if pieces:
        yield pieces


def _pad_token_id(settings: ModelSettings, tokenizer: Tokenizer) -> int:
    if settings.pad_token_id is not None:
        return settings.pad_token_id
    for token in ("[PAD]", "<pad>"):
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    return 0
