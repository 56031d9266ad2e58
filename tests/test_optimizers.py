"""Optimizers and schedules: against optax on raw data, in both coordinates, and as axes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import SMALL, random_model, raw_training

import cldyn
from cldyn import (
    Adam,
    AdamW,
    Constant,
    DeepLinear,
    FeatureModel,
    Flow,
    Gaussian,
    Gd,
    InverseTime,
    Joint,
    Lion,
    Momentum,
    Nesterov,
    Population,
    RmsProp,
    Subset,
    WarmupCosine,
)
from cldyn.optimizers import OPTIMIZERS
from cldyn.sweeps import execute
from cldyn.trajectory import Setting, draw, plan_of, prepare, settle, train, with_step
from cldyn.trajectory.train import ready

PLAIN = SMALL.replace(init_scale=0.05, learning_rate=0.05)
KNOWN = {
    "gd": Gd(0.01),
    "momentum": Momentum(0.01, momentum=0.8),
    "nesterov": Nesterov(0.01, momentum=0.8),
    "flow": Flow(0.01),
    "adam": Adam(0.01, momentum=0.8, square_decay=0.97, epsilon=1e-6),
    "adamw": AdamW(0.01, momentum=0.8, square_decay=0.97, epsilon=1e-6),
    "rmsprop": RmsProp(0.01, square_decay=0.97, epsilon=1e-6),
    "lion": Lion(0.002, momentum=0.8, square_decay=0.97),
}
ROTATES = {"gd", "momentum", "nesterov", "flow"}
MORE = {"clip_norm": 0.3, "schedule": WarmupCosine(10.0, 90.0)}


@partial(jax.jit, static_argnames="plan")
def last(problem, drawn, training, plan):
    """The last W after 100 steps, where a plan says that it is trained."""
    prepared = prepare(problem, drawn, training, plan)
    setting = with_step(Setting(prepared, training, settle(prepared, training, plan)))
    return train(setting, plan, jnp.array([0, 100]))[1]


def both_ways(experiment):
    """The last W, trained in the frame and on inputs as they are."""
    plan = plan_of(experiment, ())
    problem, training = ready(experiment)
    given = problem, draw(problem, training, plan), training
    ways = (replace(plan, in_frame=here) for here in (True, False))
    return [np.asarray(last(*given, way)) for way in ways]


@pytest.mark.parametrize("name", KNOWN)
def test_frame_and_inputs_agree_where_the_optimizer_commutes_with_rotations_only(name):
    experiment = PLAIN.replace(optimizer=KNOWN[name], weight_decay=0.05)
    experiment = experiment if name == "flow" else experiment.replace(**MORE)
    inside, raw = both_ways(experiment)
    assert plan_of(experiment, ()).in_frame == (name in ROTATES)
    apart = np.abs(inside - raw).max() / np.abs(raw).max()
    assert apart < 1e-10 if name in ROTATES else apart > 1e-2


EVERYWHERE = [
    {"optimizer": Nesterov(0.01), "batch": Subset(5), **MORE},
    {"optimizer": Gd(0.02), "batch": Subset(5), "positives": Joint(0.3), "weight_decay": 0.1},
    {"optimizer": Momentum(0.01), "encoder": DeepLinear(init_scale=0.4, depth=3), **MORE},
    {"optimizer": Flow(0.02), "encoder": DeepLinear(init_scale=0.4), "bias": False},
    {"model": random_model(1), "optimizer": Gd(0.2, learning_rate_unit="critical")},
    {"problem": Population(random_model(2)), "optimizer": Momentum(0.01), "weight_decay": 0.1},
]


@pytest.mark.parametrize("change", EVERYWHERE)
def test_frame_and_inputs_agree_for_batches_layers_critical_rates_and_populations(change):
    inside, raw = both_ways(PLAIN.replace(**change))
    assert np.abs(raw).max() > 0.05
    np.testing.assert_allclose(inside, raw, atol=1e-10 * np.abs(raw).max())


# --- optax -----------------------------------------------------------------------------------

ORACLES = {
    "gd": lambda rate, _: optax.sgd(rate),
    "momentum": lambda rate, _: optax.sgd(rate, 0.8),
    "nesterov": lambda rate, _: optax.sgd(rate, 0.8, nesterov=True),
    "adam": lambda rate, _: optax.adam(rate, 0.8, 0.97, 1e-6),
    "rmsprop": lambda rate, _: optax.rmsprop(rate, 0.97, 1e-6),
    "adamw": lambda rate, decay: optax.adamw(rate, 0.8, 0.97, 1e-6, weight_decay=decay),
    "lion": lambda rate, decay: optax.lion(rate, 0.8, 0.97, weight_decay=decay),
}
DECOUPLED = {"adamw", "lion"}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("full", [False, True], ids=["plain", "scheduled and clipped"])
def test_optimizers_are_those_of_optax_on_raw_data_and_its_decay_is_twice_lambda(name, full):
    experiment = PLAIN.replace(optimizer=KNOWN[name], weight_decay=0.04)
    rate = KNOWN[name].learning_rate
    penalty = [] if name in DECOUPLED else [optax.add_decayed_weights(0.08)]
    parts = [*penalty, ORACLES[name](rate, 0.08)]
    if full:  # a penalty counts among the gradient that is clipped, a decoupled decay does not
        schedule = optax.warmup_cosine_decay_schedule(0.0, rate, 5, 40)
        experiment = experiment.replace(schedule=WarmupCosine(5.0, 40.0), clip_norm=0.5)
        parts = [*penalty, optax.clip_by_global_norm(0.5), ORACLES[name](schedule, 0.08)]
    ours = cldyn.run(experiment, [0, 50]).weights
    theirs = raw_training(experiment, 50, optax.chain(*parts), penalty=False)
    # Lion takes signs, which rounding can turn where a mean of gradients passes zero.
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_schedules_are_those_of_optax():
    steps = np.arange(130)
    warm = optax.warmup_cosine_decay_schedule(0.0, 1.0, 20, 100)
    np.testing.assert_allclose(WarmupCosine(20.0, 100.0)(steps), warm(steps), atol=1e-7)
    cold = optax.cosine_decay_schedule(1.0, 100)
    np.testing.assert_allclose(WarmupCosine(0.0, 100.0)(steps), cold(steps), atol=1e-7)
    np.testing.assert_allclose(InverseTime(100.0)(steps), 1 / (1 + steps / 100), rtol=1e-12)
    assert Constant()(steps) == 1 and {type(one) for one in KNOWN.values()} == {
        *OPTIMIZERS.values()
    }


# --- axes ------------------------------------------------------------------------------------


def test_numbers_of_optimizers_and_schedules_are_axes_and_compile_once():
    optimizer = AdamW(0.01, schedule=WarmupCosine(decay_steps=60.0), clip_norm=1.0)
    experiment = PLAIN.replace(optimizer=optimizer)
    axes = [
        {"momentum": [0.5, 0.9], "square_decay": [0.9, 0.99]},
        {"clip_norm": [0.2, np.inf], "weight_decay": [0.0, 0.3]},
        {"epsilon": [1e-8, 1e-2], "warmup_steps": [0.0, 7.0], "decay_steps": [50.0, 40.0]},
    ]
    execute.train_tile.clear_cache()
    dataset = cldyn.sweep(experiment, axes, [0, 50], progress=False)
    other = [*axes[:2], {**axes[2], "epsilon": [1e-3, 1e-4]}]
    cldyn.sweep(experiment, other, [0, 40], progress=False)
    assert execute.train_tile._cache_size() == 1
    ends = set()
    for at in np.ndindex(2, 2, 2):
        here = zip(axes, at, strict=True)
        numbers = {name: values[i] for group, i in here for name, values in group.items()}
        one = cldyn.run(experiment.replace(**numbers), [0, 50]).records["feature_norms"]
        np.testing.assert_allclose(dataset.feature_norms[at], one, rtol=1e-8)
        ends.add(round(float(one[-1, 0]), 6))
    assert len(ends) == 8


def test_a_clip_norm_of_infinity_or_none_clips_nothing():
    free = PLAIN.replace(optimizer=Gd(0.05))
    (plain, inf, tight) = (
        cldyn.run(free.replace(clip_norm=norm), [0, 50]).weights for norm in (None, np.inf, 0.1)
    )
    np.testing.assert_array_equal(plain, inf)
    assert np.abs(plain - tight).max() > 1e-2


# --- theory ----------------------------------------------------------------------------------

FACTOR = {
    "gd": 2.0,
    "momentum": 2 * 1.6,
    "nesterov": 2 * 1.6 / 2.2,
    "flow": 2.785293563405282,
}


@pytest.mark.parametrize("name", FACTOR)
def test_critical_rate_is_where_an_optimizer_stops_damping(name):
    numbers = {} if name in ("gd", "flow") else {"momentum": 0.6}
    kind = OPTIMIZERS[name](learning_rate_unit="critical", **numbers)
    model = FeatureModel(d=4, noise=Gaussian(0.0), subclass_strength=0.8)
    population = PLAIN.replace(problem=Population(model), embed_dim=2, init_scale=1e-3)
    experiment = population.replace(optimizer=kind)
    axes = [{"learning_rate": [0.95, 1.05]}]
    ends = cldyn.sweep(experiment, axes, [0, 20_000], measure=["distance"], progress=False)
    assert ends.distance[0, -1] < 1e-6 and not ends.distance[1, -1] < 1e-3
    known, plain = (cldyn.predict(one) for one in (experiment, population))
    expected = FACTOR[name] / 2 * plain.critical_learning_rate
    assert known.critical_learning_rate == pytest.approx(expected)
    told = [known.peak_bound, known.unlearning_rate, *known.learning_step]
    assert np.isfinite(told).all() if name in ("gd", "flow") else np.isnan(told).all()


def test_theory_is_silent_about_optimizers_it_does_not_know():
    known = cldyn.predict(PLAIN.replace(optimizer=Adam()), [0, 1, np.inf])
    told = [*known.learning_step, known.peak_bound, known.unlearning_rate]
    assert np.isnan([*told, known.critical_learning_rate]).all()
    norms = known.records["feature_norms"]
    assert np.isnan(norms[:2]).all() and np.isfinite(norms[2]).all()
    for other in ({"schedule": InverseTime()}, {"clip_norm": 1.0}):
        late = cldyn.predict(PLAIN.replace(**other))
        assert np.isnan([*late.learning_step, late.unlearning_rate]).all()
        assert late.critical_learning_rate > 0
