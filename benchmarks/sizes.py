"""Installed bytes of distributions and all that they need, in the environment that runs this.

A script without imports from this project, for the environments of its peers.

    python sizes.py sentence-transformers rerankers
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distribution, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENGINES = ("onnxruntime", "torch")


def needed(names: list[str]) -> dict[str, Distribution]:
    """Return distributions and what they need, extras left out."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = distribution(name)
            for line in found[name].requires or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    waiting.append(requirement.name)
    return found


def installed_bytes(one: Distribution) -> int:
    """Add up the files of a distribution, without bytecode, which pip may or may not write."""
    files = {Path(str(one.locate_file(file))).resolve() for file in one.files or ()}
    if "editable" in (one.read_text("direct_url.json") or ""):
        package = find_spec(one.metadata["Name"].replace("-", "_"))
        if package is not None:
            for folder in package.submodule_search_locations or ():
                files |= {path.resolve() for path in Path(folder).rglob("*")}
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file())


if __name__ == "__main__":
    everything = needed(sys.argv[1:])
    named = dict.fromkeys([*sys.argv[1:], *(name for name in ENGINES if name in everything)])
    answer = {
        "bytes": sum(installed_bytes(one) for one in everything.values()),
        "versions": {name: version(name) for name in named},
    }
    print(json.dumps(answer))
