"""What a measure is, and what it sees of a trajectory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jax import Array

INPUT = "input"  # the layer below all others: inputs as they are


class Observed(NamedTuple):
    """What a measure sees of a trajectory at one time.

    embed: name of a probe -> embeddings [s, p]. "train" and "test" rows, images as they are;
        "views" [n m, p], the m of an example one after the other; "directions" v_j [K, p] less the
        embedded origin; "class_gap" and "subclass_gap", differences of embedded means.
        With the name of a layer behind it what that has in place of the output: "input" the inputs
        as they are, "pre" what a projection head gets, and others that an encoder names.
    groups: name of rows -> one-hot classes and subclasses ([classes, s], [subclasses, s]).
    views: m.
    loss: () -> training loss.
    inside: () -> W on the range of the data, in their frame [rows, r].
    moments: () -> M [r] and C [q, r] in that frame, P = C^T C.
    limit: where theory says that it ends: minimizer w [rows, r] and its loss.
    layers: () -> W_1 W_1^T [p, p] and W_2 ... W_L [L - 1, p, p].
    """

    embed: Callable[..., Array]
    groups: dict[str, tuple[Array, Array]]
    views: int
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

    def at(self, layer: str) -> "Observed":
        """The same of a layer, wherever none is named."""
        if not layer:
            return self
        return self._replace(embed=lambda name, other="": self.embed(name, other or layer))


@dataclass(frozen=True)
class Measure:
    """A measure of one's own or of ours.

    Args:
        name: under which it is recorded.
        says: what it is, in words.
        function: of an `Observed`, returns an array of fixed shape.
        needs: what must be there: "directions", "train", "views", "test", "gaps", "loss",
            "moments", "limit", "layers".
        dims: names of the axes of its value.
        exact: whether it is measured unless others are named, since it takes no sample.
        layer: of which it is, where its function names none; "" for the output. One of the inputs
            is evaluated once, since no step changes it.

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
    layer: str = ""

    @property
    def of_inputs(self) -> bool:
        """Whether it is of the inputs as they are."""
        return self.layer == INPUT

    def at(self, layer: str) -> "Measure":
        """The same of a layer, by the name of both.

        Example:
            >>> import cldyn
            >>> cldyn.MEASURES["subclass_accuracy"].at("pre").name
            'pre_subclass_accuracy'
        """
        dims = tuple(f"{layer}_{dim}" if dim == "output" else dim for dim in self.dims)
        name, says = f"{layer}_{self.name}", f"{self.says}, of the layer {layer}"
        return replace(self, name=name, says=says, dims=dims, layer=layer, exact=False)
