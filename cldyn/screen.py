"""Rows on a screen: what failed, what was found, what holds."""

from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cldyn.claims.table import Row

_LINES = 36  # of tables, so that they fit a screen with what stands around them
_COLOURS = {"holds": "green", "fails": "bold red", "found": "yellow"}


def told(name: str, rows: list[Row]) -> str:
    """Failures in full, then what else was measured, as far as it fits; last, what holds."""
    failed = [row for row in rows if row.verdict == "fails"]
    found = [row for row in rows if row.verdict == "found"]
    shown = _table(f"{name}: failed", failed, "predicted", "measured", "tolerance")
    room, count = max(_LINES - shown.count("\n"), 8), len(found)
    while True:
        drawn = _table(f"{name}: measured, without a verdict", found, "measured", "predicted")
        lines = drawn.count("\n")
        if lines <= room:
            break
        found = found[: min(len(found) * room // lines, len(found) - 1)]
    some = f" ({len(found)} of them shown)" if len(found) < count else ""
    if count == len(rows):
        return f"{shown}{drawn}{count} found: measured, without a verdict{some}."
    return (
        f"{shown}{drawn}{len(rows) - len(failed) - count} predictions hold, {len(failed)} fail; "
        f"{count} found: measured where nothing is predicted{some}."
    )


def by_statement(name: str, rows: list[Row], statements: Sequence[str]) -> str:
    """All rows that show statements of the paper, whatever their verdict, and what else failed."""
    columns, drawn = ("predicted", "measured", "tolerance", "verdict"), ""
    for statement in statements:
        shown = [row for row in rows if row.shows == statement]
        drawn += _table(f"{statement}, shown by {name}", shown, *columns)
    other = [row for row in rows if row.verdict == "fails" and row.shows not in statements]
    return drawn + _table(f"{name}: failed", other, *columns[:3])


def _table(title: str, rows: list[Row], *columns: str) -> str:
    """Rows, if any, without columns that are empty; a setting is said where it begins."""
    if not rows:
        return ""
    every = ("setting", "quantity", "statistic", *columns)
    columns = tuple(name for name in every if any(getattr(row, name) for row in rows))
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name in columns:
        table.add_column(name, overflow="fold")
    before = ""
    for row in rows:
        again = replace(row, setting="") if row.setting == before else row
        cells = (Text(str(getattr(again, name))) for name in columns)
        table.add_row(*cells, style=_COLOURS["fails"] if row.verdict == "fails" else None)
        before = row.setting
    return _drawn(table)


def summary(rows: dict[str, list[Row]]) -> str:
    """One line per claim, and what failed."""
    table = Table("claim", *_COLOURS, "what failed", title="all claims", title_justify="left")
    for name, some in rows.items():
        counts = [sum(row.verdict == verdict for row in some) for verdict in _COLOURS]
        shown = zip(counts, _COLOURS.values(), strict=True)
        cells = [Text(str(count), colour if count else "") for count, colour in shown]
        failed = (f"{row.setting}: {row.quantity}" for row in some if row.verdict == "fails")
        table.add_row(name, *cells, Text("; ".join(failed)))
    return _drawn(table)


def console() -> Console:
    """The screen; in a pipe one of 120 columns."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=120)


def _drawn(table: Table) -> str:
    screen = console()
    with screen.capture() as held:
        screen.print(table)
    return "\n".join(line.rstrip() for line in held.get().splitlines()) + "\n"
