"""Embeddings of a page: three coordinates in which classes and subclasses are apart the most."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cldyn import nouns
from cldyn.experiment import Experiment, numerics
from cldyn.page.thinning import CLOUD, CLOUD_BYTES, REPEATS, evenly

# Records and test rows of a run, the fewer the more runs there are; and the bytes of a number.
_LEVELS = ((80, 400), (50, 200), (30, 120))
_SIZE = 2
_LABELS = ("label", "subclass")


def cloud_of(
    dataset: xr.Dataset,
    axes: Sequence[str],
    time: str | None,
    add: Callable[[np.ndarray], int],
    experiment: Experiment | None,
) -> dict[str, Any] | None:
    """Test embeddings of some runs, None where the sweep has recorded none.

    Args:
        dataset: of the sweep.
        axes: along which runs differ.
        time: the dimension of records, or None.
        add: keeps an array of the page.
        experiment: whose test rows tell classes, where the dataset does not.
    """
    outer = [*axes, *([time] if time else [])]
    named = [one for one in dataset.data_vars.values() if {*one.dims} == {*outer, *CLOUD}]
    if not named or not named[0].size:
        return None
    one, sizes = named[0].transpose(*outer, *CLOUD), [dataset.sizes[axis] for axis in axes]
    wide = min(3, dataset.sizes["output"])
    for records, most_rows in _LEVELS:
        times = evenly(dataset.sizes[time], records) if time else np.zeros(1, int)
        rows = evenly(dataset.sizes["test"], most_rows)
        most = max(1, CLOUD_BYTES // (_SIZE * times.size * rows.size * wide))
        if most >= math.prod(sizes):
            break
    runs = _some(sizes, [axis in REPEATS for axis in axes], most)
    names, labels, clouds = _Members(dataset, experiment), [], []
    for run in runs:
        at = dict(zip(axes, np.unravel_index(run, sizes), strict=True)) if sizes else {}
        values = one.isel(at).isel({time: times} if time else {}).isel(test=rows).values
        labels.append(names.of(at, rows))
        label, subclass = names.different[labels[-1]].T
        clouds.append(seen(values.reshape(times.size, *values.shape[-2:]), label, subclass))
    whole, scales = _rounded(np.stack(clouds))
    told = names.told()
    directions = ["class direction"] * bool(told["classes"])
    directions += ["subclass direction"] * bool(told["subclasses"])
    directions += ["largest other direction", "second other direction", "third other direction"]
    return {
        "runs": [int(run) for run in runs],
        "times": (dataset[time].values[times] if time else np.zeros(1)).tolist(),
        "rows": int(rows.size),
        "axes": directions[:wide],
        "labelled": labels,
        "array": add(whole),
        "scales": add(scales),
        **told,
    }


def _rounded(clouds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [runs, t, s, 3] as whole numbers, and how long 1 is at every time [runs, t]: NaN where
    a point is. The eye does not see a 65,000th of a picture.
    """
    scales = np.abs(clouds).max((2, 3)) / (2**15 - 1)
    there = np.where(scales > 0, scales, 1.0)
    whole = np.nan_to_num(clouds / there[:, :, None, None]).round().astype(np.int16)
    return whole, scales


def _some(sizes: Sequence[int], repeats: Sequence[bool], most: int) -> np.ndarray:
    """Runs whose embeddings are kept: every setting with its first seeds before further seeds."""
    index = np.indices(sizes).reshape(len(sizes), math.prod(sizes))
    again = (
        index[list(np.flatnonzero(repeats))].sum(0) if any(repeats) else np.zeros(index.shape[1])
    )
    order = np.argsort(again, kind="stable")
    first = order[: int((again == 0).sum())]
    chosen = first[evenly(first.size, most)] if first.size > most else order[:most]
    return np.sort(chosen)


class _Members:
    """Classes and subclasses of test rows, of every problem once.

    different: labels [rows, 2] of problems that differ.
    """

    def __init__(self, dataset: xr.Dataset, experiment: Experiment | None) -> None:
        self.dataset, self.experiment = dataset, experiment
        self.different: list[np.ndarray] = []
        self._known: dict[Any, int] = {}
        self._names: list[list[Any]] = [[], []]
        self._places = nouns.numbers_of(experiment) if experiment else {}

    def of(self, at: Mapping[str, Any], rows: np.ndarray) -> int:
        """The place, among those that differ, of the labels of a run's rows."""
        changed = {
            str(name): one.item() for name, one in self.dataset.isel(at).coords.items()
            if one.ndim == 0 and one.dtype.kind in "if" and self._of_problem(str(name))
        }  # fmt: skip
        key = tuple(changed.items())
        if key not in self._known:
            self._known[key] = len(self.different)
            self.different.append(self._labels(changed)[rows])
        return self._known[key]

    def told(self) -> dict[str, Any]:
        """Names of classes and of subclasses, where there are several, and all labels."""
        classes, subclasses = (names if len(names) > 1 else [] for names in self._names)
        labels = [one.tolist() for one in self.different]
        return {"classes": classes, "subclasses": subclasses, "labels": labels}

    def _of_problem(self, name: str) -> bool:
        return self._places.get(name, ("",))[0] == "problem"

    def _labels(self, changed: Mapping[str, Any]) -> np.ndarray:
        """Class and subclass [rows, 2] as places among their names, 0 where nobody knows."""
        dataset, count = self.dataset, self.dataset.sizes["test"]
        found: list[Any] = [np.zeros(count, int), np.zeros(count, int)]
        if all(name in dataset and dataset[name].dims == ("test",) for name in _LABELS):
            found = [dataset[name].values for name in _LABELS]
        elif self.experiment is not None:
            members = self._drawn(changed)
            found = [
                one.argmax(0) + 1 if len(one) else none
                for one, none in zip(members, found, strict=True)
            ]
        for names, one in zip(self._names, found, strict=True):
            names += [name for name in np.unique(one).tolist() if name not in names]
        return np.stack(
            [
                [names.index(name) for name in one.tolist()]
                for names, one in zip(self._names, found, strict=True)
            ],
            1,
        )

    def _drawn(self, changed: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """One-hot classes and subclasses [groups, rows] of test rows; no groups if nobody knows."""
        experiment, nobody = self.experiment, np.zeros((0, self.dataset.sizes["test"]))
        assert experiment is not None
        try:
            with numerics(experiment.precision):
                problem = nouns.cast(experiment.replace(**changed).problem, experiment.precision)
                rows = problem.test(np.dtype(experiment.precision))
        except (ValueError, OSError, AttributeError):
            return nobody, nobody
        members = np.asarray(rows.classes), np.asarray(rows.subclasses)
        good = all(one.shape[1:] == nobody.shape[1:] for one in members)
        return members if good else (nobody, nobody)


def seen(embeddings: np.ndarray, label: np.ndarray, subclass: np.ndarray) -> np.ndarray:
    """Embeddings of one run in the directions that tell most of it, the same at all times.

        x -> (x - mean) [u_1, u_2, u_3]

    u_1: the largest direction of class means; u_2: of subclass means within classes, orthogonal to
    it, both at the time at which the smaller of the two spreads is largest; u_3: the largest
    direction of what is left, over all times. Without classes: the three largest directions.

    Args:
        embeddings: [t, s, p]; times with rows that are not finite become NaN.
        label: class of every row [s].
        subclass: subclass of every row [s].

    Returns:
        [t, s, min(p, 3)]. Distances are kept where p <= 3.

    Source: ours.
    """
    finite = np.isfinite(embeddings).all((1, 2))
    embeddings = np.where(finite[:, None, None], embeddings, np.nan).astype(float)
    wide = min(3, embeddings.shape[2])
    if not finite.any():
        return np.full((*embeddings.shape[:2], wide), np.nan)
    centred = embeddings - embeddings.mean(1, keepdims=True)
    known = centred[finite]
    directions = _apart(known, label, subclass)
    scaled = known / np.maximum(np.abs(known).max((1, 2), keepdims=True), 1e-300)
    rest = scaled.reshape(-1, known.shape[2])
    rest = rest - rest @ directions.T @ directions
    _, others = np.linalg.eigh(rest.T @ rest)
    frame, _ = np.linalg.qr(np.concatenate([directions, others.T[::-1]])[: known.shape[2]].T)
    frame = frame[:, :wide]
    for i, one in enumerate(directions[:wide]):  # the sign of QR is arbitrary
        frame[:, i] *= np.sign(frame[:, i] @ one) or 1
    return centred @ frame


def _apart(known: np.ndarray, label: np.ndarray, subclass: np.ndarray) -> np.ndarray:
    """Orthonormal directions [0 to 2, p] of classes, and of subclasses within them."""
    named = np.unique(np.stack([label, subclass]), axis=1).T
    means = np.stack([known[:, (label == a) & (subclass == b)].mean(1) for a, b in named], 1)
    classes = np.unique(named[:, 0])
    of_class = np.stack([means[:, named[:, 0] == one].mean(1) for one in classes], 1)
    within = means - of_class[:, np.searchsorted(classes, named[:, 0])]
    between = of_class - of_class.mean(1, keepdims=True)
    spreads = [np.linalg.norm(part, axis=(1, 2)) for part in (between, within)]
    there = [part for part, spread in zip((between, within), spreads, strict=True) if spread.any()]
    if not there:
        return np.zeros((0, known.shape[2]))
    shown = np.min([spread for spread in spreads if spread.any()], 0).argmax()
    found: list[np.ndarray] = []
    for part, groups in zip(there, (classes, named), strict=False):
        _, _, directions = np.linalg.svd(part[shown])
        one = directions[0] * (np.sign(part[shown][len(groups) - 1] @ directions[0]) or 1)
        for other in found:
            one = one - (one @ other) * other
        length = np.linalg.norm(one)
        if length > 1e-8:
            found.append(one / length)
    return np.stack(found)
