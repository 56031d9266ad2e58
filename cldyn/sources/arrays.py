"""Arrays of one's own as sources: stored views, or inputs with an augmentation that makes views."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn import moments
from cldyn.checks import refuse, require
from cldyn.data import membership
from cldyn.fields import array, part, size, static, whole
from cldyn.nouns import noun
from cldyn.sources.units import (
    Drawn,
    FreshUnits,
    Rows,
    StoredUnits,
    batch_key,
    mean_gaps,
    stored_units,
    weighted,
)


@noun
class Arrays:
    """Stored views of one's own, made by `cldyn.views`."""

    x: Any = array("training views [n, m, d]")
    label: Any = array("class of every example [n]", codes=True)
    subclass: Any = array("subclass of every example [n]", codes=True)
    directions: Any = array("feature directions [K, d]")
    test_x: Any = array("test inputs [s, d]", optional=True)
    test_label: Any = array("their classes [s]", codes=True, optional=True)
    test_subclass: Any = array("their subclasses [s]", codes=True, optional=True)
    classes: tuple[int, ...] = static(())
    subclasses: tuple[int, ...] = static(())

    fresh, has_rows, axes = False, True, 3  # axes: of x

    @property
    def has_test(self) -> bool:
        """Whether there are test rows."""
        return self.test_x is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, m, d."""
        return self.x.shape

    def draw(self, dtype: Any) -> Drawn:
        """The arrays."""
        return self._drawn(jnp.asarray(self.x, dtype), dtype)

    def test(self, dtype: Any) -> Rows:
        """Test rows, where there are some."""
        codes = (self.test_label, self.classes), (self.test_subclass, self.subclasses)
        groups = (membership(code, names, dtype) for code, names in codes)
        return Rows(jnp.asarray(self.test_x, dtype), *groups)

    def _drawn(self, x: Array, dtype: Any) -> Drawn:
        member = membership(self.label, self.classes, dtype)
        submember = membership(self.subclass, self.subclasses, dtype)
        directions = jnp.asarray(self.directions, dtype)
        return Drawn(x, member, submember, None, directions, mean_gaps(x, member, submember))

    def frame(self, drawn: Drawn, bias: bool, dtype: Any) -> moments.Frame:
        """The frame of the rows."""
        return moments.frame(drawn.x, drawn.member, bias)

    def units(self, drawn: Drawn, training: Any, x: Array) -> StoredUnits | FreshUnits:
        """What batches are made of; x: the views in coordinates of one's choice."""
        return stored_units(self, drawn, training, x)

    def check(self) -> None:
        """Refuse arrays that do not fit each other."""
        _checked(self.x, self.label, self.subclass, self.directions, self.axes)
        for name, codes, known in (
            ("label", self.label, self.classes),
            ("subclass", self.subclass, self.subclasses),
            ("test_label", self.test_label, self.classes),
            ("test_subclass", self.test_subclass, self.subclasses),
        ):
            found = () if codes is None else _groups(codes)
            require(set(found) <= set(known), name, found, f"among {known}")


@noun
class Augmented(Arrays):
    """Inputs [n, d] of one's own and an augmentation, made by `cldyn.augmented`.

    Where batches are full, m views of every input are drawn once, by data_seed; else every step
    draws m fresh ones of its inputs. Measures of training rows are of the first.
    """

    augmentation: Any = part(None, "function of (key, input [d]) that returns a view [d]", {})
    m: int = size(2, "m, views of each example; at least 2 where they are positive pairs")
    data_seed: int = whole(0, "seed of the views that are stored")

    fresh, axes = True, 2  # axes: of x

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, m, d."""
        return self.x.shape[0], self.m, self.x.shape[1]

    def draw(self, dtype: Any) -> Drawn:
        """Stored views."""
        given = jnp.asarray(self.x, dtype)
        everyone = jnp.arange(self.shape[0])
        x = self.views(given, everyone, jax.random.key(self.data_seed), dtype)
        return self._drawn(x, dtype)._replace(originals=given)

    def views(self, given: Array, chosen: Array, key: Array, dtype: Any) -> Array:
        """Fresh views [b, m, d] of chosen inputs."""
        keys = jax.random.split(key, (chosen.shape[0], self.m))
        many = jax.vmap(jax.vmap(self.augmentation, (0, None)))
        return many(keys, given[chosen]).astype(dtype)

    def units(self, drawn: Drawn, training: Any, x: Array) -> FreshUnits:
        """What batches are made of."""
        key = batch_key(training.seed)
        return FreshUnits(key, self._bare(), drawn.originals, weighted(drawn.member))

    def _bare(self) -> "_Views":
        return _Views(self.augmentation, self.m)

    def check(self) -> None:
        """Refuse arrays that do not fit each other."""
        super().check()
        name = "augmentation"
        require(callable(self.augmentation), name, self.augmentation, "a function (key, x) -> view")


def views(
    x: Any, label: Any, subclass: Any = None, directions: Any = None, *, test: Any = None
) -> Arrays:
    """Your own stored views as a source.

    Args:
        x: finite numbers [n, m, d].
        label: classes, integers [n].
        subclass: integers [n], or None.
        directions: feature directions to be tracked [K, d], or None.
        test: (x [s, d], label [s], subclass [s] or None): rows on which probes, gaps and variances
            are measured; None for no such measures.

    Returns:
        Arrays.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.

    Example:
        >>> import numpy as np, cldyn
        >>> x = np.random.default_rng(0).normal(size=(6, 2, 5))
        >>> source = cldyn.views(x, [0, 0, 1, 1, 2, 2], test=(x[:, 0], [0, 0, 1, 1, 2, 2], None))
        >>> run = cldyn.run(cldyn.Experiment(source), [0, 10], measure=["test_class_variance"])
    """
    return Arrays(**_given(x, label, subclass, directions, test, 3))


def augmented(
    x: Any,
    label: Any,
    augmentation: Any,
    subclass: Any = None,
    directions: Any = None,
    *,
    m: int = 2,
    data_seed: int = 0,
    test: Any = None,
) -> Augmented:
    """Your own inputs and what makes views of them, as a source.

    Args:
        x: finite numbers [n, d].
        label: classes, integers [n].
        augmentation: function of (key, input [d]) that returns a view [d]; a noun's numbers are
            axes.
        subclass: integers [n], or None.
        directions: feature directions to be tracked [K, d], or None.
        m: views of each, >= 1.
        data_seed: seed of stored views.
        test: as in `views`.

    Returns:
        Augmented.

    Raises:
        ValueError: as `views`.

    Example:
        >>> import jax, numpy as np, cldyn
        >>> def noisy(key, x):
        ...     return x + 0.1 * jax.random.normal(key, x.shape)
        >>> x = np.random.default_rng(0).normal(size=(8, 5))
        >>> source = cldyn.augmented(x, [0, 0, 0, 0, 1, 1, 1, 1], noisy)
        >>> cldyn.run(cldyn.Experiment(source), [0, 10]).records["loss"].shape
        (2,)
    """
    given = _given(x, label, subclass, directions, test, 2)
    made = Augmented(**given, augmentation=augmentation, m=m, data_seed=data_seed)
    made.check()
    return made


@noun
class _Views:
    """The part of `Augmented` that draws fresh views."""

    augmentation: Any = part(None, "", {})
    m: int = size(2, "")

    views = Augmented.views


def _given(
    x: Any, label: Any, subclass: Any, directions: Any, test: Any, axes: int
) -> dict[str, Any]:
    """Fields of arrays that fit each other."""
    x, label, subclass, directions = _checked(x, label, subclass, directions, axes)
    found: dict[str, Any] = {"x": x, "label": label, "subclass": subclass, "directions": directions}
    found |= {"classes": _groups(label), "subclasses": _groups(subclass)}
    if test is not None:
        good = isinstance(test, (tuple, list)) and len(test) == 3
        require(good, "test", type(test).__name__, "a tuple (x, label, subclass or None)")
        rows, codes, subcodes, _ = _checked(test[0], test[1], test[2], None, 2, "test_")
        wide = x.shape[-1]
        require(rows.shape[1] == wide, "test_x", rows.shape, f"an array [s, {wide}]")
        if test[2] is None:
            told = "integers [s], as training rows have several"
            require(len(found["subclasses"]) == 1, "test_subclass", None, told)
            subcodes = np.full_like(codes, found["subclasses"][0])
        found |= {"test_x": rows, "test_label": codes, "test_subclass": subcodes}
        for name, values, known in (
            ("test_label", codes, found["classes"]),
            ("test_subclass", subcodes, found["subclasses"]),
        ):
            require(set(_groups(values)) <= set(known), name, _groups(values), f"among {known}")
    return found


def _groups(code: Any) -> tuple[int, ...]:
    return tuple(int(group) for group in np.unique(code))


def _checked(
    x: Any, label: Any, subclass: Any, directions: Any, axes: int, of: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arrays, refused where shapes do not fit or numbers are not finite."""
    arrays = {"x": x, "label": label, "subclass": subclass, "directions": directions}
    for name, given in arrays.items():
        try:
            arrays[name] = np.asarray(given)
        except ValueError:
            refuse(of + name, given, "an array")
    x, label = arrays["x"], arrays["label"]
    shape = "[n, m, d]" if axes == 3 else "[n, d]"
    good = x.ndim == axes and 0 not in x.shape
    require(good, of + "x", np.shape(x), f"an array {shape} with no empty axis")
    n, d = x.shape[0], x.shape[-1]
    subclass = np.zeros(n, int) if subclass is None else arrays["subclass"]
    directions = np.zeros((0, d)) if directions is None else arrays["directions"]
    good = directions.ndim == 2 and directions.shape[1] == d
    require(good, "directions", np.shape(directions), f"an array [K, {d}]")
    for name, numbers in (("x", x), ("directions", directions)):
        require(numbers.dtype.kind in "fiu", of + name, numbers.dtype, "numbers")
        wrong = numbers[~np.isfinite(numbers)].flat[:1]
        require(not wrong.size, of + name, wrong, "finite numbers")
    for name, code in (("label", label), ("subclass", subclass)):
        good = code.shape == (n,) and np.issubdtype(code.dtype, np.integer)
        shown = f"{code.dtype} of shape {code.shape}"
        require(good, of + name, shown, f"integers of shape ({n},)")
        largest = code[np.abs(code.astype(float)).argmax()]
        require(abs(int(largest)) < 2**31, of + name, largest, "integers of 32 bits")
    return x, label, subclass, directions
