import dataclasses
import json
import math
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import write_all

import cldyn
from cldyn import Experiment, checks, data, encoders, fields, nouns
from cldyn.batches import BATCHES
from cldyn.experiment import Training
from cldyn.losses import LOSSES, POSITIVES
from cldyn.optimizers import OPTIMIZERS, SCHEDULES
from cldyn.sources import SOURCES

pytestmark = pytest.mark.quick

EVERY = (
    *SOURCES.values(),
    *data.NOISES.values(),
    *encoders.ENCODERS.values(),
    *LOSSES.values(),
    *POSITIVES.values(),
    *OPTIMIZERS.values(),
    *SCHEDULES.values(),
    *BATCHES.values(),
    Experiment,
    Training,
    cldyn.FeatureModel,
)


@cldyn.noun
class Bulb:
    """A lamp."""

    power: float = fields.number(40.0, "watts", 0, above=True)
    colour: str = fields.choice("warm", "of its light", "warm", "cold")


@cldyn.noun
class Tube:
    """Another."""

    length: float = fields.number(1.0, "in metres", 0, 3, below=True)


@cldyn.noun
class Room:
    """A room of two lamps."""

    lamp: Any = fields.part(Bulb(), "what lights it", {"bulb": Bulb, "tube": Tube})
    spare: Any = fields.part(Tube(), "in the cupboard", {"bulb": Bulb, "tube": Tube})
    seats: int = fields.size(4, "how many sit", 2)
    seed: int = fields.whole(0, "of the carpet")
    floors: tuple[float, ...] = fields.numbers("heights", 0, 10)
    limit: float | None = fields.number(None, "of noise", 0, above=True, optional=True)
    rented: bool = fields.flag(True, "or owned")
    picture: Any = fields.array("on the wall", optional=True)
    codes: Any = fields.array("of the door", codes=True, optional=True)
    plan: tuple[int, ...] = fields.static((), "of the house")


CHANGES = {"lamp": Tube(2.0), "spare": Bulb(), "power": 7.0, "seats": 9, "length": 0.5}


@given(st.permutations(list(CHANGES)))
def test_names_are_replaced_in_any_order_nouns_before_their_numbers(order):
    made = nouns.replaced(Room(), {name: CHANGES[name] for name in order})
    assert made == Room(lamp=Tube(0.5), spare=Bulb(7.0), seats=9)
    assert Room() == Room(Bulb(40.0), Tube(1.0)), "what is replaced stays as it was"


def test_numbers_of_an_experiment_are_replaced_wherever_they_stand():
    values = {
        "momentum": 0.3,
        "optimizer": cldyn.Momentum(),
        "decay_steps": 7.0,
        "schedule": cldyn.InverseTime(),
        "noise_length": 2.0,
        "noise": cldyn.Basis(),
        "model": cldyn.FeatureModel(d=9),
        "problem": cldyn.FreshViews(),
    }
    for order in (list(values), list(values)[::-1]):
        made = Experiment().replace(**{name: values[name] for name in order})
        optimizer = cldyn.Momentum(schedule=cldyn.InverseTime(7.0), momentum=0.3)
        assert made.training == Training(optimizer=optimizer)
        assert made.problem == cldyn.FreshViews(cldyn.FeatureModel(d=9, noise=cldyn.Basis(2.0)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"power": 1.0, "lamps": 2}, "name: 'lamps', allowed is lamp, perhaps"),
        ({"power": 1.0, "spare": Bulb()}, r"name: 'power'.*not of lamp\.power and spare\.power"),
        ({"length": 1.0, "lamp": Tube()}, r"name: 'length'.*not of lamp\.length and spare\.length"),
        ({"power": 1.0, "lamp": Tube()}, "name: 'power', allowed is one of"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused(values, message):
    for order in permutations(values):
        with pytest.raises(cldyn.Refused, match=message):
            nouns.replaced(Room(), {name: values[name] for name in order})


def test_numbers_that_one_name_tells_are_axes_and_nothing_else_is():
    plain = {"power": ("lamp", "power"), "length": ("spare", "length")}
    own = {name: (name,) for name in ("seed", "floors", "limit")}
    assert nouns.numbers_of(Room()) == plain | own
    assert nouns.numbers_of(Room(spare=Bulb())) == own  # two powers
    assert set(nouns.named(Room())) == {
        *("lamp", "spare", "power", "colour", "length", "seats", "seed", "floors", "limit"),
        *("rented", "picture", "codes", "plan"),
    }


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_leaves_are_cast_and_what_is_static_is_not(precision):
    arrays = {"picture": np.array([[1, 2]]), "codes": np.array([4, 5])}
    room = Room(seed=3, floors=(1, 2.5), limit=math.inf, plan=(1, 2), **arrays)
    made = nouns.cast(room, precision)
    for value in (made.lamp.power, made.spare.length, *made.floors, made.limit, made.picture):
        assert value.dtype == precision
    assert made.seed.dtype == made.codes.dtype == np.int32
    assert (made.seats, made.rented, made.plan, made.lamp.colour) == (4, True, (1, 2), "warm")
    assert nouns.cast(Room(), precision).picture is None
    assert jax.tree.structure(made) == jax.tree.structure(room)
    assert [float(one) for one in made.floors] == [1, 2.5] and made.picture.shape == (1, 2)


def test_numbers_are_leaves_and_static_fields_fix_structure():
    one, other = Room(seed=1, floors=(2.0,)), Room(seed=5, floors=(3.0,))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.leaves(one) == [40.0, 1.0, 1, 2.0]
    for changed in (Room(seats=5, floors=(2.0,)), Room(rented=False, floors=(2.0,)), Room()):
        assert jax.tree.structure(one) != jax.tree.structure(changed)
    many = jax.vmap(lambda room: room.lamp.power * room.seed)(
        jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * jnp.asarray(leaf)]), one)
    )
    np.testing.assert_array_equal(many, [40, 160])


def test_a_tree_of_nouns_is_described_in_plain_words_for_json():
    room = nouns.cast(Room(limit=math.inf, picture=np.zeros((2, 3)), floors=(1.0, 2.0)), "float64")
    told = nouns.described(room)
    assert told == {
        "is": f"{__name__}.Room",
        "lamp": {"is": f"{__name__}.Bulb", "power": 40.0, "colour": "warm"},
        "spare": {"is": f"{__name__}.Tube", "length": 1.0},
        "seats": 4,
        "seed": 0,
        "floors": [1.0, 2.0],
        "limit": "inf",
        "rented": True,
        "picture": "array (2, 3) float64 17b0761f87b081d5",
        "codes": None,
        "plan": [],
    }
    assert json.loads(json.dumps(told)) == told


def brighten(power):
    return 2 * power


def test_plain_functions_stand_for_nouns_and_are_cast_to_one():
    room = Room(lamp=brighten)
    nouns.check(room, "float64")
    assert nouns.described(room)["lamp"] == f"{__name__}.brighten"
    made = nouns.cast(room, "float64")
    assert made.lamp(3) == 6 and jax.tree.leaves(made.lamp) == []
    assert nouns.described(made)["lamp"] == {"is": "Function", "function": f"{__name__}.brighten"}


def field(name, owner=Room):
    return nouns.takes_of(next(one for one in dataclasses.fields(owner) if one.name == name))


@pytest.mark.parametrize(
    ("owner", "name", "text"),
    [
        (Bulb, "power", "a finite number > 0"),
        (Bulb, "colour", "one of 'warm', 'cold'"),
        (Tube, "length", "a number in [0, 3)"),
        (Room, "lamp", "one of 'bulb', 'tube'"),
        (Room, "seats", "a whole number from 2 to 2^31 - 1"),
        (Room, "seed", "a whole number from 0 to 2^31 - 1"),
        (Room, "floors", "a tuple of numbers, each a number in [0, 10]"),
        (Room, "limit", "a finite number > 0 or None"),
        (Room, "rented", "True or False"),
        (cldyn.FeatureModel, "class_mean", "a finite number"),
        (cldyn.Linear, "init_scale", "a finite number >= 0"),
        (cldyn.FeatureModel, "class_keep", "a number in [0, 1]"),
    ],
)
def test_bounds_are_told_in_words(owner, name, text):
    assert field(name, owner).text == text


GOOD_AND_BAD = {
    "power": ([1e-300, 3, np.float32(2)], [0, -1, math.inf, math.nan, None, "1", 1j, [1.0], True]),
    "colour": (["warm"], ["hot", None, 1]),
    "length": ([0, 2.999], [3, -1e-9, None]),
    "lamp": ([Bulb(), Tube(), len], [None, "bulb", 3]),
    "seats": ([2, np.int64(7)], [1, 2.0, None, True, 2**31]),
    "seed": ([0, 2**31 - 1, np.int32(4), jnp.int32(4)], [-1, 0.5, None, 2**31]),
    "floors": ([(), (0, 10.0), [1]], [(11,), (math.nan,), 3, None, "12", ((1.0,),)]),
    "limit": ([None, math.inf, 0.1], [0, -math.inf, math.nan]),
    "rented": ([True, False], [0, 1, None, "yes"]),
}


@pytest.mark.parametrize("name", GOOD_AND_BAD)
def test_bounds_hold_for_values_and_refusals_name_them(name):
    """A field of a noun inside is checked as one of the noun itself."""
    owner = {"power": Bulb, "colour": Bulb, "length": Tube}.get(name, Room)
    good, bad = GOOD_AND_BAD[name]
    for value in good:
        nouns.check(owner(**{name: value}), "float64")
    for value in bad:
        with pytest.raises(cldyn.Refused) as refused:
            nouns.check(owner(**{name: value}), "float64")
        message = str(refused.value)
        assert message.startswith(f"{name}: {' '.join(repr(value).split())}, allowed is ")
        assert field(name, owner).text in message
        if owner is not Room:
            with pytest.raises(cldyn.Refused, match=f"^{name}: "):
                nouns.check(Room(spare=owner(**{name: value})), "float64")


def test_a_number_must_be_finite_and_in_bounds_in_the_precision_of_its_use():
    nouns.check(Bulb(1e-300), "float64")
    for value in (1e-300, 1e300):
        with pytest.raises(cldyn.Refused, match=r"^power: .*in float32$"):
            nouns.check(Bulb(value), "float32")


def test_a_noun_checks_itself_after_its_fields():
    @cldyn.noun
    class Odd:
        number: int = fields.whole(1, "an odd one")

        def check(self):
            checks.require(self.number % 2, "number", self.number, "an odd number")

    nouns.check(Room(lamp=Odd(3)), "float64")
    with pytest.raises(cldyn.Refused, match=r"^number: 2, allowed is an odd number"):
        nouns.check(Room(lamp=Odd(2)), "float64")
    with pytest.raises(cldyn.Refused, match=r"^number: 'two', allowed is a whole number"):
        nouns.check(Room(lamp=Odd("two")), "float64")


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_docstrings_list_every_field_with_what_it_takes(kind):
    for one in dataclasses.fields(kind):
        takes = nouns.takes_of(one)
        if one.metadata.get("says"):
            line = next(
                line for line in kind.__doc__.splitlines() if line.startswith(f"    {one.name}: ")
            )
            assert one.metadata["says"] in line
            assert takes.kind in ("array", "other") or line.endswith(f"({takes.text})")
        else:
            assert takes.kind == "other", f"{one.name} is not told"


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_defaults_are_allowed_and_survive_casting_and_flattening(kind, tmp_path):
    named = {one.name for one in dataclasses.fields(kind)}
    made = kind(folder=write_all(tmp_path)) if "folder" in named else kind()
    nouns.check(made, "float32")
    leaves, structure = jax.tree.flatten(made)
    assert jax.tree.unflatten(structure, leaves) == made
    assert nouns.described(nouns.cast(made, "float64")) == nouns.described(made)


def test_plain_annotations_of_a_users_noun_are_numbers_and_static_ones_are_not():
    @cldyn.noun
    class Cooled:
        """Halved again and again."""

        half_life: float = 100.0
        turns: int = cldyn.static(3)

        def __call__(self, step):
            return 0.5 ** (step / self.half_life)

    experiment = Experiment().replace(schedule=Cooled()).replace(half_life=20.0)
    assert experiment.training.optimizer.schedule == Cooled(20.0)
    assert "half_life" in nouns.numbers_of(experiment)
    assert "turns" not in nouns.numbers_of(experiment)
    assert Cooled.__doc__ == "Halved again and again."
    with pytest.raises(cldyn.Refused, match=r"^half_life: nan, allowed is a finite number"):
        nouns.check(experiment.replace(half_life=math.nan), "float32")


def test_two_kinds_are_never_one_structure():
    made = [*map(jax.tree.structure, [cls() for cls in EVERY])]
    assert all(one != other for one, other in permutations(made, 2))
