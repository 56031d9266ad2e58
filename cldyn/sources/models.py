"""Sources of a feature model: stored rows, fresh views of originals, the whole population."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import data, moments
from cldyn.checks import require
from cldyn.data import FeatureModel, membership
from cldyn.fields import flag, part, size, whole
from cldyn.nouns import noun
from cldyn.sources.units import (
    SIGNS,
    Drawn,
    FreshUnits,
    NewUnits,
    Rows,
    StoredUnits,
    batch_key,
    stored_units,
    weighted,
)

_MODELS = {"features": FeatureModel}
_MODEL = "the feature model"
_N = "n, examples; a multiple of 4 when balanced"
_M = "m, views of each example; at least 2 where they are positive pairs"
_BALANCED = "equal counts of every class and subclass"
_TEST = "originals in the test sample"
_SEED = "seed of training and test data"
_TEST_BALANCED = "equal counts of every class and subclass in the test sample"


def _drawn(model: FeatureModel, dtype: Any, **more: Any) -> Drawn:
    """What all sources of a feature model draw alike."""
    gaps = 2 * model.strengths(dtype)[:2, None] * more["directions"][:2]
    given = {"x": None, "member": None, "submember": None, "originals": None} | more
    named = {"class_gap": gaps[:1], "subclass_gap": gaps[1:]}
    return Drawn(**given, gaps=named)


def _test(source: Any, model: FeatureModel, dtype: Any) -> Rows:
    """A test sample in the directions of what the source draws."""
    key, count, balanced = jax.random.key(source.data_seed), source.test_size, source.test_balanced
    views = data.sample_test(key, model, count, balanced=balanced, dtype=dtype)
    groups = (membership(code, SIGNS, dtype) for code in (views.label, views.subclass))
    return Rows(views.x[:, 0], *groups)


@noun
class Stored:
    """Rows drawn once: m views of each of n examples.

    Example:
        >>> import cldyn
        >>> cldyn.Stored(cldyn.FeatureModel(d=100), n=40, m=2, data_seed=1).shape
        (40, 2, 100)
    """

    model: FeatureModel = part(FeatureModel(), _MODEL, _MODELS)
    n: int = size(100, _N)
    m: int = size(2, _M)
    balanced: bool = flag(True, _BALANCED)
    test_size: int = size(400, _TEST)
    data_seed: int = whole(0, _SEED)
    test_balanced: bool = flag(False, _TEST_BALANCED)

    fresh, has_rows, has_test = False, True, True

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, m, d."""
        return self.n, self.m, self.model.d

    def draw(self, dtype: Any) -> Drawn:
        """What there is to learn from."""
        key, model = jax.random.key(self.data_seed), self.model
        views = data.sample(key, model, self.n, self.m, balanced=self.balanced, dtype=dtype)
        member, submember = (
            membership(code, SIGNS, dtype) for code in (views.label, views.subclass)
        )
        return _drawn(
            model, dtype,
            x=views.x, member=member, submember=submember, directions=views.directions,
        )  # fmt: skip

    def test(self, dtype: Any) -> Rows:
        """A test sample."""
        return _test(self, self.model, dtype)

    def frame(self, drawn: Drawn, bias: bool, dtype: Any) -> moments.Frame:
        """The frame of the rows."""
        return moments.frame(drawn.x, drawn.member, bias)

    def units(self, drawn: Drawn, training: Any, x: Array) -> StoredUnits:
        """What batches are made of; x: the views in coordinates of one's choice."""
        return stored_units(self, drawn, training, x)

    def check(self) -> None:
        """Refuse numbers that do not fit each other."""
        _check_model(self.model)
        data.check_sizes(self.test_size, 1, self.test_balanced, "test_size")
        data.check_sizes(self.n, self.m, self.balanced)
        data.check_room(self.model, self.n, self.m)


@noun
class FreshViews:
    """n examples whose views are drawn anew in every step; all of them at once where batches are
    full, by their exact moments.

    Example:
        >>> import cldyn
        >>> source = cldyn.FreshViews(cldyn.FeatureModel(d=20), n=40)
        >>> cldyn.Experiment(source).replace(batch=cldyn.Subset(8)).problem.n
        40
    """

    model: FeatureModel = part(FeatureModel(), _MODEL, _MODELS)
    n: int = size(100, _N)
    m: int = size(2, "m, views of every example in a batch")
    balanced: bool = flag(True, _BALANCED)
    test_size: int = size(400, _TEST)
    data_seed: int = whole(0, _SEED)
    test_balanced: bool = flag(False, _TEST_BALANCED)

    fresh, has_rows, has_test = True, False, True
    shape = Stored.shape

    test = Stored.test

    def draw(self, dtype: Any) -> Drawn:
        """The originals."""
        key, model = jax.random.key(self.data_seed), self.model
        given = data.originals(key, model, self.n, balanced=self.balanced, dtype=dtype)
        member = membership(given.codes[:, 0], SIGNS, dtype)
        return _drawn(model, dtype, member=member, originals=given, directions=given.directions)

    def frame(self, drawn: Drawn, bias: bool, dtype: Any) -> moments.Frame:
        """The frame of all views of the originals."""
        return moments.views_frame(self.model, drawn.originals, bias, dtype)

    def units(self, drawn: Drawn, training: Any, x: Array | None) -> FreshUnits:
        """What batches are made of."""
        key = batch_key(training.seed)
        return FreshUnits(key, self, drawn.originals, weighted(drawn.member))

    def views(self, given: data.Originals, chosen: Array, key: Array, dtype: Any) -> Array:
        """Fresh views [b, m, d] of chosen originals."""
        noise = jax.tree.map(lambda leaf: leaf[chosen], given.noise)
        given = given._replace(codes=given.codes[chosen], noise=noise)
        return data.augment(key, self.model, given, self.m, dtype=dtype)

    def check(self) -> None:
        """Refuse numbers that do not fit each other."""
        _check_model(self.model)
        data.check_sizes(self.test_size, 1, self.test_balanced, "test_size")
        data.check_sizes(self.n, self.m, self.balanced)


@noun
class Population:
    """The whole distribution, by its exact moments; a batch is of new examples.

    Example:
        >>> import cldyn
        >>> model = cldyn.FeatureModel(d=20, noise=cldyn.Gaussian(0.3))
        >>> cldyn.run(cldyn.Experiment(cldyn.Population(model)), [0, 50]).finite_steps
        50
    """

    model: FeatureModel = part(FeatureModel(), _MODEL, _MODELS)
    m: int = size(2, "m, views of every example in a batch")
    test_size: int = size(400, _TEST)
    data_seed: int = whole(0, "seed of test data")
    test_balanced: bool = flag(False, _TEST_BALANCED)

    fresh, has_rows, has_test = True, False, True

    @property
    def shape(self) -> tuple[int, int, int]:
        """1, m, d."""
        return 1, self.m, self.model.d

    def draw(self, dtype: Any) -> Drawn:
        """Directions."""
        model = self._straight()
        return _drawn(model, dtype, directions=jnp.eye(model.named, model.d, dtype=dtype))

    def test(self, dtype: Any) -> Rows:
        """A test sample."""
        return _test(self, self._straight(), dtype)

    def _straight(self) -> FeatureModel:
        """The model in unrotated directions, in which the population is trained."""
        return replace(self.model, rotated=False)

    def frame(self, drawn: Drawn, bias: bool, dtype: Any) -> moments.Frame:
        """The eigenframe of the distribution."""
        return moments.population_frame(self.model, bias, dtype)

    def units(self, drawn: Drawn, training: Any, x: Array | None) -> NewUnits:
        """What batches are made of."""
        return NewUnits(batch_key(training.seed), self, jnp.zeros(0, drawn.directions.dtype))

    def check(self) -> None:
        """Refuse what is no model."""
        _check_model(self.model)
        data.check_sizes(self.test_size, 1, self.test_balanced, "test_size")


def _check_model(model: Any) -> None:
    require(isinstance(model, FeatureModel), "model", model, "a cldyn.FeatureModel")
