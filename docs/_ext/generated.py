"""Parts of pages that are made from the package, so that they cannot differ from it.

    {names}      one dotted name a line: signatures, docstrings, and methods of what is inherited
    {generated}  one of `PARTS` by its name

Notebooks are copied beside the pages before they are read.
"""

import contextlib
import inspect
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from shutil import copy2
from typing import Any

from docutils import nodes
from plain_docstrings import escaped
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cldyn import MEASURES, cli, sizes
from cldyn.claims import CLAIMS, paper
from cldyn.claims.table import OURS, Claim

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def found(name: str) -> Any:
    """What a dotted name means."""
    value: Any = import_module(name.partition(".")[0])
    below = value.__name__
    for part in name.split(".")[1:]:
        below = f"{below}.{part}"
        value = getattr(value, part) if hasattr(value, part) else import_module(below)
    return value


def _documented(name: str) -> list[str]:
    """The directive of autodoc for a name."""
    value = found(name)
    if inspect.isclass(value) and not value.__module__.startswith("cldyn"):
        return [f".. py:class:: {name}", "", f"   That of {value.__module__.split('.')[0]}."]
    if inspect.isclass(value):
        return [f".. autoclass:: {name}{_fields(value)}", *_members(value)]
    if inspect.ismodule(value):
        return [f".. automodule:: {name}", "   :no-index:"]
    if not callable(value):
        return [f".. py:data:: {name}", "", f"   {escaped(', '.join(map(str, value)))}"]
    method = inspect.isclass(found(name.rpartition(".")[0]))
    return [f".. auto{'method' if method else 'function'}:: {name}"]


def _fields(kind: type) -> str:
    """Names and defaults of a noun's fields; of nouns among these the name alone."""
    if not is_dataclass(kind):
        return ""
    told = []
    for one in inspect.signature(kind).parameters.values():
        default = one.default
        nested = f"{type(default).__name__}()" if is_dataclass(default) else repr(default)
        if one.kind is not inspect.Parameter.KEYWORD_ONLY:  # those the package sets
            told.append(one.name if default is inspect.Parameter.empty else f"{one.name}={nested}")
    return f"({', '.join(told)})"


def _members(kind: type) -> list[str]:
    """Methods of a class that others are made from, or whose object one is handed."""
    if is_dataclass(kind):
        return []
    own = [name for name, value in vars(kind).items() if inspect.isfunction(value)]
    public = [name for name in own if not name.startswith("_")]
    return [f"   :members: {', '.join(public)}"] if public else []


class Names(SphinxDirective):
    """Documentation of names."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Docstrings, by autodoc."""
        lines: list[str] = []
        for name in self.content:
            lines += [*_documented(name.strip()), ""] if name.strip() else []
        return self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))


def _kept_rows() -> dict[str, Counter[str]]:
    """Verdicts of rows in the tables that notebooks keep, by the statement that a row shows."""
    kept: dict[str, Counter[str]] = defaultdict(Counter)
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        told = [one for cell in cells for one in cell.get("outputs", ())]
        for table in ("".join(one.get("data", {}).get("text/html", "")) for one in told):
            names = re.findall(r"<th>(\w*)</th>", table.partition("</thead>")[0])
            if "verdict" in names:
                for row in re.findall(r"<tr>(.*?)</tr>", table.partition("</thead>")[2], re.S):
                    cells = dict(zip(names[1:], re.findall(r"<td>(.*?)</td>", row), strict=True))
                    kept[cells.get("shows", OURS)][cells["verdict"]] += 1
    return kept


def _counted(rows: Counter[str]) -> str:
    words = {"holds": "hold", "fails": "fail", "found": "found"}
    return ", ".join(f"{rows[one]} {word}" for one, word in words.items() if rows[one])


def verdicts() -> str:
    """How all kept rows came out."""
    rows = sum(_kept_rows().values(), Counter())
    told = f"{rows['holds']} rows hold, {rows['fails']} fail, and {rows['found']} are only found"
    return f"In the tables that the [notebooks](notebooks.md) keep, {told}."


def statements() -> str:
    """The paper's statements, the claims and sizes that show them, and how their rows came out."""
    lines = ["| statement | says | shown by | rows |", "|---|---|---|---|"]
    kept = _kept_rows()
    for statement, says in paper.STATEMENTS.items():
        shown = [f"[`{one.name}`](#{one.name})" for one in paper.that_show(CLAIMS, statement)]
        shown += [f"at its size: `{one.name}`" for one in sizes.that_show(statement)]
        rows = _counted(kept[statement]) or "not run"
        lines.append(f"| {statement} | {_cell(says)} | {', '.join(shown)} | {rows} |")
    return "\n".join(lines)


def _shown_in(claim: Claim) -> str:
    """The notebooks that run a claim."""
    module = claim.study.__module__.rpartition(".")[2]
    imported = re.compile(rf"from cldyn\.claims import [^\"]*\b{module}\b")
    found = [path for path in NOTEBOOKS if imported.search(path.read_text())]
    return ", ".join(f"[{path.stem}](notebooks/{path.name})" for path in found)


def claims() -> str:
    """Every claim: what it says, whose it is, what it shows and costs, and where it is seen."""
    lines = []
    for one in CLAIMS:
        lines += [f"({one.name})=", f"### {one.name}", "", _plain(f"{one.says}."), ""]
        lines += [f"- shows: {', '.join(one.shows) or 'what is ours'}"]
        lines += [f"- source: {_plain(one.source)}", f"- cost: {one.cost}"]
        lines += [f"- picture and rows: {_shown_in(one)}, or `cldyn reproduce {one.name}`", ""]
    return "\n".join(lines)


def notebooks() -> str:
    """Every notebook by its title and its first words, and a table of contents."""
    lines, names = [], []
    for path in NOTEBOOKS:
        title = json.loads(path.read_text())["cells"][0]["source"][0].strip("# \n")
        names.append(f"notebooks/{path.stem}")
        lines += [f"- [{title}](notebooks/{path.name})"]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *names, "```"])


def sizes_listing() -> str:
    """The paper's own sizes."""
    return "\n".join(["```text", *sizes.listing(), "```"])


def measures() -> str:
    """What can be recorded."""
    lines = ["| measure | what it is | needs |", "|---|---|---|"]
    for one in MEASURES.values():
        lines.append(f"| `{one.name}` | {_cell(one.says)} | {', '.join(one.needs)} |")
    return "\n".join(lines)


def commands() -> str:
    """The help of every command."""
    lines = []
    for name in ("", *cli.COMMANDS):
        words = ["cldyn", name] if name else ["cldyn"]
        lines += [f"### {' '.join(words)}", "", "```text", _help(*words[1:]), "```", ""]
    return "\n".join(lines)


def fields() -> str:
    """What `cldyn fields` prints."""
    return "\n".join(["```text", _said(["fields"]), "```"])


def _help(*words: str) -> str:
    return _said([*words, "--help"])


def _said(words: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main(words)
    return said.getvalue().rstrip()


def _plain(text: str) -> str:
    """Text without markup."""
    return text.replace("*", "\\*").replace("_", "\\_")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "statements": statements,
    "verdicts": verdicts,
    "claims": claims,
    "notebooks": notebooks,
    "sizes": sizes_listing,
    "measures": measures,
    "commands": commands,
    "fields": fields,
}


class Generated(SphinxDirective):
    """A part of a page, made from the package."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The part."""
        text = PARTS[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _copy(app: Sphinx, config: Any) -> None:
    """Notebooks and their pictures, as far as they have changed."""
    pages = Path(app.confdir) / "notebooks"
    pages.mkdir(exist_ok=True)
    for path in sorted((Path(app.confdir).parent / "notebooks").iterdir()):
        place = pages / path.name
        if not place.exists() or place.stat().st_mtime != path.stat().st_mtime:
            copy2(path, place)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.connect("config-inited", _copy)
    app.add_directive("names", Names)
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
