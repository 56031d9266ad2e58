"""One page to explore sweeps: a file that works from disk, with all it needs inside.

content, thinning, cloud       from datasets to JSON and typed arrays
template.html  page.css        the page
script/        data, state, colours; curves, predictions, numbers; map; embeddings; runs, run;
               page wires them
library/       uPlot, the one library, as it was published
"""

import html
import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import xarray as xr
import zarr

from cldyn import store as stores
from cldyn.checks import Refused, refuse
from cldyn.experiment import Experiment, by_moments
from cldyn.page.content import Arrays, group_of
from cldyn.page.thinning import Thinned, thin
from cldyn.sweeps import forecast, with_predictions
from cldyn.sweeps.store import Store

_HERE = files("cldyn.page")
_SCRIPTS = (
    "data", "state", "colours", "curves", "predictions", "numbers", "map", "embeddings", "runs",
    "run", "page",
)  # fmt: skip


def of_store(path: Path, data: str = "") -> str:
    """The page of a store, with what theory predicts of its runs where there is a theory.

    Args:
        path: a store of `cldyn.sweep`, or the trajectories.zarr of a claim or a run.
        data: folder of files of images, where it is of any.

    Returns:
        HTML.

    Raises:
        ValueError: one line, for a folder that is no store.

    Example:
        >>> import cldyn, pathlib, tempfile
        >>> from cldyn import page
        >>> store = pathlib.Path(tempfile.mkdtemp(), "runs.zarr")
        >>> measured = cldyn.sweep(cldyn.Experiment(), [{"seed": range(2)}], [0, 50], store=store)
        >>> page.of_store(store).startswith("<!doctype html>")
        True
    """
    groups = _groups(path)
    if groups is not None:
        return of_sweeps(path.resolve().parent.name, groups)
    kept = Store(path)
    if file := kept.absent():
        refuse("store", file, "there, as it was written; the same sweep again mends it")
    thinned, notes = thin({"": kept.dataset()})[""], []
    try:
        experiment = kept.located(data)
    except Refused as error:
        experiment = None
        notes.append(f"The page has no predictions and no classes: {error}")
    if experiment is not None and by_moments(experiment.training):
        known = _forecast(kept, experiment, thinned)
        thinned = Thinned(with_predictions(thinned.dataset, known), thinned.picked, thinned.notes)
    return _written(path.name, {"": thinned}, notes, experiment)


def of_sweeps(title: str, sweeps: Mapping[str, xr.Dataset]) -> str:
    """The page of some sweeps.

    Args:
        title: of the page.
        sweeps: datasets by name, "" for the main one. Runs differ along the dimensions of
            `finite_steps`, or else along those with coordinates; records along step or time. A
            variable predicted_X is drawn as a prediction of X.

    Returns:
        HTML.

    Raises:
        ValueError: one line, for a dataset without runs or with times that are not numbers.

    Example:
        >>> import xarray as xr
        >>> from cldyn import page
        >>> curves = {"loss": (("rate", "step"), [[3.0, 2.0], [3.0, 1.0]])}
        >>> runs = xr.Dataset(curves, {"rate": [0.1, 0.2], "step": [0, 10]})
        >>> "two rates" in page.of_sweeps("two rates", {"": runs})
        True
    """
    ordered = {name: sweeps[name] for name in sorted(sweeps, key=bool)}
    return _written(title, thin(ordered), [], None)


def _groups(path: Path) -> dict[str, xr.Dataset] | None:
    """Datasets of a claim's or a run's file by group; None for what a sweep has written."""
    try:
        root = zarr.open_group(path, mode="r", use_consolidated=False)
    except (FileNotFoundError, ValueError, zarr.errors.GroupNotFoundError):
        refuse("store", str(path), "a folder that cldyn sweep, reproduce or run has written")
    if "cldyn" in root.attrs:
        return None
    names = [name for name, _ in root.groups()]
    found = {name: stores.load(path, name) for name in ("", *sorted(names))}
    found = {name: one for name, one in found.items() if one.data_vars}
    if not found:
        refuse("store", str(path), "a folder that cldyn sweep, reproduce or run has written")
    return found


def _forecast(kept: Store, experiment: Experiment, thinned: Thinned) -> xr.Dataset:
    """Predictions of the runs that are on the page."""
    axes = []
    for group in kept.request.axes:
        chosen = thinned.picked.get(next(iter(group)))
        some = {name: [*values] for name, values in group.items()}
        if chosen is not None:
            some = {name: [values[i] for i in chosen] for name, values in some.items()}
        axes.append(some)
    return forecast(experiment, axes, progress=False)


def _written(
    title: str, groups: Mapping[str, Thinned], notes: list[str], experiment: Experiment | None
) -> str:
    arrays = Arrays()
    told = [group_of(name, one, arrays, experiment) for name, one in groups.items()]
    content = {"title": title, "notes": notes, "groups": told, "arrays": arrays.told}
    script = "\n".join(_read(f"script/{name}.js") for name in _SCRIPTS)
    return Template(_read("template.html")).substitute(
        title=html.escape(title),
        version=html.escape(version("cldyn")),
        style=_read("library/uPlot.min.css") + _read("page.css"),
        content=_inside(json.dumps(content, allow_nan=False, separators=(",", ":"))),
        script=f'{_read("library/uPlot.iife.min.js")}\n"use strict";\n{script}',
    )


def _inside(text: str) -> str:
    """JSON that cannot end the element it stands in."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(name: str) -> str:
    return _HERE.joinpath(name).read_text(encoding="utf-8")
