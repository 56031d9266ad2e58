"""Many trajectories: axes, tiles, one compilation, one dataset."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import MODEL, SMALL

import cldyn
from cldyn import Gd, Population
from cldyn.sweeps import execute, tiles
from cldyn.sweeps.grid import grid_of
from cldyn.sweeps.tiles import cached, tile_shape

CUT = [0, 3, 10, 25]


def sweep(experiment, axes, steps=CUT, **more):
    return cldyn.sweep(experiment, axes, steps, progress=False, **more)


def is_run(dataset, experiment, steps=CUT, **more):
    """Whether every variable of one trajectory is that of a run."""
    run = cldyn.run(experiment, steps, **more)
    for name, value in run.records.items():
        found = dataset[name]
        np.testing.assert_allclose(found, value, rtol=1e-7, atol=1e-12, err_msg=name)
    assert int(dataset.finite_steps) == run.finite_steps


# --- axes ------------------------------------------------------------------------------------


def test_sweep_equals_loop_over_zipped_multiplied_and_embedding_axes():
    seeds, rates, dims, strengths = [3, 4], [0.01, 0.03], [1, 3], [1.0, (2.0,)]
    axes = [
        {"learning_rate": rates},
        {"seed": seeds, "data_seed": seeds},
        {"embed_dim": dims},
        {"irrelevant_strength": strengths},
    ]
    dataset = sweep(SMALL, axes)
    dims_found = ("learning_rate", "seed", "embed_dim", "irrelevant_strength", "step", "feature")
    assert dataset.feature_norms.dims == dims_found
    for i, j, k, l in [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1)]:
        one = SMALL.replace(
            learning_rate=rates[i], seed=seeds[j], data_seed=seeds[j], embed_dim=dims[k],
            irrelevant_strength=((1.0,), (2.0,))[l],
        )  # fmt: skip
        is_run(dataset[{name: at for name, at in zip(dims_found, (i, j, k, l), strict=False)}], one)


@pytest.mark.parametrize("seed", range(2))
def test_sweep_equals_loop_whatever_the_numbers(seed):
    rng = np.random.default_rng(seed)
    shares = ("class_keep", "noise_keep", "irrelevant_keep", "beta", "weight_decay")
    sizes = ("class_strength", "subclass_mean", "noise_length")
    numbers = {name: rng.uniform(0.2, 1, 3) for name in (*sizes, *shares)}
    numbers |= {"seed": rng.integers(0, 2**31, 3), "data_seed": rng.integers(0, 2**31, 3)}
    experiment = SMALL.replace(positives=cldyn.Joint())
    rates = rng.uniform(0.01, 0.03, 2)
    dataset = sweep(experiment, [numbers, {"learning_rate": rates}])
    for i, j in np.ndindex(3, 2):
        here = {name: values[i] for name, values in numbers.items()}
        here |= {"irrelevant_keep": (here["irrelevant_keep"],), "learning_rate": rates[j]}
        is_run(dataset.isel(class_strength=i, learning_rate=j), experiment.replace(**here))


def test_a_sweep_without_axes_is_one_trajectory():
    is_run(sweep(SMALL, []), SMALL)


def test_trajectories_that_touch_data_are_problems_and_the_others_share_them():
    axes = [
        {"learning_rate": [0.1, 0.2, 0.3]},
        {"seed": [5, 6], "data_seed": [7, 8]},
        {"weight_decay": [0.0, 0.1, 0.2, 0.3]},
        {"noise_length": [0.5, 1.0, 1.5, 2.0, 2.5]},
    ]
    grid = grid_of(SMALL, axes)
    assert (grid.shape(True), grid.shape(False), grid.counts()) == ((2, 5), (3, 4), (10, 12))
    assert [axis.name for axis in grid.axes] == [next(iter(group)) for group in axes]
    np.testing.assert_array_equal(grid.columns(True)["data_seed"], [7] * 5 + [8] * 5)
    np.testing.assert_array_equal(grid.columns(True)["noise_length"], [0.5, 1, 1.5, 2, 2.5] * 2)
    np.testing.assert_array_equal(grid.columns(False)["weight_decay"], [0.0, 0.1, 0.2, 0.3] * 3)
    for batch, of_data in ((cldyn.Full(), False), (cldyn.Iid(4), True)):  # a seed draws batches
        (axis,) = grid_of(SMALL.replace(batch=batch), [{"seed": [0, 1]}]).axes
        assert axis.of_problem == of_data
    assert grid_of(SMALL, []).counts() == (1, 1)


def test_one_number_for_all_of_a_tuple_is_a_label_of_its_own():
    two = SMALL.replace(irrelevant_strength=(1.5, 0.5))
    dataset = sweep(two, [{"irrelevant_strength": [1.0, 1.5]}, {"irrelevant_keep": [0.4, 1]}])
    assert dataset.irrelevant_strength.values.tolist() == [1.0, 1.5]
    one = two.replace(irrelevant_strength=(1.5, 1.5), irrelevant_keep=(0.4, 0.4))
    is_run(dataset.sel(irrelevant_strength=1.5, irrelevant_keep=0.4), one)


# --- tiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "parameters", "inputs", "apart", "shape"),
    [
        ((1, 1), 1000, 1000, False, (1, 2)),  # two of the same: one alone sums in another order
        ((1, 1), 1000, 1000, True, (2, 1)),
        ((16, 16), 1000, 1000, False, (8, 16)),
        ((16, 1), 1000, 1000, False, (16, 1)),
        ((1, 1000), 1000, 1000, False, (1, 125)),  # filled up evenly
        ((3, 1000), 1000, 1000, False, (1, 125)),
        ((1, 5), 10**6, 1000, False, (1, 3)),  # four at most, filled up evenly
        ((5, 1), 10**6, 1000, False, (3, 1)),
        ((5, 1), 1000, 2**30, False, (1, 2)),
        ((100, 3), 64, 1000, False, (100, 3)),
        ((100, 3), 64, 2**27, False, (8, 3)),
        ((1, 5000), 1, 1, False, (1, 1000)),
        ((1, 100), 2400, 1000, True, (2, 13)),  # rows of one problem
        ((200, 100), 2400, 1000, True, (2, 15)),  # rows of two
        ((16, 3), 2400, 1000, True, (8, 3)),
    ],
)
def test_shape_of_tiles_is_a_function_of_sizes(counts, parameters, inputs, apart, shape):
    assert tile_shape(counts, cached(parameters), inputs, apart)[:2] == shape


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 5000)),
    st.integers(1, 10**7),
    st.integers(1, 2**34),
    st.booleans(),
)
def test_tiles_fit_and_are_no_larger_than_what_there_is(counts, parameters, inputs, apart):
    rows, trajectories, *_ = tile_shape(counts, cached(parameters), inputs, apart)
    assert 2 <= rows * trajectories <= 1024
    assert rows * trajectories <= max(2, counts[0] * counts[1]) + rows
    assert rows * trajectories <= 4 or rows * trajectories * parameters <= 2**17
    if counts[0] > 1:
        assert rows <= counts[0] and trajectories <= max(2, counts[1])
        assert rows == 1 or rows * inputs <= 2**30


@pytest.mark.parametrize("of", [{"seed": range(5)}, {"data_seed": range(5)}])
def test_many_tiles_equal_single_runs(monkeypatch, of):
    monkeypatch.setattr(tiles, "_CACHE", 1)  # tiles of three, the last filled up
    (name,) = of
    dataset = sweep(SMALL, [of])
    for i in range(5):
        is_run(dataset.isel({name: i}), SMALL.replace(**{name: i}))


def test_two_sweeps_of_other_values_and_steps_compile_once():
    execute.train_tile.clear_cache()
    for rates, steps in (([0.01, 0.02], [0, 5, 9]), ([0.03, 0.04], [1, 2, 30])):
        sweep(SMALL, [{"learning_rate": rates}, {"seed": [0, 1, 2]}], steps)
    assert execute.train_tile._cache_size() == 1


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("learning_rate", 0.015, 5.0), ("init_scale", 0.025, 4.0)]
)
def test_a_trajectory_that_overflows_is_nan_from_there_on_and_hurts_no_neighbour(name, good, bad):
    values = [0.01, 0.02, good, 0.03]
    fine = sweep(SMALL, [{name: values}], range(60))
    values[2] = bad
    found = sweep(SMALL, [{name: values}], range(60))
    finite = int(found.finite_steps[2])
    assert 0 < finite < 59
    assert (found.finite_steps[[0, 1, 3]] == 59).all() and (fine.finite_steps == 59).all()
    for record in ("feature_norms", "loss", "distance"):
        assert np.isfinite(found[record][2, : finite + 1]).all(), record
        assert np.isnan(found[record][2, finite + 1 :]).all(), record
    for record in found.data_vars:
        np.testing.assert_array_equal(found[record][[0, 1, 3]], fine[record][[0, 1, 3]])


def test_what_is_not_finite_at_the_start_has_no_finite_step():
    single = SMALL.replace(precision="float32")
    dataset = sweep(single, [{"init_scale": [0.01, 1e15]}], [0, 4])
    assert np.isnan(dataset.loss[1]).all() and dataset.finite_steps[1] < 0
    assert np.isfinite(dataset.loss[0]).all() and dataset.finite_steps[0] == 4


# --- datasets --------------------------------------------------------------------------------


def test_a_dataset_names_and_explains_everything():
    experiment = SMALL.replace(irrelevant_strength=(1.5, 0.5), precision="float32")
    axes = [
        {"learning_rate": [0.01, 0.02]},
        {"seed": [1, 2, 3], "data_seed": [4, 5, 6]},
        {"irrelevant_strength": [(1.0, 2.0), 0.5]},
    ]
    dataset = sweep(experiment, axes, [0, 4], measure=[*cldyn.MEASURES])
    assert dict(dataset.sizes) == {
        "learning_rate": 2, "seed": 3, "irrelevant_strength": 2,
        "step": 2, "feature": 4, "test": 400, "output": 3,
    }  # fmt: skip
    features = ["class", "subclass", "irrelevant_1", "irrelevant_2"]
    assert dataset.feature.values.tolist() == features
    assert dataset.data_seed.dims == ("seed",) and dataset.data_seed.values.tolist() == [4, 5, 6]
    assert dataset.irrelevant_strength.values.tolist() == ["(1.0, 2.0)", "(0.5, 0.5)"]
    assert {*dataset.data_vars} == {*cldyn.MEASURES, "finite_steps", "step_size"}
    for name, array in dataset.variables.items():
        assert name == "feature" or {"long_name", "units"} <= {*array.attrs}, name
    told = json.loads(dataset.attrs["experiment"])
    assert told["problem"]["model"]["irrelevant_strength"] == [1.5, 0.5]
    assert told["training"]["optimizer"]["is"] == "Gd" and told["precision"] == "float32"
    assert dataset.class_gap.dtype == np.float32


# --- forecasts -------------------------------------------------------------------------------


def test_a_forecast_finds_critical_rates_unless_told_not_to():
    known, rest = (
        cldyn.forecast(SMALL, [{"seed": (0, 1)}], critical=wanted) for wanted in (True, False)
    )
    assert (known.critical_learning_rate > 0).all()
    assert {*known.data_vars} - {*rest.data_vars} == {"critical_learning_rate"}


def test_populations_at_fractions_of_the_critical_rate_end_where_forecast():
    critical = Gd(learning_rate_unit="critical")
    population = SMALL.replace(problem=Population(MODEL), optimizer=critical, embed_dim=2)
    axes = [
        {"subclass_mean": [0.2, 0.7]},
        {"learning_rate": [0.3, 0.6], "weight_decay": [0.0, 0.1]},
    ]
    dataset, known = sweep(population, axes, [0, 20_000]), cldyn.forecast(population, axes)
    rates = known.critical_learning_rate * np.array([0.3, 0.6])
    np.testing.assert_allclose(dataset.step_size, rates, rtol=1e-12)
    last = dataset.feature_norms[:, :, -1, :2]
    np.testing.assert_allclose(last, known.feature_norms[..., :2], atol=1e-6)
