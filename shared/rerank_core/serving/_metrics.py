"""Metrics of the server, in Prometheus' format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from rerank_core._types import Ranking
from rerank_core.serving._pool import Pool

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server.

    Args:
        pool: Its pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"rerank_{name}", description, labels, registry=registry)

        self._requests = counter(
            "requests", "Requests, by path, model and status", "path", "model", "status"
        )
        self._seconds = Histogram(
            "rerank_request_seconds",
            "Seconds from a request for scores to its response",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pairs = counter("pairs", "Pairs that a model read", "model")
        self._tokens = counter("tokens", "Tokens of these pairs", "model")
        self._truncated = counter("truncated", "Texts that were cut", "model")
        self._hits = counter("cache_hits", "Texts whose score came from a cache", "model")
        self._degraded = counter("degraded", "Degraded results, by cause", "model", "cause")
        for name, description, count in (
            ("running", "Requests that are scored now", lambda: pool.running),
            ("waiting", "Requests that wait for a place", lambda: pool.waiting),
        ):
            Gauge(f"rerank_requests_{name}", description, registry=registry).set_function(count)

    def count_request(self, path: str, model: str, status: int, seconds: float) -> None:
        """Count a request, and its time if it is one for scores."""
        self._requests.labels(path, model, str(status)).inc()
        if model:
            self._seconds.labels(model).observe(seconds)

    def count_ranking(self, model: str, ranking: Ranking) -> None:
        """Count what a ranking cost."""
        self._pairs.labels(model).inc(ranking.usage.pairs)
        self._tokens.labels(model).inc(ranking.usage.tokens)
        self._truncated.labels(model).inc(ranking.usage.truncated)
        self._hits.labels(model).inc(ranking.usage.cache_hits)
        for cause in ranking.causes:
            self._degraded.labels(model, cause).inc()

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)
