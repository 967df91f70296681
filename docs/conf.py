"""Settings of the site, which `make docs` builds. Nothing is fetched when a page is viewed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
sys.path[:0] = [str(_HERE), str(_ROOT / "shared"), str(_ROOT)]

project = "rerank-core"
language = "en"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "_reference",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks; their outputs stand in the repository

default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autosummary_context = {
    "to_implement": {  # by a scorer of one's own
        "rerank_core.Scorer": "_score, _ascore",
        "rerank_core.HttpScorer": "_request, _read, _match, _headers",
    }
}
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "rerank-core"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_use_index = False  # the reference lists every name
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"  # a console block's outputs

# Made anew each time: pages of the reference, and copies of the notebooks, which lie elsewhere.
for _folder in ("notebooks", "reference/api"):
    shutil.rmtree(_HERE / _folder, ignore_errors=True)
shutil.copytree(_ROOT / "notebooks", _HERE / "notebooks", ignore=shutil.ignore_patterns(".*", "_*"))
