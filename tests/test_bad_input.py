"""Requests that make no sense are refused in one line that says what is allowed."""

import math
from dataclasses import fields, replace

import jax
import numpy as np
import pytest

import cldyn
from cldyn import (
    Adam,
    AdamW,
    Both,
    CappedSpectral,
    DeepLinear,
    DistinctBasis,
    Epochs,
    Experiment,
    FeatureModel,
    Flow,
    FreshViews,
    Full,
    Gaussian,
    Gd,
    Iid,
    InfoNce,
    InverseTime,
    Joint,
    Linear,
    Lion,
    Mlp,
    Momentum,
    Nesterov,
    OneHot,
    Perturbed,
    Population,
    RmsProp,
    Spectral,
    Stored,
    Subset,
    SupCon,
    Supervised,
    Training,
    Unsupervised,
    WarmupCosine,
    forecast,
    gradient_noise,
    predict,
    run,
    sample,
    sample_test,
    sweep,
    theory,
    views,
)
from cldyn.data.images import Augment
from cldyn.experiment import NAMES
from cldyn.nouns import is_internal
from cldyn.sources import Cifar10, Cifar100, Digits, FashionMnist, Mnist, Shapes
from cldyn.sweeps.grid import grid_of

pytestmark = pytest.mark.quick

NAN, INF = math.nan, math.inf
KEY = jax.random.key(0)
TWO = {"irrelevant_strength": (1.0, 2.0)}
PLAIN = Experiment(Stored(FeatureModel(d=20), n=8))
SMALL = PLAIN.replace(**TWO)
OWN = {"x": np.ones((4, 2, 3)), "label": np.array([0, 0, 1, 1]), "subclass": None}
ROWS = Experiment(views(**OWN))


def refused(name, call, *shown):
    """The call raises ValueError with one line: name, value, and what is allowed."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{name}:"), message
    assert "\n" not in message and "allowed" in message, message
    for value in shown:
        assert " ".join(repr(value).split())[:200] in message, message


# --- fields ----------------------------------------------------------------------------------

SIZE, WHOLE = (0, -4, 8.0, None, True, 2**31), (-1, 0.5, None, True, 2**31)
POSITIVE, AT_LEAST_ZERO = (0.0, -0.1, NAN, INF, "1", None), (-1.0, NAN, INF, "1", None, True)
SHARE, FINITE, FLAG = (-0.1, 1.1, NAN, None, "half"), (NAN, -INF, "0", None, (0.0,)), (1, "no")

MODEL = {
    "d": (2, 0, -5, 10.0, True, None),
    "class_strength": (*AT_LEAST_ZERO, (1.0, 2.0), 1e300),
    "subclass_strength": AT_LEAST_ZERO,
    "irrelevant_strength": ((1.0, -1.0), (INF,), ("a",), 2.0),
    "class_mean": FINITE,
    "subclass_mean": FINITE,
    "irrelevant_mean": ((1.0,), (1.0, NAN), (1.0, 2.0, 3.0)),
    "class_keep": SHARE,
    "subclass_keep": SHARE,
    "irrelevant_keep": ((1.0,), (0.5, 1.5), (1.0, 1.0, 1.0)),
    "class_change": AT_LEAST_ZERO,
    "subclass_change": AT_LEAST_ZERO,
    "irrelevant": ("loose", None, 3),
    "own_count": (-1, 2.0, None, True, 5),
    "noise": (None, "white", Supervised(), Gaussian),
    "rotated": FLAG,
}
STORED = {
    "model": (None, "mnist", FeatureModel, Gaussian()),
    "n": (*SIZE, 6),
    "m": SIZE,
    "balanced": FLAG,
    "test_size": SIZE,
    "test_balanced": FLAG,
    "data_seed": WHOLE,
}
RATE = {"learning_rate": (*POSITIVE, 1e-60, 10**400), "clip_norm": (0.0, -1.0, NAN, "1")}
SCHEDULED = RATE | {"schedule": ("cosine", None, 3, Gd(), InverseTime)}
UNIT, DECAY = {"learning_rate_unit": ("relative", None)}, (-0.1, 1.0, NAN, None)
SQUARES = {"square_decay": (*DECAY, "b2"), "epsilon": (0.0, NAN, INF, 1e-50)}
EMBEDS = {"embed_dim": (0, -1, 2.0, None, True), "init_scale": (-1.0, NAN, INF, None)}
SIZES, SHAPE = (*SIZE, (4, 0), (4.0,), "8"), ((8, 8), (8, 8, 0), 64, None, (5, 5, 1))
NETWORK = EMBEDS | {"head": SIZES}
BATCH = {"batch_size": (1, 0, 8.0, None, True, 17)}
SET = {
    "augmentation": (None, "crop", Augment),
    "bits": WHOLE,
    "most_bits": (-1, 0.5, None, True),
    "bits_keep": (-0.1, 1.1, NAN, "half"),
    "overlay_keep": (-0.1, 1.1, NAN, "half"),
    "m": SIZE,
    "stored_size": SIZE,
    "test_size": SIZE,
    "data_seed": WHOLE,
    "n": (-1, 0.5, None, True),
}
SUPER = {"superclass": ("vehicles", None, 3)}
FOLDER = {"folder": (None, 3, "")}
CHOICES = {"superclass": ("size", None), "subclass": ("size", None), "overlay": ("cifar10", None)}
BAD = {
    Digits(): SET | SUPER,
    Mnist(): SET | SUPER | FOLDER,
    FashionMnist(): FOLDER,
    Cifar10(): SUPER | FOLDER | {"overlay": ("cifar10", None)},
    Cifar100(): SUPER | FOLDER | {"overlay": ("cifar10", None)},
    Shapes(): CHOICES | {"side": (7, 8.0, None, True)},
    FeatureModel(20, irrelevant_strength=(1.0, 2.0)): MODEL,
    Stored(n=8): STORED,
    FreshViews(FeatureModel(d=20), n=8): STORED | {"m": (*SIZE,)},
    Population(FeatureModel(d=20)): {n: v for n, v in STORED.items() if n not in ("n", "balanced")},
    Gaussian(): {"noise_length": AT_LEAST_ZERO, "noise_keep": SHARE},
    cldyn.Basis(): {"noise_length": (-1.0,), "noise_keep": (1.1,)},
    DistinctBasis(): {"noise_length": (-1.0,), "noise_keep": (1.1,)},
    OneHot(): {"noise_length": AT_LEAST_ZERO},
    Perturbed(): {"noise_length": (-1.0,), "change_length": AT_LEAST_ZERO, "change_rank": WHOLE},
    Linear(): EMBEDS | {"bias": FLAG, "init_scale_unit": ("root", None)},
    DeepLinear(): EMBEDS | {"bias": FLAG, "depth": (1, 0, -1, 2.0, True, None)},
    Mlp(): NETWORK
    | {
        "hidden": SIZES,
        "activation": ("sine", None),
        "threshold": FINITE,
        "bias": FLAG,
        "rectified": FLAG,
    },
    cldyn.Diagonal(): {
        "first": AT_LEAST_ZERO,
        "second": AT_LEAST_ZERO,
        "threshold": FINITE,
        "drawn": ("uniform", None),
    },
    cldyn.Conv(): NETWORK | {"shape": SHAPE, "channels": (*SIZES, ()), "hidden": SIZES},
    cldyn.ResNet(): NETWORK | {"shape": SHAPE, "width": SIZE, "last": SIZE, "blocks": (*SIZES, ())},
    Joint(): {"beta": (*SHARE, True)},
    InfoNce(): {
        "temperature": POSITIVE,
        "similarity": ("cos", None, 1),
        "negatives": ("other", None, True),
    },
    SupCon(): {"temperature": POSITIVE},
    CappedSpectral(): {"cap": POSITIVE},
    Both(): {
        "by_class": ("sup_con", None, SupCon, Supervised()),
        "by_view": ("info_nce", None, InfoNce, Supervised()),
    },
    Gd(): SCHEDULED | UNIT,
    Momentum(): {"momentum": DECAY} | SCHEDULED | UNIT,
    Nesterov(): {"momentum": DECAY, "learning_rate": (0.0,)},
    Flow(): {"learning_rate": POSITIVE} | UNIT,
    Adam(): {"momentum": DECAY} | SQUARES | SCHEDULED,
    AdamW(): {"momentum": (1.0,), "epsilon": (0.0,)},
    RmsProp(): SQUARES,
    Lion(): {"momentum": (1.0,), "square_decay": (1.0,)},
    WarmupCosine(5.0): {"warmup_steps": AT_LEAST_ZERO, "decay_steps": (*POSITIVE, 3.0)},
    InverseTime(): {"decay_steps": POSITIVE},
    Iid(): {"batch_size": BATCH["batch_size"][:-1]},  # with replacement it may be larger than all
    Subset(): BATCH,
    Epochs(): BATCH,
    Training(): {"weight_decay": (-1e-3, NAN, INF, None), "seed": WHOLE},
}
EACH = [
    (kind, name, bad) for kind, names in BAD.items() for name, all in names.items() for bad in all
]
PLACE = {type_: part for part, kinds in reversed(NAMES.items()) for type_ in kinds.values()}
PLACE |= {FeatureModel: "model", Training: "training"}


def shown_id(value):
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("kind", "name", "bad"), EACH, ids=shown_id)
def test_a_field_is_refused(kind, name, bad):
    wrong = replace(kind, **{name: bad})
    experiment = replace(PLAIN, problem=wrong) if PLACE[type(kind)] == "problem" else None
    experiment = experiment or PLAIN.replace(**{PLACE[type(kind)]: wrong})
    refused(name, lambda: run(experiment, [0]), *(() if isinstance(bad, type) else (bad,)))


def test_every_number_and_choice_of_every_noun_has_a_bad_value_here():
    tried = {type(kind): {*names} for kind, names in BAD.items()}
    kinds = [kind for kinds in NAMES.values() for kind in kinds.values() if fields(kind)]
    assert {*tried} == {*kinds, FeatureModel, Training}
    for kind in (
        FeatureModel,
        Stored,
        Digits,
        Mnist,
        Joint,
        InfoNce,
        Linear,
        DeepLinear,
        Mlp,
        Momentum,
        Adam,
    ):
        assert {one.name for one in fields(kind) if not is_internal(one)} == tried[kind], kind


# --- doors -----------------------------------------------------------------------------------

DOORS = {
    "run": lambda one: run(one, [0]),
    "sweep": lambda one: sweep(one, [{"seed": [0]}], [0]),
    "predict": predict,
    "forecast": lambda one: forecast(one, []),
    "gradient_noise": gradient_noise,
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_checks_the_whole_experiment(door):
    for name, value in (
        ("class_keep", 2.0),
        ("n", 6),
        ("learning_rate", -1.0),
        ("precision", "float16"),
    ):
        refused(name, lambda name=name, value=value: DOORS[door](PLAIN.replace(**{name: value})))
    for wrong in (PLAIN.problem, None, "class-collapse", Experiment):
        refused("experiment", lambda wrong=wrong: DOORS[door](wrong))


@pytest.mark.parametrize("call", [lambda **new: sample(**new, m=2), sample_test])
def test_samples_refuse_a_wrong_key_model_or_count(call):
    right = {"key": KEY, "model": FeatureModel(d=20), "n": 8}
    assert call(**right).x.shape[0] == 8
    wrong = [("key", value) for value in (0, None, np.zeros(2, np.uint32), jax.random.split(KEY))]
    wrong += [("model", value) for value in (None, Gaussian(), FeatureModel, PLAIN)]
    wrong += [("n", value) for value in (0, 8.0, None)]
    for name, value in wrong:
        refused(name, lambda name=name, value=value: call(**{**right, name: value}))
    bad = FeatureModel(d=20, noise=Gaussian(-1.0))
    refused("noise_length", lambda: call(**{**right, "model": bad}), -1.0)


def test_a_sample_refuses_other_odd_arguments():
    model = FeatureModel(d=20)
    refused("m", lambda: sample(KEY, model, 8, 0), 0)
    refused("n", lambda: sample(KEY, model, 6, 2), 6)
    refused("balanced", lambda: sample(KEY, model, 8, 2, balanced="no"), "no")


# --- nouns -----------------------------------------------------------------------------------

STRANGERS = [None, "gd", 3, Experiment(), FeatureModel(), np.zeros(3)]
UNKNOWN = {
    "problem": [*STRANGERS, Stored, Training(), Gaussian()],
    "training": [None, "fast", Training, Stored(), Gd()],
    "encoder": [*STRANGERS, Linear, Gd(), len],
    "loss": [*STRANGERS, Spectral, Supervised()],
    "positives": [*STRANGERS, Supervised, Spectral(), Full()],
    "optimizer": [*STRANGERS, Gd, Linear(), InverseTime(), len],
    "batch": [*STRANGERS, Full, Supervised(), 32],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_such_noun_is_refused_and_never_taken_for_another(name):
    for value in UNKNOWN[name]:
        half = name if name in ("problem", "training") else None
        wrong = replace(PLAIN, **{half: value}) if half else PLAIN.replace(**{name: value})
        refused(name, lambda wrong=wrong: run(wrong, [0]))


@cldyn.noun
class OnlyDraws(cldyn.Noise):
    def draw(self, key, n, other, dtype):
        return jax.random.normal(key, (n, other), dtype)


@cldyn.noun
class Halfway:
    by_class, by_view = True, True


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("batch", {"problem": Population(), "batch": Subset(4)}),
        ("batch", {"problem": Population(), "loss": InfoNce()}),
        ("batch", {"problem": FreshViews(), "encoder": Mlp()}),
        ("noise", {"problem": Population(), "noise": DistinctBasis(), "batch": Iid()}),
        ("noise", {"noise": DistinctBasis(), "d": 17}),
        ("noise", {"problem": FreshViews(), "noise": OnlyDraws()}),
        ("positives", {"positives": Halfway()}),
        ("m", {"m": 1, "positives": Unsupervised()}),
        ("m", {"m": 1, "positives": Joint()}),
        ("m", {"problem": Population(m=1), "batch": Iid(4), "positives": Unsupervised()}),
        ("m", {"problem": FreshViews(m=1), "batch": Subset(4)}),
        ("batch_size", {"batch": Epochs(9), "positives": Unsupervised()}),
        ("batch", {"batch": Iid(), "optimizer": Flow()}),
        ("learning_rate_unit", {"encoder": DeepLinear(), "learning_rate_unit": "critical"}),
        ("negatives", {"loss": InfoNce(negatives="cross_view")}),
        ("negatives", {"loss": Both(InfoNce(negatives="cross_view"), Spectral())}),
        ("learning_rate_unit", {"loss": InfoNce(), "learning_rate_unit": "critical"}),
        ("weight_decay", {"encoder": DeepLinear(), "weight_decay": 0.1}),
        ("irrelevant", {"irrelevant": "sparse"}),
        ("irrelevant_mean", {**TWO, "irrelevant": "sparse", "irrelevant_mean": (0.0, 1.0)}),
        ("irrelevant_keep", {**TWO, "irrelevant": "sparse", "irrelevant_keep": (0.5, 1.0)}),
        ("irrelevant_mean", {"irrelevant_mean": (0.5,)}),
        ("own_count", {"irrelevant": "own", "irrelevant_strength": (1.0,)}),
        ("irrelevant_strength", {**TWO, "irrelevant": "own", "own_count": 4}),
        ("change_rank", {"noise": Perturbed(), "change_rank": 1001}),
        ("d", {**TWO, "d": 4}),
    ],
)
def test_what_does_not_go_together_is_refused(name, change):
    refused(name, lambda: run(PLAIN.replace(**change), [0]))


def test_one_view_is_enough_where_no_views_are_pairs():
    for one in (PLAIN, PLAIN.replace(batch=Subset(4)), PLAIN.replace(problem=Population())):
        cldyn.experiment.check(one.replace(m=1))


@pytest.mark.parametrize("encoder", [Mlp(), Linear()])
def test_theory_refuses_what_it_does_not_speak_of(encoder):
    other = PLAIN.replace(encoder=encoder, loss=InfoNce())
    for door in (predict, DOORS["forecast"]):
        refused("encoder, loss", lambda door=door: door(other))
    refused("encoder", lambda: gradient_noise(other.replace(batch=Subset(4))))


# --- arrays of one's own ---------------------------------------------------------------------

ARRAYS = [
    *[("x", np.ones(shape)) for shape in ((4, 3), (0, 2, 3), (4, 0, 3), (4, 2, 0))],
    *[("x", np.full((4, 2, 3), value)) for value in (NAN, INF, "a")],
    *[("x", value) for value in (3.0, [[[1.0]], [[1.0, 2.0]]])],
    *[("label", value) for value in (np.arange(3), np.ones(4), np.ones((4, 1), int), "abcd", None)],
    ("label", [0, 0, 1, 2**32]),
    *[("subclass", value) for value in (np.arange(5), np.ones(4))],
    *[("directions", value) for value in (np.ones(3), np.ones((2, 4)), np.full((1, 3), NAN))],
    ("test", np.ones((2, 3))),
    *[("test_x", (np.ones(shape), [0, 1], None)) for shape in ((2, 4), (2, 2, 3), (0, 3))],
    *[("test_label", (np.ones((2, 3)), code, None)) for code in ([0], [0.5, 1], [0, 7])],
    ("test_subclass", (np.ones((2, 3)), [0, 1], [0, 1])),
]


@pytest.mark.parametrize(("name", "value"), ARRAYS)
def test_own_arrays_are_refused(name, value):
    field = "test" if name.startswith("test") else name
    refused(name, lambda: views(**{**OWN, field: value}))


def test_own_inputs_are_refused():
    given = {"x": np.ones((4, 3)), "label": OWN["label"], "augmentation": lambda key, x: x}
    assert cldyn.augmented(**given).shape == (4, 2, 3)
    for name, value in (("x", np.ones((4, 2, 3))), ("label", [0]), ("augmentation", "flip")):
        refused(name, lambda name=name, value=value: cldyn.augmented(**{**given, name: value}))
    one = Experiment(cldyn.augmented(**given, m=1))
    refused("m", lambda: run(one.replace(batch=Subset(2)), [0]), 1)


def test_own_arrays_are_checked_again_when_they_were_changed():
    inputs = cldyn.augmented(np.ones((4, 3)), OWN["label"], lambda key, x: x)
    for source in (ROWS.problem, inputs):
        wrong = replace(source, label=np.array([0, 0, 5, 7]))
        refused("label", lambda wrong=wrong: run(Experiment(wrong), [0]))


# --- steps, measures, axes -------------------------------------------------------------------

STEPS = [[3, 2], [1, 1], [-1, 2], [], 5, [0.5, 1.5], ["a"], [0, 2**31], None, [[0, 1]]]
STEPS += [[[0], [1, 2]], np.array([3, 2], np.uint32)]


@pytest.mark.parametrize("steps", STEPS, ids=repr)
def test_record_steps_are_refused(steps):
    refused("record_at", lambda: run(SMALL, steps), steps)


def test_long_values_are_shown_in_part_and_every_door_checks_its_steps():
    backwards = np.arange(200)[::-1]
    refused("record_at", lambda: sweep(SMALL, [], backwards))
    refused("steps", lambda: predict(SMALL, -np.arange(2000.0)))
    for steps in ([-1.0], [NAN], 3.0, [[1.0]], [[1], [1, 2]]):
        refused("steps", lambda steps=steps: predict(SMALL, steps), steps)
    refused("draws", lambda: gradient_noise(SMALL.replace(batch=Subset(4)), draws=1), 1)
    refused("state", lambda: run(SMALL, [0], state=5), 5)


@pytest.mark.parametrize(
    ("experiment", "measure", "shown"),
    [
        (SMALL, ["accuracy"], "accuracy"),
        (SMALL, ["loss", "Loss"], "Loss"),
        (SMALL, "loss", "loss"),
        (SMALL, [None], None),
        (SMALL, [["loss"]], ["loss"]),
        (PLAIN.replace(problem=FreshViews()), ["effective_rank"], "effective_rank"),
        (PLAIN.replace(problem=Population()), ["train_class_gap"], "train_class_gap"),
        (PLAIN.replace(loss=InfoNce()), ["excess_loss"], "excess_loss"),
        (PLAIN.replace(encoder=Mlp()), ["imbalance"], "imbalance"),
        (ROWS, ["class_accuracy"], "class_accuracy"),
        (ROWS, ["embeddings"], "embeddings"),
        (ROWS, ["feature_norms"], "feature_norms"),
    ],
)
def test_measures_are_refused_where_there_is_no_such_thing(experiment, measure, shown):
    refused("measure", lambda: run(experiment, [0], measure=measure), shown)


def test_a_sweep_checks_its_measures():
    refused("measure", lambda: sweep(SMALL, [], [0], measure=["accuracy"]), "accuracy")


@pytest.mark.parametrize(
    ("axes", "shown"),
    [
        ([{"widht": [1]}], ["widht"]),
        ([{"learning_rate": [0.02, 0.05, 0.02]}], [{"learning_rate": 0.02}]),
        ([{"seed": [1, 1], "data_seed": [2, 2]}], [{"seed": 1, "data_seed": 2}]),
        ([{"loss": [Spectral(), InfoNce()]}], ["loss"]),
        ([{"n": [4, 8]}], ["n"]),
        ([{"beta": [0.5]}], ["beta"]),
        ([{"seed": [0]}, {"weight_decay": [0.1], "seed": [1]}], ["seed"]),
        ([{"seed": [0, 1], "weight_decay": [0.1]}], [{"seed": 2, "weight_decay": 1}]),
        ([{"seed": []}], []),
        ([{"noise_length": [0.0, 1.0]}, {"seed": []}], []),
        ([{}], []),
        ([{"weight_decay": 0.5}], []),
        ([{"learning_rate": np.array(0.1)}], []),
        ({"weight_decay": [0.5]}, []),
        (None, []),
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
        ("noise_length", [1.0, NAN], NAN),
        ("class_keep", [0.5, 2.0], 2.0),
        ("data_seed", [0, -1], -1),
        ("irrelevant_strength", [(1.0, 2.0), (1.0,)], (1.0,)),
        ("irrelevant_keep", [0.5, 2.0], (2.0, 2.0)),
        ("seed", [0, "a"], "a"),
        ("weight_decay", [0.0, None], None),
    ],
)
def test_value_in_an_axis_is_refused(name, values, bad):
    experiment = SMALL.replace(positives=Joint())
    refused(name, lambda: sweep(experiment, [{name: values}], [0]), bad)


def test_a_field_of_an_axis_may_repeat_a_value_beside_others():
    assert grid_of(SMALL, [{"seed": [1, 1], "data_seed": [2, 3]}]).counts() == (2, 1)


def test_axes_are_numbers_of_the_nouns_that_there_are():
    refused("axes", lambda: sweep(ROWS, [{"noise_length": [1.0]}], [0]), "noise_length")
    refused("irrelevant_strength", lambda: sweep(PLAIN, [{"irrelevant_strength": [1.0]}], [0]))
    deep = PLAIN.replace(encoder=DeepLinear())
    refused("weight_decay", lambda: sweep(deep, [{"weight_decay": (0.0, 0.1)}], [0]), 0.1)
    refused("name", lambda: PLAIN.replace(beta=0.5), "beta")


@pytest.mark.parametrize("predicted", [theory.minimizer, theory.critical_learning_rate])
def test_moments_that_do_not_fit_are_refused(predicted):
    refused("second, positive", lambda: predicted(np.eye(3), np.eye(2), 1))
    refused("second, positive", lambda: predicted(np.ones(3), np.ones(3), 1))
    refused("embed_dim", lambda: predicted(np.eye(3), np.eye(3), 0), 0)
