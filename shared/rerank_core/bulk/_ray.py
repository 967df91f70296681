"""Work on Ray: actors, their share of the CPUs, and a gate that all of them pass."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerank_core._errors import MissingExtraError, RerankError
from rerank_core._local.onnx import default_threads, share_cpus
from rerank_core._remote.gate import Gate, RequestGate

__all__ = ["RaySettings", "in_ray_worker", "on_ray", "shared_gate", "use_own_cpus"]

_ATTEMPTS = 3  # to ask a gate that is lost meanwhile


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A cluster of Ray and the workers on it.

    Attributes:
        address: A cluster's address; ``"auto"``, the one of this machine; or ``"local"``, one that
            is started for this job. A process that is connected to a cluster uses that.
        workers: The number of workers. Default: as many as the CPUs are enough for.
        worker_cpus: The CPUs, and so the threads, of each worker.
    """

    address: str = "local"
    workers: int | None = None
    worker_cpus: int = 1


def on_ray(
    settings: RaySettings,
    worker: Callable[..., Any],
    arguments: tuple[Any, ...],
    units: Sequence[Any],
) -> Iterator[int]:
    """Do units of work in actors of Ray Data, which does those of a lost actor again.

    Args:
        settings: Where and how to run.
        worker: Makes, in each actor, a function from a unit to numbers.
        arguments: What it is made with.
        units: The units.

    Yields:
        The numbers, as they come.

    Raises:
        RerankError: If a worker raises one.
        MissingExtraError: If Ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "Running on Ray") from error
    started = not ray.is_initialized()
    if started:
        local = settings.address == "local"
        ray.init(
            settings.address,
            num_cpus=default_threads() if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level="error",
        )
    logging.getLogger("ray.data").setLevel("ERROR")  # there is a progress bar already
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        cpus = int(ray.cluster_resources().get("CPU", 1))
        workers = settings.workers or max(1, cpus // settings.worker_cpus)
        numbers = ray.data.from_items(
            [{"unit": place} for place in range(len(units))], override_num_blocks=max(1, len(units))
        ).map_batches(
            _Actor,
            fn_constructor_args=(worker, arguments, units),
            batch_size=1,
            num_cpus=settings.worker_cpus,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(units) or 1)),
        )
        for row in numbers.iter_rows():
            yield int(row["number"])
    except Exception as error:
        if (cause := _own_error(error)) is None:
            raise
        raise cause from None
    finally:
        if started:
            ray.shutdown()


def _own_error(error: BaseException | None) -> RerankError | None:
    """Find the error of ours that Ray has wrapped."""
    while error is not None:
        inner = getattr(error, "cause", None)  # of ray.exceptions.RayTaskError, of both types
        if isinstance(error, RerankError) and inner is None:
            return error
        error = inner or error.__cause__
    return None


class _Actor:
    """Does units of work in an actor of Ray Data."""

    def __init__(
        self, worker: Callable[..., Any], arguments: tuple[Any, ...], units: Sequence[Any]
    ) -> None:
        self._work = worker(*arguments)
        self._units = units

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> Iterator[dict[str, list[int]]]:
        for place in batch["unit"]:
            for number in self._work(self._units[place]):
                yield {"number": [number]}


def in_ray_worker() -> bool:
    """Return whether this process runs a task or an actor of Ray."""
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return bool(ray.get_runtime_context().worker.mode == ray.WORKER_MODE)


def use_own_cpus() -> None:
    """Let models use as many threads as this worker of Ray has CPUs."""
    import ray

    share_cpus(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))


def shared_gate(limit: int) -> Gate:
    """Return the gate that all workers of this job of Ray pass."""
    return _RayGate(limit)


class _RayGate:
    """A `RequestGate` in an actor of its own, which is made anew where it was lost."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._actor: Any = None  # kept, as the actor ends with the handle of the one who made it

    async def enter(self, seconds: float) -> int:
        return int(await self._ask("enter", seconds))

    async def leave(self, ticket: int, pause: float) -> None:
        await self._ask("leave", ticket, pause)

    async def _ask(self, method: str, *arguments: float) -> Any:
        from ray.exceptions import RayActorError

        for more in reversed(range(_ATTEMPTS)):
            self._actor = self._actor or _gate_actor(self._limit)
            try:
                return await getattr(self._actor, method).remote(*arguments)
            except RayActorError:  # whoever made it was killed, and it with them
                self._actor = None
                if not more:
                    raise
        return None


def _gate_actor(limit: int) -> Any:
    """Find or make the actor; its name is seen within the job only."""
    import ray

    options = {"name": f"rerank-requests-{limit}", "get_if_exists": True, "num_cpus": 0}
    return ray.remote(RequestGate).options(max_concurrency=10_000, **options).remote(limit)
