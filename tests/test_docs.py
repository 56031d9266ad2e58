"""What the documentation shows is run: README's Python and the examples of every public verb."""

import contextlib
import doctest
import inspect
import io
import json
import re
from pathlib import Path

import matplotlib
import pytest

import cldyn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
PUBLIC = {name: value for name in cldyn.__all__ if callable(value := getattr(cldyn, name))}
WITH_EXAMPLES = sorted(
    name for name, value in PUBLIC.items() if ">>>" in (inspect.getdoc(value) or "")
)


def test_python_of_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    assert len(BLOCKS) >= 3
    names: dict = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"README block {number}", "exec"), names)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_are_kept_with_what_they_show(path):
    cells = json.loads(path.read_text())["cells"]
    shown = [
        kind for cell in cells for one in cell.get("outputs", ()) for kind in one.get("data", ())
    ]
    assert "image/png" in shown
    told = [one for cell in cells for one in cell.get("outputs", ())]
    assert not [one for one in told if "ename" in one or one.get("name") == "stderr"]


def test_every_public_verb_and_source_has_an_example():
    verbs = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
    sources = {"Experiment", "Training", "FeatureModel", "Stored", "FreshViews", "Population"}
    assert verbs | sources | {"Measure"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_run_and_print_what_they_say(name):
    names = {}
    for example in doctest.DocTestParser().get_examples(inspect.getdoc(PUBLIC[name])):
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard):
            exec(compile(example.source, name, "single"), names)
        if example.want:
            said = " ".join(heard.getvalue().split())
            assert said == " ".join(example.want.split())
