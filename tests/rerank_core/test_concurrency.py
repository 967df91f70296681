from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from rerank_core._concurrency import ProcessLock


def test_one_thread_at_a_time() -> None:
    lock = ProcessLock()
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(2000):
            with lock:
                before = count
                count = before + 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_does_not_find_it_held() -> None:
    script = """if True:
        import os, threading
        from rerank_core import Cached, Deadline, Fallback, load_scorer
        scorer = Deadline(Fallback(Cached(load_scorer('nano'))), 60)
        scorer.score('a', ['b'])
        locks = [scorer._scorer._breakers[0]._lock, scorer._scorer._scorers[0]._access.store._lock]
        held, done = threading.Event(), threading.Event()

        def hold():
            with locks[0], locks[1]:
                held.set()
                done.wait()

        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if child == 0:
            whole = scorer.score('a', ['c']).degraded is None
            os._exit(0 if whole else 1)
        status = os.waitpid(child, 0)[1]
        done.set()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
