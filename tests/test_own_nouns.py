"""Nouns of a reader: written here, known to nobody, used like ours.

An encoder, a loss, an optimizer, a schedule, a kind of noise, an augmentation and a measure, as in
the README. Nothing of the package is edited; every number is an axis by its name.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import info_nce, stored_views

import cldyn
from cldyn import Experiment, FeatureModel, Stored, Training

pytestmark = pytest.mark.quick


class Net(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(self.width, param_dtype=x.dtype)(x))
        return nn.Dense(3, param_dtype=x.dtype)(hidden)


@cldyn.noun
class TwoLayers:
    """An encoder: init and apply."""

    spread: float = 0.3
    width: int = cldyn.static(12)

    def init(self, key, d):
        params = Net(self.width).init(key, jnp.zeros((1, d), jnp.float32))
        return jax.tree.map(lambda one: self.spread * one, params)

    def apply(self, params, x):
        return Net(self.width).apply(params, x)


@cldyn.noun
class Contrast:
    """A loss: of embeddings and of who is positive to whom."""

    temperature: float = 0.5

    def __call__(self, embeddings, pairs):
        f = embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)
        others = 1 - jnp.eye(len(f))
        cosines = f @ f.T / self.temperature
        share = cosines - jnp.log(jnp.sum(others * jnp.exp(cosines), axis=1, keepdims=True))
        weight = others * pairs.positive
        return -jnp.sum(weight * share) / jnp.sum(weight)


@cldyn.noun
class Yogi(cldyn.Optimizer):
    """An optimizer: any optax transformation."""

    pace: float = 0.01
    schedule: object = cldyn.Constant()

    def transform(self, weight_decay):
        return optax.yogi(lambda step: self.pace * self.schedule(step))


@cldyn.noun
class Halving:
    """A schedule: a function of the step."""

    half_life: float = 50.0

    def __call__(self, step):
        return 0.5 ** (step / self.half_life)


@cldyn.noun
class Laplace(cldyn.Noise):
    """A kind of noise: draw."""

    breadth: float = 0.1

    def draw(self, key, n, other, dtype):
        return self.breadth * jax.random.laplace(key, (n, other), dtype)


@cldyn.noun
class Shake:
    """An augmentation: a view of an input."""

    strength: float = 0.1

    def __call__(self, key, x):
        return x + self.strength * jax.random.normal(key, x.shape)


LARGEST = cldyn.Measure(
    "largest", "largest test embedding", lambda seen: jnp.abs(seen.embed("test")).max(), ("test",)
)
STEPS, MEASURES = [0, 5, 25], ["class_gap", "loss", LARGEST]
OWN = Experiment(
    Stored(FeatureModel(d=15, irrelevant_strength=(0.5,), noise=Laplace()), n=8, test_size=20),
    Training(TwoLayers(), Contrast(), optimizer=Yogi(schedule=Halving())),
    "float64",
)
rng = np.random.default_rng(0)
ROWS, LABEL = rng.normal(size=(8, 15)), np.arange(8) % 2
SHAKEN = OWN.replace(problem=cldyn.augmented(ROWS, LABEL, Shake(), test=(ROWS, LABEL, None)))

NUMBERS = {
    "spread": [0.2, 0.4],
    "temperature": [0.3, 0.8],
    "pace": [0.01, 0.03],
    "half_life": [10.0, 40.0],
    "breadth": [0.05, 0.3],
}


def test_every_number_of_ones_own_is_an_axis_and_sweep_equals_loop():
    names = list(NUMBERS)
    axes = [{name: NUMBERS[name] for name in names[:2]}, {"pace": NUMBERS["pace"]}]
    axes += [{name: NUMBERS[name] for name in names[3:]}]
    many = cldyn.sweep(OWN, axes, STEPS, measure=MEASURES, progress=False)
    assert many.largest.dims == ("spread", "pace", "half_life", "step")
    ends = set()
    for at in np.ndindex(2, 2, 2):
        here = zip(axes, at, strict=True)
        numbers = {name: values[i] for group, i in here for name, values in group.items()}
        one = cldyn.run(OWN.replace(**numbers), STEPS, measure=MEASURES).records
        for name in ("class_gap", "loss", "largest"):
            np.testing.assert_allclose(many[name][at], one[name], rtol=1e-7, err_msg=name)
        ends.add(round(float(one["loss"][-1]), 9))
    assert len(ends) == 8 and (many.loss[..., -1] < many.loss[..., 0]).all()


@pytest.mark.parametrize("name", NUMBERS)
def test_each_of_these_numbers_alone_makes_a_difference(name):
    many = cldyn.sweep(OWN, [{name: NUMBERS[name]}], [25], measure=["loss"], progress=False)
    assert abs(float(many.loss[0, 0] - many.loss[1, 0])) > 1e-6


def test_a_dataset_tells_what_one_wrote():
    many = cldyn.sweep(OWN, [{"pace": [0.01, 0.02]}], [0], measure=MEASURES, progress=False)
    told = json.loads(many.attrs["experiment"])
    training, model = told["training"], told["problem"]["model"]
    assert training["encoder"] == {"is": f"{__name__}.TwoLayers", "spread": 0.3, "width": 12}
    assert training["loss"] == {"is": f"{__name__}.Contrast", "temperature": 0.5}
    assert training["optimizer"]["schedule"] == {"is": f"{__name__}.Halving", "half_life": 50.0}
    assert model["noise"] == {"is": f"{__name__}.Laplace", "breadth": 0.1}
    assert many.largest.attrs["long_name"] == "largest test embedding"


def test_what_one_wrote_is_what_is_trained():
    run = cldyn.run(OWN, STEPS, measure=MEASURES)
    x, label = stored_views(OWN)
    embedded = np.asarray(Net(12).apply(run.weights, x.reshape(16, 15)))
    expected = info_nce(embedded, label, 2, 1.0, 0.5)  # of classes of one size
    assert run.records["loss"][-1] == pytest.approx(float(expected), rel=1e-10)
    tests = np.asarray(cldyn.sample_test(jax.random.key(0), OWN.problem.model, 20).x)[:, 0]
    largest = np.abs(Net(12).apply(run.weights, tests)).max()
    assert run.records["largest"][-1] == pytest.approx(float(largest), rel=1e-12)
    noise = x[..., 3:]
    assert 0.1 < np.abs(noise).mean() / 0.1 < 2 and np.isnan(run.learning_rate)


@pytest.mark.parametrize("batch", [cldyn.Full(), cldyn.Subset(4)], ids=["full", "batches"])
def test_an_augmentation_has_numbers_too(batch):
    experiment = SHAKEN.replace(batch=batch)
    many = cldyn.sweep(
        experiment, [{"strength": [0.05, 0.5]}], STEPS, measure=MEASURES, progress=False
    )
    assert f'"is": "{__name__}.Shake", "strength": 0.1' in many.attrs["experiment"]
    assert not np.allclose(many.loss[0], many.loss[1], rtol=1e-3)
    one = cldyn.run(experiment.replace(strength=0.5), STEPS, measure=MEASURES).records
    for name in ("class_gap", "loss", "largest"):
        np.testing.assert_allclose(many[name][1], one[name], rtol=1e-7, err_msg=name)


def test_plain_functions_stand_where_nouns_have_no_numbers():
    def shake(key, x):
        return x + 0.1 * jax.random.normal(key, x.shape)

    def halving(step):
        return 0.5 ** (step / 50)  # in float32: JAX divides an int32 by a Python number so

    plain = SHAKEN.replace(augmentation=shake, schedule=halving)
    ours, theirs = (
        cldyn.sweep(one, [{"seed": [0, 1]}], STEPS, measure=MEASURES, progress=False)
        for one in (plain, SHAKEN)
    )
    for name in ("class_gap", "loss", "largest"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-7, err_msg=name)
    assert "shake" in ours.attrs["experiment"] and "halving" in ours.attrs["experiment"]
