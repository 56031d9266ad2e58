"""The feature model and views of examples, and what numbers make sense in them."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.refusal import is_real, is_size, refuse, require


def static(default: Any) -> Any:
    return field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FeatureModel:
    """Inputs made of orthonormal features plus noise on all the other directions.

        x = sum_j (mean_j + strength_j s_j) v_j + xi,   E|xi|^2 = noise^2

    Feature 1 is the class, 2 the subclass, 3 ... K are irrelevant. `s_1`, `s_2` are independent uniform signs; dense
    irrelevant features are too, sparse ones have exactly one (uniform, with a uniform sign) active in an example.

    Args:
        d: input dimension, > K.
        class_strength, subclass_strength, irrelevant_strength: phi_j >= 0; one number per irrelevant feature.
        class_mean, subclass_mean, irrelevant_mean: mu_j; `irrelevant_mean` empty means zero.
        class_keep, subclass_keep, irrelevant_keep: probability in [0, 1] that a view keeps the sign of its original,
            else it redraws it uniformly; `irrelevant_keep` empty means 1.
        noise: root of the expected squared length of the noise, >= 0.
        noise_keep: in [0, 1], what part of the noise all views of an example share.
        irrelevant: "dense" or "sparse" (sparse: mean zero and one keep probability).
        noise_kind: "gaussian" on the d - K other directions, "basis" (one of them with a random sign), or
            "distinct_basis" (drawn without replacement over the rows).
        rotated: turn the features from the first K coordinate axes to uniformly random orthonormal directions.

    Source: the data model of Xue et al. (2023); per-feature means, strengths and keep probabilities are ours.
    """

    d: int = static(1000)
    class_strength: float = 1.0
    subclass_strength: float = 1.0
    irrelevant_strength: tuple[float, ...] = ()
    class_mean: float = 0.0
    subclass_mean: float = 1.0
    irrelevant_mean: tuple[float, ...] = ()
    class_keep: float = 1.0
    subclass_keep: float = 1.0
    irrelevant_keep: tuple[float, ...] = ()
    noise: float = 1.0
    noise_keep: float = 0.0
    irrelevant: Literal["dense", "sparse"] = static("dense")
    noise_kind: Literal["gaussian", "basis", "distinct_basis"] = static("gaussian")
    rotated: bool = static(False)

    @property
    def features(self) -> int:
        """K, the number of features."""
        return 2 + len(self.irrelevant_strength)

    def strengths(self, dtype: Any = None) -> Array:
        """phi [K]."""
        return _stack(self.class_strength, self.subclass_strength, self.irrelevant_strength, dtype=dtype)

    def means(self, dtype: Any = None) -> Array:
        """mu [K]."""
        return _stack(self.class_mean, self.subclass_mean, self._irrelevant(self.irrelevant_mean, 0.0), dtype=dtype)

    def keeps(self, dtype: Any = None) -> Array:
        """keep [K]."""
        return _stack(self.class_keep, self.subclass_keep, self._irrelevant(self.irrelevant_keep, 1.0), dtype=dtype)

    def variances(self, dtype: Any = None) -> Array:
        """Variance of every feature [K]: phi_j^2, divided by K - 2 for a sparse one."""
        share = jnp.ones(self.features, dtype)
        if self.irrelevant == "sparse":
            share = share.at[2:].set(1 / max(self.features - 2, 1))
        return self.strengths(dtype) ** 2 * share

    def _irrelevant(self, given: tuple[float, ...], default: float) -> tuple[float, ...]:
        return given or (default,) * len(self.irrelevant_strength)


def _stack(first: Any, second: Any, rest: Any, dtype: Any = None) -> Array:
    return jnp.stack([jnp.asarray(value, dtype or jnp.result_type(float)) for value in (first, second, *rest)])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Views:
    """Augmented views of n examples, m of each; or a user's own arrays, through `views`.

    Args:
        x: views [n, m, d], as are the others a numpy or a JAX array.
        label: class of every example [n], one of `classes` (a model's are -1 and +1).
        subclass: subclass of every example [n], one of `subclasses`.
        irrelevant: signs of the irrelevant features [n, K-2], 0 where a sparse feature is absent.
        directions: the feature directions v_j [K, d]; no rows if unknown.
    """

    x: Any
    label: Any
    subclass: Any
    irrelevant: Any
    directions: Any
    classes: tuple[int, ...] = static((-1, 1))
    subclasses: tuple[int, ...] = static((-1, 1))


def membership(code: Any, groups: tuple[int, ...], dtype: Any) -> Array:
    """One-hot groups of codes [n], as [groups, n]."""
    return (jnp.asarray(code)[None] == jnp.array(groups)[:, None]).astype(dtype)


def views(x: Any, label: Any, subclass: Any = None, directions: Any = None) -> Views:
    """A user's own data as `Views`.

    Args:
        x: finite numbers [n, m, d]; a loss over views of one example needs m >= 1.
        label: integers [n]. subclass: integers [n] or None. directions: [K, d] to be tracked, or None.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """
    arrays = {"x": x, "label": label, "subclass": subclass, "directions": directions}
    for name, given in arrays.items():
        try:
            arrays[name] = np.asarray(given)
        except ValueError:
            refuse(name, given, "an array")
    x, label = arrays["x"], arrays["label"]
    require(x.ndim == 3 and 0 not in x.shape, "x", np.shape(x), "an array [n, m, d] with no empty axis")
    n, _, d = x.shape
    subclass = np.zeros(n, int) if subclass is None else arrays["subclass"]
    directions = np.zeros((0, d)) if directions is None else arrays["directions"]
    require(directions.ndim == 2 and directions.shape[1] == d, "directions", np.shape(directions), f"an array [K, {d}]")
    for name, numbers in (("x", x), ("directions", directions)):
        require(numbers.dtype.kind in "fiu", name, numbers.dtype, "numbers")
        require(np.isfinite(numbers).all(), name, numbers[~np.isfinite(numbers)].flat[:1], "finite numbers")
    names = []
    for name, code in (("label", label), ("subclass", subclass)):
        good = code.shape == (n,) and np.issubdtype(code.dtype, np.integer)
        require(good, name, f"{code.dtype} of shape {code.shape}", f"integers of shape ({n},)")
        largest = code[np.abs(code.astype(float)).argmax()]
        require(abs(int(largest)) < 2**31, name, largest, "integers of 32 bits")
        names.append(tuple(int(group) for group in np.unique(code)))
    return Views(x, label, subclass, np.zeros((n, 0), int), directions, *names)


def check_model(model: FeatureModel) -> None:
    """Refuse with one line naming field, value and what is allowed, if a number makes no sense."""

    def check(good: Any, name: str, allowed: str) -> None:
        require(good, name, getattr(model, name), allowed)

    for name in ("irrelevant_strength", "irrelevant_mean", "irrelevant_keep"):
        check(isinstance(getattr(model, name), (tuple, list)), name, "a tuple with one number per irrelevant feature")
    count = len(model.irrelevant_strength)
    numbers: tuple[tuple[str, str, Any], ...] = (
        ("strength", "a finite number >= 0", lambda value: 0 <= value < math.inf),
        ("mean", "a finite number", math.isfinite),
        ("keep", "a probability in [0, 1]", lambda value: 0 <= value <= 1),
    )
    check(is_size(model.d) and model.d > model.features, "d", f"a whole number above K = {model.features}")
    for kind, allowed, good in numbers:
        for owner in ("class", "subclass", "irrelevant"):
            name = f"{owner}_{kind}"
            values = getattr(model, name) if owner == "irrelevant" else [getattr(model, name)]
            check(all(is_real(value) and good(value) for value in values), name, allowed)
        if kind != "strength":
            check(owner != "irrelevant" or len(values) in (0, count), name, f"no number or one for each of {count} irrelevant features")
    check(is_real(model.noise) and 0 <= model.noise < math.inf, "noise", "a finite number >= 0")
    check(is_real(model.noise_keep) and 0 <= model.noise_keep <= 1, "noise_keep", "a probability in [0, 1]")
    check(isinstance(model.irrelevant, str) and model.irrelevant in ("dense", "sparse"), "irrelevant", "'dense' or 'sparse'")
    kinds = ("gaussian", "basis", "distinct_basis")
    check(isinstance(model.noise_kind, str) and model.noise_kind in kinds, "noise_kind", f"one of {kinds}")
    check(isinstance(model.rotated, bool), "rotated", "True or False")
    if model.irrelevant == "sparse":
        check(count > 0, "irrelevant", "'dense' where there is no irrelevant feature")
        check(not np.any(model.irrelevant_mean), "irrelevant_mean", "zero for sparse features")
        check(len(set(model.irrelevant_keep)) <= 1, "irrelevant_keep", "one probability shared by sparse features")


def check_sizes(n: Any, m: Any, balanced: bool) -> None:
    """Refuse unless there can be n examples of m views."""
    for name, value in (("n", n), ("m", m)):
        require(is_size(value), name, value, "a whole number >= 1")
    require(isinstance(balanced, bool), "balanced", balanced, "True or False")
    require(not balanced or n % 4 == 0, "n", n, "a multiple of 4 when balanced (equal counts of every class and subclass)")


def check_room(model: FeatureModel, n: int, m: int) -> None:
    """Refuse more rows than directions where every row needs one of its own."""
    room = model.d - model.features
    drawn = model.noise_kind != "distinct_basis" or n * m <= room
    require(drawn, "noise_kind", model.noise_kind, f"'gaussian' or 'basis' for {n * m} rows, more than d - K = {room}")
