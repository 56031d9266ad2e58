"""The shape of the package: arrows between rooms, owners of libraries, and how long things are."""

import ast
from pathlib import Path

import pytest

import cldyn

pytestmark = pytest.mark.quick

ROOT = Path(cldyn.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
BELOW = {
    "checks": set(),
    "fields": {"checks"},
    "held": set(),
    "nouns": {"checks", "fields", "held"},
    "linalg": set(),
    "store": set(),
    "folders": {"checks"},
    "sizes": {"checks"},
    "phases": set(),
    "dynamics": set(),
    "data": {"checks", "fields", "nouns"},
    "losses": {"checks", "fields", "nouns"},
    "batches": {"fields", "nouns"},
    "encoders": {"checks", "fields", "nouns", "linalg"},
    "optimizers": {"checks", "fields", "nouns", "dynamics"},
    "observables": {"linalg"},
    "probes": {"linalg"},
    "observed": set(),
    "measures": {"checks", "data", "observables", "observed", "probes"},
    "moments": {"data", "encoders", "losses", "linalg"},
    "sources": {"checks", "fields", "held", "nouns", "data", "losses", "moments"},
}
BELOW["experiment"] = {*BELOW["sources"], "sources", "encoders", "optimizers", "batches"}
BELOW["theory"] = {"checks", "nouns", "data", "encoders", "losses", "moments", "linalg"}
BELOW["trajectory"] = {
    *BELOW["experiment"], "experiment", "theory", "measures", "observed", "dynamics", "linalg",
}  # fmt: skip
BELOW["sweeps"] = {*BELOW["trajectory"], "trajectory", "store"}
BELOW["page"] = {"checks", "experiment", "nouns", "store", "sweeps"} | BELOW["sweeps"]
BELOW["plots"] = {"phases"}
BELOW["claims"] = {
    *BELOW["trajectory"], "trajectory", "sweeps", "plots", "phases", "observables", "probes",
    "linalg", "observed", "sizes",
}  # fmt: skip
BELOW["words"] = {*BELOW["trajectory"], "trajectory"}
BELOW["axes"] = {*BELOW["words"], "words"}
BELOW["screen"] = {"claims"}
BELOW["cli"] = {
    *BELOW["claims"], "claims", "words", "axes", "screen", "store", "folders", "page",
}  # fmt: skip
OWNERS = {"matplotlib": "plots", "flax": "encoders", "tyro": "cli"}
LONGEST_FILE, LONGEST_FUNCTION, IGNORED_TYPES = 300, 50, 4


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "cldyn":
            yield from (f"cldyn.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: an import of {node.module} by its place"
            yield node.module


def lines(function):
    """Lines of a function but for its docstring."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    doc = first.end_lineno - first.lineno + 1 if told else 0
    return function.end_lineno - function.lineno + 1 - doc


def test_what_is_below_a_room_is_below_all_that_stand_on_it():
    placed: set[str] = set()
    waiting = dict(BELOW)
    while waiting:
        ready = {room for room, below in waiting.items() if below <= placed}
        assert ready, f"a circle among {sorted(waiting)}"
        placed |= ready
        waiting = {room: below for room, below in waiting.items() if room not in ready}
    assert {room_of(path) for path in FILES} == {*BELOW}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_one_way_and_libraries_have_one_owner(path):
    room = room_of(path)
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "cldyn":
            assert rest and rest[0] in BELOW[room] | {room}, f"{room} imports {name}"
        assert OWNERS.get(first, room) == room, f"{room} imports {name}"
    assert room == "cli" or "jax.config.update" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    long = {one.name: lines(one) for one in functions if lines(one) > LONGEST_FUNCTION}
    assert not long


def test_types_are_seldom_ignored():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (*FILES, ROOT / "__init__.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "type: ignore" in line
    ]
    assert len(found) <= IGNORED_TYPES, found
