"""Speed, memory, size and start-up of rerank-core and of its peers, in one run.

From the root of a clone::

    pip install -c constraints-dev.txt -e ".[bench]"
    python -m benchmarks --quick

Without ``--quick`` it takes more than an hour, most of it the peers'. Those live in environments
of their own, pinned in ``environments/``, which the first run creates.

With ``--modular`` only models of ettin's shapes run, whose head is in modules; of the peers that
needs sentence-transformers alone. On a GPU, ``python -m benchmarks.gpu`` measures what runs there.

``python -m benchmarks.serve`` measures the server.

With an earlier revision, the same calls run on its code and on this clone's, in turn. The exit code
is 1 if one of them has become slower::

    python -m benchmarks --against main
"""
