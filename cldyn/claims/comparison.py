"""A sweep of one's own beside theory: every trajectory's end and learning steps, as predicted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from cldyn import nouns, plots
from cldyn.checks import require
from cldyn.claims.table import spread
from cldyn.phases import phases
from cldyn.sizes import Size
from cldyn.sweeps import forecast
from cldyn.sweeps.store import Store

_NORMS = "feature_norms"
_COLUMNS = ("measured", "predicted", "quantity", "apart")  # beside the axes


def comparison(path: Path, data: str = "") -> tuple[pd.DataFrame, plots.Figure]:
    """What a store has measured at its last step beside the predicted limit.

    Args:
        path: of the store, of a linear encoder with the spectral loss.
        data: folder of its files, where it is of any.

    Returns:
        A row of every trajectory and quantity, with columns of the axes, quantity, measured,
        predicted and apart, the steps between the records around a learning step; and its picture.
    """
    store = Store(path)
    measured = store.dataset()
    known = forecast(store.located(data), store.request.axes, critical=False, progress=False)
    last, parts = measured.isel(step=-1), []
    for name in known.data_vars:
        if name in last and last[name].dtype.kind == "f" and name != "step_size":
            parts += _rows(str(name), last[name], known[name])
    if _NORMS in measured:
        curves = measured[_NORMS].transpose(*known[_NORMS].dims[:-1], "feature", "step")
        learned = xr.zeros_like(curves.isel(step=0), float)
        learned.values[...] = phases(measured.step, curves).learned
        for frame in _rows("learning step", learned, known.learning_step):
            parts.append(frame.assign(apart=_apart(measured.step.values, frame.measured)))
    names = ", ".join(map(str, known.data_vars))
    require(parts, "measure", store.request.measure, f"one that theory knows: {names}")
    rows = pd.concat(parts, ignore_index=True)
    return rows, plots.compared(rows)


def _rows(name: str, measured: xr.DataArray, predicted: xr.DataArray) -> list[pd.DataFrame]:
    both = xr.Dataset({"measured": measured.drop_vars("step", errors="ignore")})
    both["predicted"] = predicted.drop_vars("step", errors="ignore")
    found = []
    for feature in both.feature.values.tolist() if "feature" in both.dims else [""]:
        one = both.sel(feature=feature, drop=True) if feature else both
        quantity = {_NORMS: f"|W v| of {feature}"}.get(name, f"{name} {feature}".strip())
        frame = one.to_dataframe().reset_index() if one.dims else _single(one)
        found.append(frame.assign(quantity=quantity, apart=np.nan))
    return found


def _apart(steps: np.ndarray, learned: pd.Series) -> np.ndarray:
    """Steps between the records around a measured one, which is not known any better."""
    between = np.diff(steps, prepend=steps[0]).astype(float)
    return between[np.searchsorted(steps, learned.fillna(steps[0]))]


def _single(one: xr.Dataset) -> pd.DataFrame:
    return pd.DataFrame({name: [one[name].item()] for name in ("measured", "predicted")})


def summary(rows: pd.DataFrame) -> str:
    """By quantity: how far measured is from predicted, and where it is farthest."""
    lines = []
    for name, some in rows.groupby("quantity", sort=False):
        off = (some.measured - some.predicted).abs()
        there = off[np.isfinite(off)]
        if there.empty:
            lines.append(f"{name}: nothing to compare")
            continue
        worst = some.loc[there.idxmax()]
        apart = some.apart[there.index]
        within = f"; records are {apart.max():.0f} steps apart" if (there <= apart).any() else ""
        lines.append(
            f"{name}: {len(there)} of {len(some)} trajectories, off by {there.median():.3g} in the "
            f"median; most, {there.max():.3g}, at {_where(worst)}{within}"
        )
    return "\n".join(lines)


def beside(path: Path, size: Size) -> str:
    """What a store has measured at its last step beside the numbers of the paper that it is of."""
    store = Store(path)
    last, lines = store.dataset().isel(step=-1), []
    for number in size.numbers:
        chosen = _at(last, store.experiment, number.at)
        if chosen is not None and number.measure in chosen:
            values = chosen[number.measure].values
            found = spread(values) if values.size > 1 else f"{values.item():.4g}"
            found = found if np.isfinite(values).all() else "not there"
            told = f"{number.where}: {number.measure} {number.value:g} reported"
            lines.append(f"{told}, {found} measured")
    require(lines, "store", str(path), f"one of cldyn sweep {size.name}, as its numbers are")
    return "\n".join(lines)


def _at(last: xr.Dataset, experiment: Any, at: Mapping[str, float]) -> xr.Dataset | None:
    """Trajectories at some values, of axes or of what they have in common; None: there are none."""
    places = nouns.named(experiment)
    for name, value in at.items():
        if name in last.coords:
            there = np.flatnonzero(np.isclose(last[name], value))
            last = last.isel({last[name].dims[0]: there})
            good = there.size > 0
        else:
            good = name in places and nouns.declared(experiment, places[name][0])[1] == value
        if not good:
            return None
    return last


def _where(row: Any) -> str:
    inside = [name for name in row.index if name not in _COLUMNS]
    told = ", ".join(f"{name} {row[name]}" for name in inside) or "its one trajectory"
    return f"{told} ({row.measured:.4g} measured, {row.predicted:.4g} predicted)"
