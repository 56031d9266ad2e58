"""Rows of a claim's table: predicted beside measured, with a verdict."""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import xarray as xr

from cldyn.plots import Figure


@dataclass(frozen=True)
class Row:
    """One line: `holds` or `fails` where theory predicts, `found` where it does not."""

    quantity: str
    predicted: str
    measured: str
    relative_error: float
    tolerance: str
    verdict: Literal["holds", "fails", "found"]


@dataclass(frozen=True)
class Study:
    """What a claim produced: its table, its trajectories by group ("" is the main sweep), its picture."""

    rows: list[Row]
    trajectories: dict[str, xr.Dataset]
    figure: Figure


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, or of this project: what it says, where it stands, what it costs, and how to run it."""

    name: str
    says: str
    source: str
    cost: str
    study: Callable[[], Study]


def close(quantity: str, predicted: float, measured: float, tolerance: float) -> Row:
    """Measured within a relative tolerance of predicted."""
    error = _excess(abs(measured - predicted) / abs(predicted))
    return Row(quantity, f"{predicted:.4g}", f"{measured:.4g}", error, f"{tolerance:.2g}", _verdict(error <= tolerance))


def at_most(quantity: str, bound: float, measured: float) -> Row:
    """Measured not above a bound; the error is how far it is."""
    error = _excess(measured / bound - 1)
    return Row(quantity, f"<= {bound:.4g}", f"{measured:.4g}", error, "bound", _verdict(measured <= bound))


def at_least(quantity: str, bound: float, measured: float) -> Row:
    """Measured not below a bound."""
    error = _excess(1 - measured / bound)
    return Row(quantity, f">= {bound:.4g}", f"{measured:.4g}", error, "bound", _verdict(measured >= bound))


def within(quantity: str, low: float, high: float, measured: float) -> Row:
    """Measured inside a range."""
    error = max(_excess(low / measured - 1 if measured > 0 else math.inf), _excess(measured / high - 1))
    return Row(quantity, f"{low:.4g} .. {high:.4g}", f"{measured:.4g}", error, "range", _verdict(low <= measured <= high))


def found(quantity: str, measured: str, beside: str = "") -> Row:
    """Measured without a verdict: where nothing is predicted, or beside what theory says of another limit."""
    return Row(quantity, beside, measured, math.nan, "", "found")


def _excess(error: float) -> float:
    """At least 0; what cannot be measured is infinitely wrong."""
    return math.inf if math.isnan(error) else max(0.0, error)


def _verdict(good: bool) -> Literal["holds", "fails"]:
    return "holds" if good else "fails"


def write(path: Path, rows: list[Row]) -> None:
    """The table as csv, whole or not at all."""
    scratch = path.with_name(f".{path.name}")
    with scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        for row in rows:
            error = "" if math.isnan(row.relative_error) else f"{row.relative_error:.3g}"
            writer.writerow([row.quantity, row.predicted, row.measured, error, row.tolerance, row.verdict])
    scratch.replace(path)
