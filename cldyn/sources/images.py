"""Images as sources: fresh views of them in every step, with bits and overlays of their own."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn import moments
from cldyn.checks import require
from cldyn.data import images as pictures
from cldyn.data import membership
from cldyn.data.images import Augment, Pictures
from cldyn.fields import array, number, part, size, static, whole
from cldyn.held import Held
from cldyn.nouns import noun
from cldyn.sources.units import Drawn, FreshUnits, Rows, batch_key, mean_gaps, weighted


class Contents(NamedTuple):
    """What is held. train, test: images, test None where there are none.

    marks, test_marks: overlays [k, h, w, c], as large as the images; None where there are none.
    """

    train: Pictures
    test: Pictures | None
    marks: Any = None
    test_marks: Any = None


class Originals(NamedTuple):
    """Examples.

    held: `Contents`. bits: of each [n, most_bits]. mark: which overlay it has [n], or None.
    """

    held: Held
    bits: Array
    mark: Array | None


@noun
class Pictured:
    """What sources of images share."""

    augmentation: Any = part(
        Augment(), "function of (key, image [h, w, c]) that returns a view", {"augment": Augment}
    )
    bits: int = whole(0, "random bits of an example, +-1/2, the same in all its views")
    most_bits: int = size(16, "columns for bits; those from bits on are zero", 0)
    bits_keep: float | None = number(
        None, "probability that a view keeps a bit, else draws it", 0, 1, optional=True
    )
    overlay_keep: float | None = number(
        None, "probability that a view keeps its overlay, else draws one", 0, 1, optional=True
    )
    m: int = size(2, "m, views of each example; at least 2 where they are positive pairs")
    stored_size: int = size(2000, "examples for probes and stored views, at most; evenly chosen")
    test_size: int = size(1000, "test rows, at most; evenly chosen")
    data_seed: int = whole(0, "seed of bits, overlays and stored views")

    held: Any = array("training and test images", optional=True)
    classes: tuple[int, ...] = static(())
    subclasses: tuple[int, ...] = static(())

    fresh, has_rows = True, True
    directions = ()

    def opened(self) -> Any:
        """The source with its images."""
        return self

    def contents(self) -> Contents:
        """The images."""
        found: Contents = self.opened().held.value
        return found

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """h, w, c; an input is the image in this order, then its bits."""
        _, h, w, c = self.contents().train.x.shape
        return h, w, c

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, m, d."""
        n, h, w, c = self.contents().train.x.shape
        return n, self.m, h * w * c + self.most_bits

    @property
    def has_test(self) -> bool:
        """Whether there are test rows."""
        return self.contents().test is not None

    def draw(self, dtype: Any) -> Drawn:
        """The originals, and some or all of them as they are and in stored views."""
        train, marks = self.contents().train, self.contents().marks
        n, (own_key, view_key, _) = train.x.shape[0], self._keys()
        given = Originals(self.opened().held, *self._own(own_key, n, marks))
        chosen = evenly(n, self.stored_size)
        x = self.views(given, chosen, view_key, dtype)
        mark = None if given.mark is None else given.mark[chosen]
        plain = self._plain(train, marks, chosen, given.bits[chosen], mark, dtype)
        member, submember = plain.classes, plain.subclasses
        directions, gaps = jnp.zeros((0, x.shape[-1]), dtype), mean_gaps(x, member, submember)
        return Drawn(x, member, submember, given, directions, gaps, plain=plain)

    def test(self, dtype: Any) -> Rows:
        """Test images as they are, with bits and overlays of their own."""
        test, marks = self.contents().test, self.contents().test_marks
        assert test is not None
        chosen = evenly(test.x.shape[0], self.test_size)
        own = self._own(self._keys()[2], len(chosen), marks)
        return self._plain(test, marks, chosen, *own, dtype)

    def _plain(
        self, held: Pictures, marks: Any, chosen: Any, bits: Array, mark: Any, dtype: Any
    ) -> Rows:
        """Chosen images as they are, with bits [b, most_bits] and overlays [b] of their own."""
        x = _unit(held.x[chosen], dtype)
        if mark is not None:
            x = pictures.written_over(x, _unit(marks[mark], dtype))
        codes = (held.label, self.classes), (held.fine, self.subclasses)
        groups = (membership(code[chosen], names, dtype) for code, names in codes)
        return Rows(self._rows(x, bits), *groups)

    def frame(self, drawn: Drawn, bias: bool, dtype: Any) -> moments.Frame:
        """The frame of the stored views."""
        return moments.frame(drawn.x, drawn.member, bias)

    def units(self, drawn: Drawn, training: Any, x: Array) -> FreshUnits:
        """What batches are made of."""
        label = drawn.originals.held.value.train.label
        member = weighted(membership(label, self.classes, drawn.x.dtype))
        # What views are made of stands in the originals.
        bare = replace(self, held=None)
        return FreshUnits(batch_key(training.seed), bare, drawn.originals, member)

    def views(self, given: Originals, chosen: Any, key: Array, dtype: Any) -> Array:
        """Fresh views [b, m, d] of chosen originals."""
        found, keys = given.held.value, jax.random.split(key, (chosen.shape[0], self.m))
        many = jax.vmap(jax.vmap(self.augmentation, (0, None)))
        x = many(keys, _unit(found.train.x[chosen], dtype)).astype(dtype)
        if given.mark is not None:
            mark = self._marks(jax.random.fold_in(key, 1), given.mark[chosen], len(found.marks))
            x = pictures.written_over(x, _unit(found.marks[mark], dtype))
        bits = jnp.repeat(given.bits[chosen][:, None], self.m, axis=1)
        if self.bits_keep is not None:
            words = jax.random.bits(jax.random.fold_in(key, 2), bits.shape, jnp.uint32)
            kept = (words >> 9).astype(jnp.float32) * 2**-23 < self.bits_keep
            bits = jnp.where(kept, bits, words % 2 == 1)
        return self._rows(x, bits)

    def _marks(self, key: Array, mark: Array, count: int) -> Array:
        """Which overlay every view has [b, m]."""
        marks = jnp.repeat(mark[:, None], self.m, axis=1)
        if self.overlay_keep is None:
            return marks
        coin_key, new_key = jax.random.split(key)
        kept = jax.random.uniform(coin_key, marks.shape, jnp.float32) < self.overlay_keep
        return jnp.where(kept, marks, jax.random.randint(new_key, marks.shape, 0, count, jnp.int32))

    def _keys(self) -> Array:
        """Keys of bits and overlays, of stored views, and of test rows."""
        return jax.random.split(jax.random.key(self.data_seed), 3)

    def _own(self, key: Array, n: int, marks: Any) -> tuple[Array, Array | None]:
        """What n examples have of their own: bits [n, most_bits], and which overlay [n]."""
        # Bits of one column do not depend on how many columns there are.
        bits = jax.random.bits(key, (self.most_bits, n), jnp.uint32).T % 2 == 1
        if marks is None:
            return bits, None
        mark_key = jax.random.fold_in(key, 1)
        return bits, jax.random.randint(mark_key, (n,), 0, len(marks), jnp.int32)

    def _rows(self, x: Array, bits: Array) -> Array:
        """Inputs [..., d] of images [..., h, w, c] and bits [..., most_bits]."""
        there = jnp.arange(self.most_bits) < self.bits
        columns = jnp.where(there, bits - jnp.asarray(0.5, x.dtype), 0).astype(x.dtype)
        return jnp.concatenate([x.reshape(*x.shape[:-3], -1), columns], axis=-1)

    def check(self) -> None:
        """Refuse numbers that do not fit each other."""
        allowed = f"at most most_bits, {self.most_bits}"
        require(int(self.bits) <= self.most_bits, "bits", self.bits, allowed)
        for name in ("bits_keep", "overlay_keep"):
            keep, allowed = getattr(self, name), "a number in [0, 1], or None alone: all are kept"
            require(keep is None or np.isfinite(keep), name, keep, allowed)
        name = "augmentation"
        require(callable(self.augmentation), name, self.augmentation, "a function (key, image)")


@noun
class Images(Pictured):
    """Images of one's own, made by `cldyn.images`."""


def images(
    x: Any,
    label: Any,
    subclass: Any = None,
    *,
    test: Any = None,
    overlay: Any = None,
    augmentation: Any = Augment(),  # noqa: B008  a frozen noun
    **numbers: Any,
) -> Images:
    """Your own images as a source: fresh views of them in every step.

    An input is the flattened view [h w c], then its bits.

    Args:
        x: images, bytes or numbers in [0, 1], [n, h, w, c] or [n, h, w].
        label: classes, integers [n].
        subclass: integers [n]; None: the classes.
        test: (x, label, subclass or None) of test images; None: there are none.
        overlay: images [k, h, w, c] that are drawn for every example and written over its views
            where they are bright; (those, others for test images), or None.
        augmentation: noun or function of (key, image [h, w, c]) that returns a view.
        numbers: bits, most_bits, bits_keep, overlay_keep, m, stored_size, test_size, data_seed.

    Returns:
        Images.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not in [0, 1].

    Example:
        >>> import cldyn
        >>> from cldyn.data import images
        >>> own = images.digits()  # or any array [n, h, w, c] and its labels
        >>> x, digit = own.x[:200], own.label[:200]
        >>> parity = images.superclass("parity", digit)
        >>> weak = images.Augment(crop=0.5, dropout=0.0)
        >>> source = cldyn.images(x, parity, digit, augmentation=weak, bits=4)
        >>> encoder, batch = cldyn.Mlp(hidden=32, embed_dim=8), cldyn.Subset(64)
        >>> experiment = cldyn.Experiment(source).replace(encoder=encoder, batch=batch)
        >>> experiment = experiment.replace(loss=cldyn.InfoNce(), optimizer=cldyn.Adam())
        >>> cldyn.run(experiment, [0, 10], measure=["loss"]).finite_steps
        10
    """
    train, tested = pictures.checked(x, label, subclass), None
    if test is not None:
        good = isinstance(test, (tuple, list)) and len(test) == 3
        require(good, "test", type(test).__name__, "a tuple (x, label, subclass or None)")
        told = "integers [n], as training images have subclasses of their own"
        require(subclass is None or test[2] is not None, "test subclass", test[2], told)
        tested = pictures.checked(test[0], test[1], test[2], "test")
        allowed = f"images of shape {train.x.shape[1:]}"
        require(tested.x.shape[1:] == train.x.shape[1:], "test x", tested.x.shape[1:], allowed)
    marks: list[Any] = []
    if overlay is not None:
        both = overlay if isinstance(overlay, tuple) else (overlay, overlay)
        allowed = "images, or a tuple of those and others for test images"
        good = len(both) == 2 and all(hasattr(one, "__len__") for one in both)
        require(good, "overlay", type(overlay).__name__, allowed)
        for one in both:
            zeros = np.zeros(len(one), int)
            found = pictures.checked(one, zeros, None, "overlay")
            marks.append(pictures.fitted(found.x, *train.x.shape[1:]))
    classes, subclasses = groups_of(train, tested)
    held = Held(Contents(train, tested, *marks))
    made = Images(augmentation, held=held, classes=classes, subclasses=subclasses, **numbers)
    made.check()
    one = jax.ShapeDtypeStruct(made.image_shape, jnp.float32)
    view = jax.eval_shape(augmentation, jax.eval_shape(lambda: jax.random.key(0)), one).shape
    require(view == one.shape, "augmentation", view, f"views of shape {one.shape}, as the images")
    return made


def groups_of(train: Pictures, test: Pictures | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Classes and subclasses; test rows have no others."""
    found = []
    for name, told in (("label", "test_label"), ("fine", "test_subclass")):
        groups = np.unique(getattr(train, name)).tolist()
        if test is not None:
            others = sorted({*getattr(test, name).tolist()} - {*groups})
            require(not others, told, others, f"among those of training images, {groups}")
        found.append(tuple(groups))
    return found[0], found[1]


def evenly(count: int, most: int) -> np.ndarray:
    """Places of at most so many of `count`, as far from each other as they can be."""
    chosen = min(count, most)
    return np.arange(chosen) * count // chosen


def _unit(x: Array, dtype: Any) -> Array:
    """Bytes or numbers in [0, 1] as numbers in [0, 1]."""
    if x.dtype == jnp.uint8:
        return jnp.asarray(x, dtype) / jnp.asarray(255, dtype)
    return jnp.asarray(x, dtype)
