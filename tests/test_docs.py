"""What the documentation shows is run, and what is public is in it.

Python of README and of pages, recipes, files for clusters, examples of every documented name; and
the text that docstrings become.
"""

import contextlib
import doctest
import inspect
import io
import json
import os
import re
import runpy
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import matplotlib
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
README = (ROOT / "README.md").read_text()
BLOCKS = {
    name: found
    for name, text in {"README": README, **PAGES}.items()
    if (found := re.findall(r"```python\n(.*?)```", text, re.S))
}
SHOWN = {  # examples of functions that need each other
    name: "\n\n".join(found)
    for name, text in PAGES.items()
    if (found := re.findall(r"```pycon\n(.*?)```", text, re.S))
}
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.py"))

ROOMS = (
    "cldyn", "cldyn.theory", "cldyn.data", "cldyn.data.images", "cldyn.dynamics", "cldyn.encoders",
    "cldyn.losses", "cldyn.measures", "cldyn.moments", "cldyn.sources", "cldyn.sizes", "cldyn.page",
)  # fmt: skip
PICTURES = ("cldyn.plots.Figure", "cldyn.plots.phase_diagram", "cldyn.plots.save")
METHODS = ("cldyn.Experiment.replace", "cldyn.Measure.at")
NAMES = [
    name
    for page in PAGES.values()
    for found in re.findall(r"```\{names\}\n(.*?)```", page, re.S)
    for name in found.split()
]


def meant(name):
    """What a dotted name means."""
    value = import_module(name.partition(".")[0])
    below = value.__name__
    for part in name.split(".")[1:]:
        below = f"{below}.{part}"
        value = getattr(value, part) if hasattr(value, part) else import_module(below)
    return value


def public():
    """Public names of all rooms; of a room without a list of them, what it defines."""
    for room in ROOMS:
        module = import_module(room)
        own = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (getattr(value, "__module__", None) == room or name.isupper())
        ]
        for name in getattr(module, "__all__", own):
            if not inspect.ismodule(getattr(module, name)):
                yield f"{room}.{name}"


DOCUMENTED = {name: meant(name) for name in NAMES}
FUNCTIONS = sorted(name for name, value in DOCUMENTED.items() if inspect.isfunction(value))
WITH_EXAMPLES = sorted(
    name
    for name, value in DOCUMENTED.items()
    if callable(value) and ">>>" in (inspect.getdoc(value) or "")
)


@pytest.mark.parametrize("page", BLOCKS)
def test_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    names: dict = {}
    for number, block in enumerate(BLOCKS[page]):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_pages_have_python():
    assert {"README", "index", "noise", "sweeps"} <= {*BLOCKS}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_and_its_own_numbers_matter(path):
    assert f"recipes/{path.name}" in PAGES["extend"]
    with contextlib.redirect_stdout(io.StringIO()) as heard:
        measured = runpy.run_path(str(path))["measured"]
    assert heard.getvalue()
    last = measured.isel(step=-1)
    axes = [name for name in measured.dims if name not in ("step", "feature")]
    assert axes
    for axis in axes:
        assert any(
            np.all(np.isfinite(values)) and np.any(np.ptp(values.values, values.get_axis_num(axis)))
            for values in last.data_vars.values()
            if axis in values.dims
        ), axis


def test_every_file_that_a_page_shows_or_names_is_there():
    shown = {
        name for text in PAGES.values() for name in re.findall(r"\{literalinclude\} (\S+)", text)
    }
    tests = {name for text in PAGES.values() for name in re.findall(r"tests/\w+\.py", text)}
    assert tests and all((ROOT / name).is_file() for name in tests)
    there = {f"recipes/{path.name}" for path in RECIPES}
    there |= {f"clusters/{path.name}" for path in (ROOT / "docs" / "clusters").iterdir()}
    assert shown == there


def shard(words):
    """The part that a command asks for, as the program reads it."""
    from cldyn.cli.sweeps import _shard

    return _shard(words[words.index("--shard") + 1])


def heard_of(command, **environment):
    """Words with which a shell command calls the program."""
    script = f'cldyn() {{ printf "%s\\n" "$@"; }}\n{command}'
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    called = subprocess.run(
        ["bash", "-euc", script], env=inherited | environment, capture_output=True, text=True
    )
    assert called.returncode == 0, called.stderr
    return called.stdout.split("\n")


def test_files_for_clusters_ask_for_every_part_once(monkeypatch):
    folder = ROOT / "docs" / "clusters"
    text = (folder / "slurm.sbatch").read_text()
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", text).groups())
    tasks = range(first, last + 1)
    for name, value in {"MIN": first, "MAX": last, "STEP": 1}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    found = []
    for task in tasks:
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        found.append(shard(heard_of(text)))
    assert found == [(i + 1, len(tasks)) for i in range(len(tasks))]

    text = (folder / "kubernetes.yaml").read_text()
    count = int(re.search(r"completions: (\d+)", text)[1])
    assert "completionMode: Indexed" in text
    command = " ".join(re.search(r"- >-\n((?: {14}.*\n)+)", text)[1].split())
    found = [shard(heard_of(command, JOB_COMPLETION_INDEX=str(i))) for i in range(count)]
    assert found == [(i + 1, count) for i in range(count)]

    text = (folder / "tpu_slice.sh").read_text().replace("$1 ZONE=$2 HOSTS=$3", "a ZONE=b HOSTS=4")
    remote = 'gcloud() { HOSTNAME=t1v-n-1-w-$HOST; eval "${@: -1}"; }\n'
    found = [shard(heard_of(remote + text, HOST=str(i))) for i in range(4)]
    assert found == [(i + 1, 4) for i in range(4)]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_are_kept_with_what_they_show(path):
    cells = json.loads(path.read_text())["cells"]
    shown = [
        kind for cell in cells for one in cell.get("outputs", ()) for kind in one.get("data", ())
    ]
    assert "image/png" in shown
    told = [one for cell in cells for one in cell.get("outputs", ())]
    assert not [one for one in told if "ename" in one or one.get("name") == "stderr"]


def test_all_that_names_a_version_names_the_same():
    told = version("cldyn")
    assert re.search(rf"^version: {told}$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == told


def test_every_public_name_is_on_a_page_once():
    known = [id(value) for value in DOCUMENTED.values()]
    assert not {name for name in public() if id(meant(name)) not in known}
    assert {*PICTURES, *METHODS} <= {*NAMES}
    twice = {name for name in NAMES if known.count(id(DOCUMENTED[name])) > 1}
    assert not twice and len(NAMES) == len(DOCUMENTED)


def test_every_public_function_and_source_has_an_example():
    sources = {"Experiment", "Training", "FeatureModel", "Stored", "FreshViews", "Population"}
    wanted = {*FUNCTIONS, *(f"cldyn.{name}" for name in (*sources, "Measure"))}
    called = {*re.findall(r"(\w+\.\w+)\(", "".join(SHOWN.values()))}
    assert not [
        name for name in wanted - {*WITH_EXAMPLES} if ".".join(name.split(".")[-2:]) not in called
    ]


def run_examples(text, where):
    """Run what stands behind >>>, and compare what it says."""
    names: dict = {}
    for example in doctest.DocTestParser().get_examples(text):
        heard = io.StringIO()
        with contextlib.redirect_stdout(heard):
            exec(compile(example.source, where, "single"), names)
        if example.want:
            said = " ".join(heard.getvalue().split())
            assert said == " ".join(example.want.split()), example.source


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_run_and_print_what_they_say(name):
    run_examples(inspect.getdoc(DOCUMENTED[name]), name)


@pytest.mark.parametrize("page", SHOWN)
def test_examples_of_pages_run_and_print_what_they_say(page):
    run_examples(SHOWN[page], page)


PLAIN = """\
Of |W v_j| and a* in the `frame` of x_.

    W^T W = |M|
      a* b

Told `a + b`.

Args:
    x, y: first,
        and more.
    z: last.

Returns:
    [K]: of both.

Raises:
    ValueError: where it
    makes none.

Conditions:
1. One
   that goes on.
2. Two.
After.

Source: derived here.
So is this.

Example:
    >>> 1 * 2
    2
"""


def test_plain_docstrings_become_markup_that_says_the_same(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    converted = import_module("plain_docstrings").converted(PLAIN.splitlines())
    text = "\n".join(converted)
    assert r"Of \|W v\_j\| and a\* in the :py:obj:`frame` of x\_." in text
    assert ".. code-block:: text\n\n    W^T W = |M|\n      a* b\n" in text
    assert "Told ``a + b``." in text
    assert "- **x, y**: first, and more.\n    - **z**: last." in text
    assert ":Returns:\n\n    [K]: of both." in text
    assert "- **ValueError**: where it makes none." in text
    assert "\n\n1. One that goes on.\n\n2. Two.\n\nAfter.\n" in text
    assert ":Source:\n\n    derived here. So is this." in text
    assert ".. rubric:: Example\n\n>>> 1 * 2\n2\n" in text
    sys.modules.pop("plain_docstrings")
