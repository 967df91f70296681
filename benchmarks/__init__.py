"""Speed, memory, size and start-up of rerank-core and of its peers, in one run.

From the root of a clone::

    pip install -c constraints-dev.txt -e ".[bench]"
    python -m benchmarks --quick

Without ``--quick`` it takes more than an hour, most of it the peers'. Those live in environments
of their own, pinned in ``environments/``, which the first run creates.
"""
