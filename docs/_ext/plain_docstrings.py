"""Docstrings of the package, which are plain text, as reStructuredText.

What a docstring has: prose, indented blocks (equations), numbered conditions, and the sections of
`SECTIONS`. Prose holds |W v_j|, W^T W and a* as they are, so everything in it that is markup is
escaped; a name in backticks becomes a reference, an indented block is kept to the letter.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ENTRIES = {"Args": "Arguments", "Raises": "Raises"}  # sections of lines "name: text"
TOLD = {"Returns": "Returns", "Source": "Source", "Args and errors": "Arguments, errors"}
SECTIONS = (*ENTRIES, *TOLD, "Example")
_HEAD = re.compile(rf"({'|'.join(SECTIONS)}):(?:\s+(.*))?$")
_CODE = re.compile(r"`([^`]+)`")
STARTS = {  # of entries: names of arguments, and of errors
    "Args": re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)"),
    "Raises": re.compile(r"(\w*Error|Refused): (.*)"),
}
_NUMBER = re.compile(r"(\d+)\. (.*)")


def converted(lines: list[str]) -> list[str]:
    """A docstring, its first line and the rest at one margin, as reStructuredText."""
    out: list[str] = []
    for head, body in _sections(lines):
        text = _dedented(body) if head else body
        if head in ENTRIES:
            out += [f":{ENTRIES[head]}:", *_indented(_entries(text, STARTS[head]))]
        elif head in TOLD:
            out += [f":{TOLD[head]}:", *_indented(_prose(text))]
        elif head == "Example":
            out += ["", ".. rubric:: Example", "", *text, ""]
        else:
            out += _prose(text)
    return out


def escaped(text: str) -> str:
    """Prose without markup but for code in backticks."""
    parts = _CODE.split(text)
    return "".join(
        _code(part) if number % 2 else re.sub(r"([\\*|`_])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def _code(text: str) -> str:
    """A reference to a name, or anything else as it is."""
    return f":py:obj:`{text}`" if re.fullmatch(r"[A-Za-z_][\w.]*", text) else f"``{text}``"


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Sections by their headings, "" for what stands in none; a blank line ends one of prose."""
    head, body = "", []
    for line in lines:
        found = _HEAD.match(line)
        margin = line[:1] not in ("", " ")
        after = head and margin and (head in ENTRIES or head == "Example" or not body[-1].strip())
        if found or after:
            yield head, body
            head, body = (found[1], [found[2] or ""]) if found else ("", [line])
        else:
            body.append(line)
    yield head, body


def _dedented(lines: list[str]) -> list[str]:
    """Lines of a section at one margin; the first one may stand beside its heading."""
    kept = lines if lines and lines[0].strip() else lines[1:]
    beside = kept is lines
    margins = [len(one) - len(one.lstrip()) for one in kept[int(beside) :] if one.strip()]
    margin = min(margins, default=0)
    return [one if beside and not number else one[margin:] for number, one in enumerate(kept)]


def _indented(lines: list[str]) -> list[str]:
    return ["", *(f"    {line}" if line else "" for line in lines), ""]


def _entries(lines: list[str], start: re.Pattern[str]) -> list[str]:
    """Lines "name: text", and what goes on below them, as a list."""
    told: list[str] = []
    for line in filter(str.strip, lines):
        if not told or start.fullmatch(line):
            told.append(line)
        else:
            told[-1] += f" {line.strip()}"
    out = []
    for one in told:
        found = start.fullmatch(one)
        shown = f"**{escaped(found[1])}**: {escaped(found[2])}" if found else escaped(one)
        out.append(f"- {shown}")
    return out


def _prose(lines: list[str]) -> list[str]:
    """Paragraphs, each as one line, numbered ones as a list, and blocks to the letter."""
    out: list[str] = []
    paragraph: list[str] = []
    literal = False

    def end() -> None:
        if paragraph:
            text = " ".join(paragraph)
            number = _NUMBER.fullmatch(text)
            shown = f"{number[1]}. {escaped(number[2])}" if number else escaped(text)
            out.extend([shown, ""])
            paragraph.clear()

    for line in lines:
        if literal and (line.startswith("    ") or not line.strip()):
            out.append(line)
            continue
        if literal:
            out.append("")
            literal = False
        if not line.strip():
            end()
        elif line.startswith("    ") and not paragraph:
            out.extend([".. code-block:: text", "", line])
            literal = True
        else:
            listed = bool(paragraph) and _NUMBER.fullmatch(paragraph[0])
            if _NUMBER.fullmatch(line) or (listed and not line.startswith(" ")):
                end()
            paragraph.append(line.strip())
    end()
    return [*out, ""] if literal else out


def _process(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = converted(lines)


def setup(app: "Sphinx") -> dict[str, Any]:
    """Convert every docstring that autodoc reads."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
