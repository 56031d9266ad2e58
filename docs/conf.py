"""How the documentation is built: offline, from the package, its notebooks and these pages."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
os.environ.setdefault("COLUMNS", "100")  # of help texts
os.environ.setdefault("NO_COLOR", "1")

project = "cldyn"
author = "The cldyn developers"
copyright = "The cldyn developers, Apache-2.0"
version = release = version_of("cldyn")

extensions = ["myst_nb", "sphinx.ext.autodoc", "plain_docstrings", "mathml", "generated"]
exclude_patterns = ["_build", "recipes"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Pages are executed; notebooks are kept with what they show, and tests execute them.
nb_execution_mode = "force"
nb_execution_excludepatterns = ["notebooks/*"]
nb_execution_raise_on_error = True
nb_execution_timeout = 60

default_role = "py:obj"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
add_module_names = False
smartquotes = False
toc_object_entries = False

html_theme = "furo"
html_title = "cldyn"
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
templates_path: list[str] = []
