"""Embeddings of a page: three coordinates in which classes and subclasses are apart the most."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cldyn import nouns
from cldyn.experiment import Experiment, numerics
from cldyn.page.thinning import CLOUD, CLOUD_BYTES, REPEATS, evenly

# Records and test rows of a run, the fewer the more runs there are; and the bytes of a number.
_LEVELS = ((80, 400), (50, 200), (30, 120))
_SIZE = 2


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
    named = [name for name, one in dataset.data_vars.items() if set(CLOUD) <= set(one.dims)]
    if not named:
        return None
    one = dataset[named[0]].transpose(*axes, *([time] if time else []), ..., *CLOUD)
    sizes = [dataset.sizes[axis] for axis in axes]
    wide = min(3, dataset.sizes["output"])
    for records, most_rows in _LEVELS:
        times = evenly(dataset.sizes[time], records) if time else np.zeros(1, int)
        rows = evenly(dataset.sizes["test"], most_rows)
        most = max(1, CLOUD_BYTES // (_SIZE * times.size * rows.size * wide))
        if most >= math.prod(sizes):
            break
    runs = _some(sizes, [axis in REPEATS for axis in axes], most)
    clouds, labels = [], []
    for run in runs:
        at = dict(zip(axes, np.unravel_index(run, sizes), strict=True)) if sizes else {}
        values = one.isel(at).isel({time: times} if time else {}).isel(test=rows).values
        label, subclass = _members(dataset, at, experiment)
        label, subclass = label[rows], subclass[rows]
        clouds.append(seen(values.reshape(times.size, *values.shape[-2:]), label, subclass))
        labels.append((label, subclass))
    classes, subclasses = (np.unique(np.stack(part)) for part in zip(*labels, strict=True))
    known = classes.size > 1
    names = ["class direction"] * known + ["subclass direction"] * (subclasses.size > 1)
    names += ["largest other direction", "second other direction", "third other direction"]
    whole, scales = _rounded(np.stack(clouds))
    return {
        "runs": [int(run) for run in runs],
        "times": (dataset[time].values[times] if time else np.zeros(1)).tolist(),
        "rows": int(rows.size),
        "axes": names[:wide],
        "classes": classes.tolist() if known else [],
        "subclasses": subclasses.tolist() if subclasses.size > 1 else [],
        "labels": [
            np.stack(
                [np.searchsorted(classes, one), np.searchsorted(subclasses, other)], 1
            ).tolist()
            for one, other in labels
        ],
        "array": add(whole),
        "scales": add(scales),
    }


def _rounded(clouds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [runs, t, s, 3] as whole numbers, and how long 1 is at every time [runs, t]: NaN where
    a point is. The eye does not see a 65,000th of a picture.
    """
    scales = np.abs(clouds).max((2, 3)) / (2**15 - 1)
    there = np.where(scales > 0, scales, 1.0)
    whole = np.nan_to_num(clouds / there[:, :, None, None]).round().astype(np.int16)
    return whole, scales.astype(np.float32)


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


def _members(
    dataset: xr.Dataset, at: dict[str, Any], experiment: Experiment | None
) -> tuple[np.ndarray, np.ndarray]:
    """Class and subclass of every test row, 0 where nobody knows."""
    count = dataset.sizes["test"]
    if {"label", "subclass"} <= {*dataset.coords}:
        return np.asarray(dataset.label.values), np.asarray(dataset.subclass.values)
    nobody = np.zeros(count, int)
    if experiment is None:
        return nobody, nobody
    places = nouns.numbers_of(experiment)
    here = dataset.isel(at).coords
    changed = {
        str(name): one.item() for name, one in here.items()
        if one.ndim == 0 and one.dtype.kind in "if" and places.get(str(name), ("",))[0] == "problem"
    }  # fmt: skip
    try:
        with numerics(experiment.precision):
            rows = experiment.replace(**changed).problem.test(np.dtype(experiment.precision))
    except (ValueError, OSError, AttributeError):
        return nobody, nobody
    classes, subclasses = np.asarray(rows.classes), np.asarray(rows.subclasses)
    if classes.shape[1:] != (count,):
        return nobody, nobody
    return _numbers(classes), _numbers(subclasses) if len(subclasses) else nobody


def _numbers(member: np.ndarray) -> np.ndarray:
    """Groups of rows from one-hot [groups, rows], from 1 on."""
    return member.argmax(0) + 1


def seen(embeddings: np.ndarray, label: np.ndarray, subclass: np.ndarray) -> np.ndarray:
    """Embeddings of one run in the directions that tell most of it, the same at all times.

        x -> (x - mean) [u_1, u_2, u_3]

    u_1: the largest direction of class means; u_2: of subclass means within classes, orthogonal to
    it, both at the time at which the smaller of the two spreads is largest; u_3: the largest
    direction of what is left, over all times. Without classes: the three largest directions.

    Args:
        embeddings: [t, s, p]; rows of times that are not finite stay so.
        label: class of every row [s].
        subclass: subclass of every row [s].

    Returns:
        [t, s, min(p, 3)]. Distances are kept where p <= 3.

    Source: ours.
    """
    finite = np.isfinite(embeddings).all((1, 2))
    wide = min(3, embeddings.shape[2])
    if not finite.any():
        return np.full((*embeddings.shape[:2], wide), np.nan)
    centred = embeddings - embeddings.mean(1, keepdims=True)
    known = centred[finite].astype(float)
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
