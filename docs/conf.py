"""How the guide is built: Markdown through Sphinx, the reference from docstrings, tables from the code itself.

    sphinx-build -W --keep-going docs build/docs

`-W` makes every warning an error. Nothing is fetched: a machine without a network builds it.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import tables  # noqa: E402  # beside this file

import harness  # noqa: E402

project = "retrieval-heads"
release = version = harness.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generated"]
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
html_theme = "alabaster"
html_theme_options = {"page_width": "70em", "sidebar_width": "15em"}
html_show_copyright = False

tables.write_all(HERE / "generated")
