"""The first minute of a new user: from a clone to a ranking, and from each snippet to its output.

python -m benchmarks.first_minute

Clones this repository (what is committed), and for each Python snippet of the README makes a new
virtual environment, installs what the snippet needs, and runs it. pip downloads from its index
where its cache does not help, so the times depend on the network and on earlier installations.
Prints also how many words, pictures and outputs the README has.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).parents[1]

_SNIPPET = re.compile(r"^## ([^\n]+)\n+```python\n(.*?)^```\n+```text\n(.*?)^```", re.DOTALL | re.M)
_BLOCKS = re.compile(r"^```.*?^```$|<!--.*?-->", re.DOTALL | re.M)
_PICTURE = re.compile(r"!\[[^]]*\]\([^)]*\)")
_ADDRESS = re.compile(r"\]\([^)]*\)")
_EXTRAS = {"langchain_rerank": "[langchain]", "llamaindex_rerank": "[llamaindex]"}


def main() -> int:
    """Print the times and the counts; return 1 if a snippet prints something else."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    print(counts(readme))
    wrong = False
    with TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        cloned = seconds("git", "clone", "--quiet", ROOT, clone)
        print(f"clone: {cloned:.1f} s")
        for title, code, shown in _SNIPPET.findall(readme):
            needs = "".join(extra for name, extra in _EXTRAS.items() if name in code)
            python = Path(folder) / title.replace(" ", "-") / "bin" / "python"
            made = seconds(sys.executable, "-m", "venv", python.parents[1])
            pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            installed = seconds(*pip, "-e", f"{clone}{needs}")
            started = perf_counter()
            command = [python, "-c", code]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
            ran = perf_counter() - started
            same = without_fractions(done.stdout) == without_fractions(shown)
            wrong |= not same
            total = cloned + made + installed + ran
            print(
                f"{title}: environment {made:.1f} s, pip install -e .{needs} {installed:.1f} s, "
                f"snippet to output {ran:.1f} s; from the clone {total:.0f} s in all; "
                f"{'prints what the README shows' if same else f'prints {done.stdout!r}'}"
            )
    return int(wrong)


def counts(readme: str) -> str:
    """Return how many words, pictures and outputs there are; code and addresses are no words."""
    prose = _ADDRESS.sub("]", _PICTURE.sub("", _BLOCKS.sub("", readme)))
    in_tables = "\n".join(line for line in prose.splitlines() if line.startswith("|"))
    words, of_tables = (len(re.findall(r"[\w.'/-]*\w", text)) for text in (prose, in_tables))
    return (
        f"README: {words - of_tables} words and {of_tables} in tables, "
        f"{len(_PICTURE.findall(readme))} pictures, {len(_SNIPPET.findall(readme))} outputs"
    )


def seconds(*command: str | Path) -> float:
    """Run a command and return how long it took."""
    started = perf_counter()
    subprocess.run(command, check=True)
    return perf_counter() - started


def without_fractions(text: str) -> str:
    """Return a text without its scores, which int8 models round otherwise on other processors."""
    return re.sub(r"\d+\.\d+", "", text)


if __name__ == "__main__":
    sys.exit(main())
