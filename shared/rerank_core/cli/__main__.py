"""``python -m rerank_core.cli`` is the same as ``rerank``."""

import sys

from rerank_core.cli import main

sys.exit(main())
