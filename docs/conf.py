# SPDX-License-Identifier: MIT
"""Sphinx's settings. The site needs no network, neither to be made nor to be read."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import __version__  # noqa: E402  # found through the path above

project = "vexpress-cma-harness"
copyright = "the project's contributors"
release = __version__
extensions = ["myst_parser", "reference_pages"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# What a reference names and is not there fails the build (-W).
nitpicky = True
# In docstrings, `name` is code.
default_role = "literal"
# Of accessible-pygments, which comes with the theme: comments that can be read.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
