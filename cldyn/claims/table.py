"""Rows of a claim's table: predicted beside measured, with a verdict."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from cldyn.plots import Figure


class Subject(NamedTuple):
    """What a row is about.

    setting: in which experiment. quantity: what is measured. statistic: over what, and how.
    """

    setting: str
    quantity: str
    statistic: str = ""


OURS = "ours"  # what a row shows that the paper does not say


@dataclass(frozen=True)
class Row:
    """One line: `holds` or `fails` where theory predicts, `found` where it does not.

    shows: the statement of the paper, as `paper.STATEMENTS` has them.
    """

    setting: str
    quantity: str
    statistic: str
    predicted: str
    measured: str
    relative_error: float
    tolerance: str
    verdict: Literal["holds", "fails", "found"]
    shows: str = OURS


@dataclass(frozen=True)
class Study:
    """What a claim produced: its table, trajectories by group ("": the main ones), its figure."""

    rows: list[Row]
    trajectories: dict[str, xr.Dataset]
    figure: Figure


def nothing_missing() -> None:
    """What a claim refuses that needs nothing; a function by name, since claims go to processes."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, or of this project.

    name: of the command line. says: what is claimed. shows: statements of the paper that its rows
    show. source: whose it is, and what is derived here. cost: on 2 cores. study: runs it, in full.
    ready: refuses where something that it needs is not there.
    """

    name: str
    says: str
    shows: tuple[str, ...]
    source: str
    cost: str
    study: Callable[[], Study]
    ready: Callable[[], object] = nothing_missing


def close(subject: Subject, predicted: float, measured: float, tolerance: float) -> Row:
    """Measured within a relative tolerance of predicted."""
    error = _excess(abs(measured - predicted) / abs(predicted))
    told = f"{predicted:.4g}", f"{measured:.4g}"
    return Row(*subject, *told, error, f"{tolerance:.2g}", _verdict(error <= tolerance))


def at_most(subject: Subject, bound: float, measured: float) -> Row:
    """Measured not above a bound; the error is how far it is."""
    error, told = _excess(measured / bound - 1), (f"<= {bound:.4g}", f"{measured:.4g}")
    return Row(*subject, *told, error, "bound", _verdict(measured <= bound))


def at_least(subject: Subject, bound: float, measured: float) -> Row:
    """Measured not below a bound."""
    error, told = _excess(1 - measured / bound), (f">= {bound:.4g}", f"{measured:.4g}")
    return Row(*subject, *told, error, "bound", _verdict(measured >= bound))


def within(subject: Subject, low: float, high: float, measured: float) -> Row:
    """Measured inside a range."""
    below = low / measured - 1 if measured > 0 else math.inf
    error = max(_excess(below), _excess(measured / high - 1))
    told = f"{low:.4g} .. {high:.4g}", f"{measured:.4g}"
    return Row(*subject, *told, error, "range", _verdict(low <= measured <= high))


def found(subject: Subject, measured: str | float | Mapping[str, object], beside: str = "") -> Row:
    """Measured without a verdict: where nothing is predicted, or beside another limit's theory.

    measured: a number, words, or several of them by name, which are told apart.
    """
    return Row(*subject, beside, told(measured), math.nan, "", "found")


def told(measured: object) -> str:
    """Numbers and words of a cell."""
    if isinstance(measured, Mapping):
        return "; ".join(f"{name}: {told(value)}" for name, value in measured.items())
    return measured if isinstance(measured, str) else f"{measured:.3g}"


def showing(statement: str, rows: Sequence[Row]) -> list[Row]:
    """Rows that show a statement of the paper."""
    return [replace(row, shows=statement) for row in rows]


def spread(values: xr.DataArray | np.ndarray) -> str:
    """Median and 10 to 90 % interval over seeds."""
    low, middle, high = np.quantile(np.asarray(values, float), (0.1, 0.5, 0.9))
    return f"{middle:.3g} ({low:.3g} .. {high:.3g})"


def highest(values: xr.DataArray | np.ndarray) -> float:
    """The largest of all; NaN, which no bound allows, if one of them is."""
    return float(np.asarray(values).max())


def lowest(values: xr.DataArray | np.ndarray) -> float:
    """The least of all; NaN, which no bound allows, if one of them is."""
    return float(np.asarray(values).min())


def norm_of(dataset: xr.Dataset, feature: str, **at: float) -> xr.DataArray:
    """|W v_j|, at the end of training where there is one."""
    norms = dataset.feature_norms.sel(feature=feature, **at)
    return norms.isel(step=-1) if "step" in norms.dims else norms


def _excess(error: float) -> float:
    """At least 0; what cannot be measured is infinitely wrong."""
    return math.inf if math.isnan(error) else max(0.0, error)


def _verdict(good: bool) -> Literal["holds", "fails"]:
    return "holds" if good else "fails"


def write(path: Path, rows: list[Row]) -> None:
    """The table as csv."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        for row in rows:
            error = row.relative_error
            shown = "" if math.isnan(error) else f"{error:.3g}"
            writer.writerow(asdict(row) | {"relative_error": shown})
