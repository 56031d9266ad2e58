"""What is observed of a trajectory: functions of embeddings, and the one table that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from cldyn.data import contrasts
from cldyn.observables import (
    effective_rank,
    feature_norms,
    gap,
    gradient_balance,
    gram_distance,
    imbalance,
    probe_accuracy,
    within_variance,
)


class Observed(NamedTuple):
    """What a measure sees of a trajectory at one time.

    embed: name of a probe -> embeddings [s, p]. "train" and "test" rows; "directions" v_j [K, p]
        less the embedded origin; "class_gap" and "subclass_gap", differences of embedded means.
    below: the same below a projection head.
    groups: name of rows -> one-hot classes and subclasses ([classes, s], [subclasses, s]).
    loss: () -> training loss.
    inside: () -> W on the range of the data, in their frame [rows, r].
    moments: () -> M [r] and C [q, r] in that frame, P = C^T C.
    limit: where theory says that it ends: minimizer w [rows, r] and its loss.
    layers: () -> W_1 W_1^T [p, p] and W_2 ... W_L [L - 1, p, p].
    """

    embed: Callable[[str], Array]
    below: Callable[[str], Array]
    groups: dict[str, tuple[Array, Array]]
    loss: Callable[[], Array]
    inside: Callable[[], Array]
    moments: Callable[[], tuple[Array, Array]]
    limit: Any
    layers: Callable[[], tuple[Array, Array]]

    def member(self, rows: str, of: str) -> Array:
        """One-hot groups of rows [groups, s]; of: "class", "subclass", or "cell" for both."""
        classes, subclasses = self.groups[rows]
        if of == "cell":
            return (classes[:, None] * subclasses).reshape(-1, classes.shape[1])
        return classes if of == "class" else subclasses


@dataclass(frozen=True)
class Measure:
    """A measure of one's own or of ours.

    Args:
        name: under which it is recorded.
        says: what it is, in words.
        function: of an `Observed`, returns an array of fixed shape.
        needs: what must be there: "directions", "train", "test", "gaps", "loss", "moments",
            "limit", "layers".
        dims: names of the axes of its value.
        exact: whether it is measured unless others are named, since it takes no sample.

    Example:
        >>> import jax.numpy as jnp, cldyn
        >>> def spread(seen):
        ...     return jnp.var(seen.embed("test"))
        >>> own = cldyn.Measure("spread", "variance of test embeddings", spread, ("test",))
        >>> cldyn.run(cldyn.Experiment(), [0, 10], measure=["loss", own]).records["spread"].shape
        (2,)
    """

    name: str
    says: str
    function: Callable[[Observed], Array]
    needs: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    exact: bool = False


def _accuracy(seen: Observed, of: str) -> Array:
    train, test = ((seen.embed(rows), seen.member(rows, of)) for rows in ("train", "test"))
    return probe_accuracy(*train, *test)


def _gap_of(seen: Observed, rows: str, of: str) -> Array:
    return gap(contrasts(seen.embed(rows), seen.member(rows, of)))


def _variance(seen: Observed, rows: str, of: str) -> Array:
    return within_variance(seen.embed(rows), seen.member(rows, of))


def _ratio(above: Array, below: Array) -> Array:
    """above/below, finite where below is all but zero: only what diverges is infinite."""
    return jnp.minimum(above / below, jnp.finfo(above.dtype).max)


def _table(*measures: Measure) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


MEASURES = _table(
    Measure(
        "feature_norms",
        "norm of the embedded feature direction |W v_j|",
        lambda seen: feature_norms(seen.embed("directions")),
        ("directions",),
        ("feature",),
        exact=True,
    ),
    Measure(
        "class_gap",
        "distance between class means",
        lambda seen: gap(seen.embed("class_gap")),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "subclass_gap",
        "distance between subclass means",
        lambda seen: gap(seen.embed("subclass_gap")),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "subclass_to_class",
        "subclass gap over class gap",
        lambda seen: _ratio(gap(seen.embed("subclass_gap")), gap(seen.embed("class_gap"))),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "loss",
        "training loss, with weight_decay |W|^2",
        lambda seen: seen.loss(),
        ("loss",),
        exact=True,
    ),
    Measure(
        "excess_loss",
        "loss above its global minimum",
        lambda seen: seen.loss() - seen.limit.loss,
        ("limit",),
        exact=True,
    ),
    Measure(
        "distance",
        "relative distance of W^T W to the minimum-norm minimizer, on the range of the data",
        lambda seen: gram_distance(seen.inside(), seen.limit.w),
        ("limit",),
        exact=True,
    ),
    Measure(
        "gradient_balance",
        "|W P| over |W M W^T W M|, the two parts of the gradient",
        lambda seen: gradient_balance(seen.inside(), *seen.moments()),
        ("moments",),
    ),
    Measure(
        "train_class_gap",
        "distance between class means of the training rows",
        lambda seen: _gap_of(seen, "train", "class"),
        ("train",),
    ),
    Measure(
        "train_subclass_gap",
        "distance between subclass means of the training rows",
        lambda seen: _gap_of(seen, "train", "subclass"),
        ("train",),
    ),
    Measure(
        "train_class_variance",
        "variance of the training rows within classes",
        lambda seen: _variance(seen, "train", "class"),
        ("train",),
    ),
    Measure(
        "train_subclass_variance",
        "variance of the training rows within subclasses of a class",
        lambda seen: _variance(seen, "train", "cell"),
        ("train",),
    ),
    Measure(
        "test_class_gap",
        "distance between class means of the test sample",
        lambda seen: _gap_of(seen, "test", "class"),
        ("test",),
    ),
    Measure(
        "test_subclass_gap",
        "distance between subclass means of the test sample",
        lambda seen: _gap_of(seen, "test", "subclass"),
        ("test",),
    ),
    Measure(
        "test_class_variance",
        "variance of the test sample within classes",
        lambda seen: _variance(seen, "test", "class"),
        ("test",),
    ),
    Measure(
        "test_subclass_variance",
        "variance of the test sample within subclasses of a class",
        lambda seen: _variance(seen, "test", "cell"),
        ("test",),
    ),
    Measure(
        "class_accuracy",
        "test accuracy of a linear probe for the class",
        lambda seen: _accuracy(seen, "class"),
        ("train", "test"),
    ),
    Measure(
        "subclass_accuracy",
        "test accuracy of a linear probe for the subclass",
        lambda seen: _accuracy(seen, "subclass"),
        ("train", "test"),
    ),
    Measure(
        "first_layer_norms",
        "norm of the feature direction below the projection head |W_1 v_j|",
        lambda seen: feature_norms(seen.below("directions")),
        ("directions", "layers"),
        ("feature",),
    ),
    Measure(
        "imbalance",
        "largest relative difference between W_(l+1)^T W_(l+1) and W_l W_l^T",
        lambda seen: imbalance(*seen.layers()),
        ("layers",),
    ),
    Measure(
        "effective_rank",
        "effective rank of the centred embeddings of the training rows",
        lambda seen: effective_rank(seen.embed("train")),
        ("train",),
    ),
    Measure(
        "embeddings",
        "embeddings of the test sample",
        lambda seen: seen.embed("test"),
        ("test",),
        ("test", "output"),
    ),
)
EXACT = tuple(name for name, measure in MEASURES.items() if measure.exact)
