import math
from dataclasses import fields, replace

import jax
import numpy as np
import pytest

from cldyn import theory
from cldyn.data import FeatureModel, sample, sample_test, views
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lane import predict, run
from cldyn.lanes import forecast, sweep

NAN, INF = math.nan, math.inf
PLAIN = Problem(FeatureModel(d=20), n=8)
TWO = {"irrelevant_strength": (1.0, 2.0)}


def refused(name, call, *shown):
    """The call raises ValueError with one line that starts with the name and says what is allowed."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{name}:"), message
    assert "\n" not in message and "allowed" in message, message
    for value in shown:
        assert repr(value) in message, message


MODEL = [
    *[("d", value, {}) for value in (2, 0, -5, 10.0, True, None)],
    ("d", 4, TWO),
    *[(f"{owner}_strength", value, {}) for owner in ("class", "subclass") for value in (-1.0, NAN, INF, "1", None, True, (1.0, 2.0))],
    *[(f"{owner}_mean", value, {}) for owner in ("class", "subclass") for value in (NAN, -INF, "0", None, (0.0,))],
    *[(f"{owner}_keep", value, {}) for owner in ("class", "subclass") for value in (-0.1, 1.1, NAN, None, False)],
    *[("irrelevant_strength", value, {}) for value in ((1.0, -1.0), (INF,), ("a",), 2.0)],
    *[("irrelevant_mean", value, TWO) for value in ((1.0,), (1.0, NAN), (1.0, 2.0, 3.0))],
    *[("irrelevant_keep", value, TWO) for value in ((1.0,), (0.5, 1.5), (1.0, 1.0, 1.0))],
    *[(name, 0.5, {"irrelevant_strength": (1.0,)}) for name in ("irrelevant_mean", "irrelevant_keep")],
    *[("noise", value, {}) for value in (-1.0, NAN, INF, "1", None)],
    *[("noise_keep", value, {}) for value in (-0.5, 1.5, NAN, None)],
    *[("irrelevant", value, TWO) for value in ("loose", None, 3)],
    ("irrelevant", "sparse", {}),
    ("irrelevant_mean", (0.0, 1.0), {**TWO, "irrelevant": "sparse"}),
    ("irrelevant_keep", (0.5, 1.0), {**TWO, "irrelevant": "sparse"}),
    *[("noise_kind", value, {}) for value in ("white", None)],
    *[("rotated", value, {}) for value in (1, "yes", None)],
    ("noise_kind", "distinct_basis", {"d": 17}),
]


@pytest.mark.parametrize(("name", "value", "others"), MODEL)
@pytest.mark.parametrize("door", ["sample", "run"])
def test_field_of_a_model_is_refused(name, value, others, door):
    model = FeatureModel(**{"d": 20, **others, name: value})
    if door == "sample":
        refused(name, lambda: sample(jax.random.key(0), model, 8, 2), value)
    else:
        refused(name, lambda: run(Experiment(Problem(data=model, n=8, m=2)), [0]), value)


@pytest.mark.parametrize(
    ("name", "value", "others"),
    [
        *[("n", value, {}) for value in (0, -4, 6, 8.0, None, True)],
        *[("m", value, {}) for value in (0, -1, 2.0, None, True)],
        *[(name, value, {}) for name in ("balanced", "bias", "population", "fresh_views") for value in (1, "no", None)],
        *[("test_size", value, {}) for value in (0, -1, 10.0, None, 2**31)],
        *[("data_seed", value, {}) for value in (-1, 0.5, None, True, 2**31)],
        *[("precision", value, {}) for value in ("float16", None, 64)],
        *[("data", value, {}) for value in (None, "mnist", np.zeros((3, 2, 2)), FeatureModel)],
        *[(name, True, {"data": views(np.ones((4, 1, 2)), np.array([0, 0, 1, 1]))}) for name in ("population", "fresh_views")],
        ("fresh_views", True, {"population": True}),
    ],
)
def test_field_of_a_problem_is_refused(name, value, others):
    problem = Problem(**{"data": FeatureModel(d=20), "n": 8, **others, name: value})
    shown = () if isinstance(value, (np.ndarray, type)) else (value,)
    refused(name, lambda: run(Experiment(problem), [0]), *shown)
    refused(name, lambda: sweep(Experiment(problem), [{"seed": [0]}], [0]), *shown)
    refused(name, lambda: predict(Experiment(problem)), *shown)


TRAINING = [
    *[("depth", value) for value in (0, -1, 2.0, True, None)],
    *[("loss", value) for value in ("infonce", None, 1)],
    *[("learning_rate_unit", value) for value in ("relative", None)],
    *[("optimizer", value) for value in ("sgd", None, 3)],
    *[("batch", value) for value in ("all", None, 32)],
    *[("batch_size", value) for value in (1, 0, 8.0, None, True, 17)],
    *[("schedule", value) for value in ("cosine", None)],
    *[(name, value) for name in ("warmup_steps", "square_decay") for value in (-0.1, NAN, INF, None)],
    *[("square_decay", value) for value in (1.0, "b2")],
    *[("decay_steps", value) for value in (0.0, -1.0, NAN, INF, None, 3.0)],
    *[("epsilon", value) for value in (0.0, NAN, INF, 1e-50)],
    *[("clip_norm", value) for value in (0.0, -1.0, NAN, None)],
    *[("beta", value) for value in (-0.1, 1.1, NAN, "half", None, True)],
    *[("learning_rate", value) for value in (0.0, -0.1, NAN, INF, "fast", None)],
    *[("momentum", value) for value in (-0.1, 1.0, NAN, None)],
    *[("weight_decay", value) for value in (-1e-3, NAN, INF, None)],
    *[("init_scale", value) for value in (-1.0, NAN, INF, None)],
    *[("embed_dim", value) for value in (0, -1, 2.0, None, True)],
    *[("seed", value) for value in (-1, 0.5, None, 2**31)],
]


@pytest.mark.parametrize(("name", "value"), TRAINING)
def test_field_of_a_training_is_refused(name, value):
    others = {"batch_size": {"batch": "subset"}, "decay_steps": {"schedule": "warmup_cosine", "warmup_steps": 5.0}}.get(name, {})
    experiment = Experiment(Problem(data=FeatureModel(d=20), n=8), Training(**{**others, name: value}))
    refused(name, lambda: run(experiment, [0]), value)
    refused(name, lambda: sweep(experiment, [{"data_seed": [0]}], [0]), value)


def test_every_field_has_a_bad_value_here():
    assert {field.name for field in fields(FeatureModel)} == {name for name, *_ in MODEL}
    assert {field.name for field in fields(Training)} == {name for name, _ in TRAINING}


@pytest.mark.parametrize(
    ("name", "problem", "training"),
    [
        ("batch", {"population": True}, {"batch": "subset", "batch_size": 4}),
        ("m", {"population": True, "m": 1}, {"batch": "iid", "batch_size": 4, "loss": "ucl"}),
        ("m", {"fresh_views": True, "m": 1}, {"batch": "subset", "batch_size": 4}),
        ("noise_kind", {"population": True, "data": FeatureModel(d=20, noise_kind="distinct_basis")}, {"batch": "iid"}),
        ("batch_size", {}, {"batch": "epochs", "batch_size": 9, "loss": "ucl"}),
        ("batch", {}, {"batch": "iid", "optimizer": "flow"}),
        ("schedule", {}, {"schedule": "inverse_time", "optimizer": "flow"}),
        ("clip_norm", {}, {"clip_norm": 1.0, "optimizer": "flow"}),
        ("learning_rate_unit", {}, {"learning_rate_unit": "critical", "optimizer": "adam"}),
    ],
)
def test_what_does_not_go_together_is_refused(name, problem, training):
    experiment = Experiment(Problem(**{"data": FeatureModel(d=20), "n": 8, **problem}), Training(**training))
    for call in (lambda: run(experiment, [0]), lambda: sweep(experiment, [{"seed": [0]}], [0]), lambda: predict(experiment)):
        refused(name, call)
    refused("measure", lambda: run(Experiment(Problem(fresh_views=True), Training()), [0], measure=["effective_rank"]))


SMALL = Experiment(Problem(data=FeatureModel(d=20, irrelevant_strength=(1.0, 2.0)), n=8))
OWN = {"x": np.ones((4, 2, 3)), "label": np.array([0, 0, 1, 1]), "subclass": None, "directions": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("x", value) for value in (np.ones((4, 3)), np.ones((0, 2, 3)), np.ones((4, 0, 3)), np.ones((4, 2, 0)), 3.0)],
        *[("x", np.full((4, 2, 3), value)) for value in (NAN, INF, "a")],
        *[("label", value) for value in (np.arange(3), np.ones(4), np.ones((4, 1), int), "abcd", None)],
        *[("subclass", value) for value in (np.arange(5), np.ones(4))],
        *[("directions", value) for value in (np.ones(3), np.ones((2, 4)), np.full((1, 3), NAN))],
    ],
)
def test_own_arrays_are_refused(name, value):
    refused(name, lambda: views(**{**OWN, name: value}))
    assert views(**OWN).classes == (0, 1)


STEPS = [[3, 2], [1, 1], [-1, 2], [], 5, [0.5, 1.5], ["a"], [0, 2**31], None, [[0, 1]], [[0], [1, 2]], np.arange(200)[::-1]]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("door", [run, lambda experiment, steps: sweep(experiment, [{"seed": [0]}], steps)], ids=["run", "sweep"])
def test_record_steps_are_refused(door, steps):
    shown = () if isinstance(steps, np.ndarray) else (steps,)
    refused("record_at", lambda: door(SMALL, steps), *shown)


@pytest.mark.parametrize("measures", [["accuracy"], ["loss", "Loss"], "loss", [None]])
def test_unknown_measure_is_refused(measures):
    wrong = measures if isinstance(measures, str) else measures[-1]
    refused("measure", lambda: run(SMALL, [0], measure=measures), wrong)
    refused("measure", lambda: sweep(SMALL, [{"seed": [0]}], [0], measure=measures), wrong)


def test_embeddings_without_a_test_sample_are_refused():
    for problem in (replace(SMALL.problem, population=True), Problem(data=views(**OWN))):
        refused("measure", lambda problem=problem: run(Experiment(problem), [0], measure=["embeddings"]), "embeddings")


@pytest.mark.parametrize(
    ("axes", "shown"),
    [
        ([{"widht": [1]}], ["widht"]),
        ([{"loss": ["scl", "ucl"]}], ["loss"]),
        ([{"n": [4, 8]}], ["n"]),
        ([{"seed": [0]}, {"beta": [0.1], "seed": [1]}], ["seed"]),
        ([{"seed": [0, 1], "beta": [0.1]}], [{"seed": 2, "beta": 1}]),
        ([{"seed": []}], []),
        ([{"noise": []}], []),
        ([{"noise": [0.0, 1.0]}, {"seed": []}], []),
        ([{}], []),
        ([{"beta": 0.5}], []),
        ({"beta": [0.5]}, []),
    ],
)
def test_axes_are_refused(axes, shown):
    refused("axes", lambda: sweep(SMALL, axes, [0]), *shown)


@pytest.mark.parametrize(
    ("name", "values", "bad"),
    [
        ("learning_rate", [0.1, -0.1], -0.1),
        ("embed_dim", [2, 0], 0),
        ("beta", np.array([0.5, 1.5]), 1.5),
        ("noise", [1.0, NAN], NAN),
        ("class_keep", [0.5, 2.0], 2.0),
        ("data_seed", [0, -1], -1),
        ("irrelevant_strength", [(1.0, 2.0), (1.0,)], (1.0,)),
        ("irrelevant_keep", [0.5, 2.0], (2.0, 2.0)),
        ("seed", [0, "a"], "a"),
        ("weight_decay", [0.0, None], None),
    ],
)
def test_value_in_an_axis_is_refused(name, values, bad):
    refused(name, lambda: sweep(SMALL, [{name: values}], [0]), bad)


def test_field_of_a_model_is_no_axis_of_own_arrays():
    refused("axes", lambda: sweep(Experiment(Problem(data=views(**OWN))), [{"noise": [1.0]}], [0]), "noise")


@pytest.mark.parametrize("steps", [[-1.0], [NAN], 3.0, [[1.0]]])
def test_steps_of_a_prediction_are_refused(steps):
    refused("steps", lambda: predict(SMALL, steps), steps)


@pytest.mark.parametrize("name", ["experiment", "problem", "training"])
def test_things_in_the_wrong_place_are_refused(name):
    wrong = {"experiment": SMALL.problem, "problem": Experiment(SMALL.training), "training": Experiment(SMALL.problem, SMALL.problem)}[name]
    for call in (lambda: run(wrong, [0]), lambda: predict(wrong), lambda: sweep(wrong, [{"seed": [0]}], [0])):
        refused(name, call)


def test_a_test_sample_of_a_bad_model_is_refused():
    refused("noise", lambda: sample_test(jax.random.key(0), FeatureModel(noise=-1.0), 10), -1.0)
    refused("n", lambda: sample_test(jax.random.key(0), FeatureModel(), 0), 0)


@pytest.mark.parametrize("predicted", [theory.minimizer, theory.critical_learning_rate])
def test_moments_that_do_not_fit_are_refused(predicted):
    refused("second, positive", lambda: predicted(np.eye(3), np.eye(2), 1))
    refused("second, positive", lambda: predicted(np.ones(3), np.ones(3), 1))
    refused("embed_dim", lambda: predicted(np.eye(3), np.eye(3), 0), 0)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("record_at", lambda: run(SMALL, np.array([3, 2], np.uint32))),
        ("irrelevant_strength", lambda: sweep(replace(SMALL, problem=PLAIN), [{"irrelevant_strength": [1.0, 2.0]}], [0])),
        ("axes", lambda: sweep(SMALL, [{"learning_rate": np.array(0.1)}], [0])),
        ("axes", lambda: sweep(SMALL, None, [0])),
        ("measure", lambda: run(SMALL, [0], measure=None)),
        ("measure", lambda: run(SMALL, [0], measure=[["loss"]])),
        ("class_strength", lambda: run(Experiment(replace(PLAIN, data=FeatureModel(d=20, class_strength=np.zeros((3, 3))))), [0])),
        ("n", lambda: run(Experiment(replace(PLAIN, n=np.zeros((3, 3)))), [0])),
        ("steps", lambda: predict(SMALL, -np.arange(2000.0))),
        ("steps", lambda: predict(SMALL, [[1], [1, 2]])),
        ("loss", lambda: run(Experiment(PLAIN, Training(loss=np.array(["scl", "ucl"]))), [0])),
        ("learning_rate", lambda: run(Experiment(PLAIN, Training(learning_rate=10**400)), [0])),
        ("weight_decay", lambda: run(Experiment(PLAIN, Training(depth=2, weight_decay=0.1)), [0])),
        ("weight_decay", lambda: sweep(Experiment(PLAIN, Training(depth=2)), [{"weight_decay": (0.0, 0.1)}], [0])),
        ("learning_rate_unit", lambda: run(Experiment(PLAIN, Training(depth=2, learning_rate_unit="critical")), [0])),
        ("experiment", lambda: forecast(PLAIN, [])),
        ("learning_rate", lambda: run(Experiment(PLAIN, Training(learning_rate=1e-60)), [0])),
        ("class_strength", lambda: run(Experiment(replace(PLAIN, data=FeatureModel(d=20, class_strength=1e300))), [0])),
        ("balanced", lambda: sample(jax.random.key(0), FeatureModel(d=20), 8, 2, balanced="no")),
        ("x", lambda: views([[[1.0]], [[1.0, 2.0]]], [0, 1])),
        ("label", lambda: views(np.ones((2, 1, 3)), [0, 2**32])),
        ("label", lambda: run(Experiment(Problem(replace(views(np.ones((2, 1, 3)), [0, 1]), label=np.array([5, 7])))), [0])),
        ("measure", lambda: run(Experiment(replace(PLAIN, population=True)), [0], measure=["train_class_gap"])),
        ("measure", lambda: run(Experiment(Problem(views(**OWN))), [0], measure=["class_accuracy"])),
    ],
)
def test_odd_arguments_are_refused(name, call):
    refused(name, call)
