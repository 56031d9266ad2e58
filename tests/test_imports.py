import ast
from pathlib import Path

import pytest

import cldyn

ROOT = Path(cldyn.__file__).parent
BELOW = {
    "data": set(), "linalg": set(), "losses": set(), "dynamics": set(), "plots": set(), "store": set(), "refusal": set(),
    "encoders": {"linalg"},
    "measures": {"linalg"},
    "moments": {"data"},
    "theory": {"data"},
    "experiment": {"data"},
    "lane": {"experiment", "data", "encoders", "losses", "dynamics", "measures", "moments", "theory"},
    "axes": {"experiment", "data"},
    "lanes": {"lane", "axes", "experiment", "data", "measures"},
    "claims": {"lanes", "lane", "axes", "experiment", "theory", "plots", "measures", "data", "moments", "losses"},
    "cli": {"claims", "store", "plots", "experiment"},
}  # fmt: skip
OWNERS = {"matplotlib": "plots", "flax": "encoders", "tyro": "cli"}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" if node.module == "cldyn" else node.module for alias in node.names)


@pytest.mark.parametrize("path", sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py"), ids=str)
def test_arrows_point_one_way(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "cldyn":
            assert rest[0] in BELOW[room] | {room, "refusal"}, f"{room} imports {name}"
        assert OWNERS.get(first, room) == room, f"{room} imports {name}"
    if room != "cli":
        assert "jax.config.update" not in path.read_text()
