"""Devices: programs that accelerators can run, and results that do not depend on how many."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from oracles import MODEL, SMALL

import cldyn
from cldyn.experiment import numerics
from cldyn.sweeps import devices, execute, memory
from cldyn.sweeps.grid import grid_of
from cldyn.sweeps.tiles import Part, Shape, Tile, Trajectories
from cldyn.trajectory import plan_of

FEW = SMALL.replace(precision="float32")
SETTINGS = {
    "gd": FEW,
    "critical": FEW.replace(learning_rate_unit="critical"),
    "subset": FEW.replace(batch=cldyn.Subset(4)),
    "population": FEW.replace(problem=cldyn.Population(MODEL), batch=cldyn.Iid(4)),
    "deep": FEW.replace(encoder=cldyn.DeepLinear(), optimizer=cldyn.Flow()),
    "nonlinear": FEW.replace(encoder=cldyn.Mlp(), loss=cldyn.InfoNce(), optimizer=cldyn.Adam()),
}
AXES = [{"seed": range(2), "data_seed": range(2)}, {"init_scale": [0.01, 0.02]}]


def tile_of(experiment):
    """A tile of two problems and two trajectories on each: its plan, and what it is trained on."""
    trajectories = Trajectories(experiment, grid_of(experiment, AXES))
    plan = plan_of(experiment, None, trajectories.varied)
    tile = next(trajectories.cut(Shape(2, 2), Part(np.arange(2), np.arange(2))))
    return plan, tile, execute.prepare_tile(tile, plan)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", [*SETTINGS])
def test_a_tile_has_nothing_that_an_accelerator_cannot_run(name, platform):
    with numerics("float32"):
        plan, tile, given = tile_of(SETTINGS[name])
        steps = jnp.arange(0, 40, 20, dtype=jnp.int32)
        lowered = export.export(execute.train_tile, platforms=[platform])(
            *given, tile.training, tile.limit, steps, plan=plan
        )
    text = lowered.mlir_module()
    assert "stablehlo.while" in text
    assert re.findall(r"custom_call @?(\w+)", text) == []  # no LAPACK, no question to Python
    assert not re.search(r"callback|infeed|outfeed|xf64", text)


@pytest.mark.parametrize("stride", [3, 4, 50])
def test_strides_change_nothing(stride):
    optimizer, at = optax.adam(0.1), jnp.array([0, 1, 9, 21, 22])

    def trained(**more):
        return cldyn.simulate(
            jax.random.key(0), cldyn.start(jnp.arange(3.0), optimizer),
            lambda w, key, step: w + jax.random.normal(key, w.shape), optimizer,
            record_at=at, record=lambda w, step: w, **more,
        )  # fmt: skip

    jax.tree.map(np.testing.assert_array_equal, trained(stride=stride), trained())


def test_steps_between_records_are_a_stride_where_they_can(monkeypatch):
    plan = plan_of(FEW)
    assert devices.strided(plan, np.array([0, 20, 40])) == plan
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    for steps, stride in (([0, 20, 40], 20), ([10, 30, 70], 10), ([0, 1, 1000], 64)):
        assert devices.strided(plan, np.array(steps)).stride == stride


def test_what_fits_follows_the_memory_of_programs():
    trajectories = Trajectories(FEW, grid_of(FEW, [{"init_scale": [0.01, 0.02]}]))
    plan = plan_of(FEW, None, trajectories.varied)
    found = [memory.room(trajectories, plan, 20, memory=2**k) for k in (10, 24, 27, 30)]
    assert found[0] == 2 and found[1] > 2 and found[2] >= 4 * found[1]
    assert found[3] == 8 * found[2]  # eight times the memory
    longer = memory.room(trajectories, plan, 2000, memory=2**30)
    assert longer <= found[3] / 8  # where records are most of it


def test_a_tile_that_does_not_fit_is_halved():
    plan, tile, given = tile_of(FEW)
    asked = []

    def work(tile: Tile):
        asked.append(tile.trajectories.shape[1])
        if asked[-1] > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        steps = jnp.array([0, 5], jnp.int32)
        return execute.train_tile(*given, tile.training, tile.limit, steps, plan=plan)

    with numerics("float32"):
        found = devices.halving(tile, work)
        steps = jnp.array([0, 5], jnp.int32)
        whole = execute.train_tile(*given, tile.training, tile.limit, steps, plan=plan)
    assert asked == [2, 1, 1]
    for name, one in whole.items():
        np.testing.assert_allclose(found[name], one, rtol=1e-5, atol=1e-7, err_msg=name)
    for message in ("RESOURCE_EXHAUSTED", "INTERNAL"):  # a single one, or something else

        def fail(tile, message=message):
            raise jax.errors.JaxRuntimeError(message)

        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            devices.halving(tile, fail)


PROGRAM = """
import os, sys
os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "")
                           + f" --xla_force_host_platform_device_count={sys.argv[1]}")
import jax, numpy as np, cldyn
from cldyn.sweeps import tiles
tiles._CACHE = 1
assert len(jax.local_devices()) == int(sys.argv[1])
experiment = cldyn.Experiment(cldyn.Stored(cldyn.FeatureModel(d=20), n=8))
axes = [{"seed": range(3), "data_seed": range(3)}, {"learning_rate": [0.01, 0.02, 0.03]}]
found = cldyn.sweep(experiment.replace(batch=cldyn.Subset(4)), axes, [0, 5, 30])
np.savez(sys.argv[2], **{name: one.values for name, one in found.data_vars.items()})
"""


@pytest.mark.slow
def test_one_two_and_four_devices_agree_bit_for_bit(tmp_path):
    found = []
    for count in "124":
        words = [sys.executable, "-c", PROGRAM, count, tmp_path / f"{count}.npz"]
        subprocess.run(words, check=True)
        found.append(np.load(tmp_path / f"{count}.npz"))
    for other in found[1:]:
        assert other.files == found[0].files
        for name in other.files:
            np.testing.assert_array_equal(other[name], found[0][name], err_msg=name)


@pytest.mark.parametrize("count", [0, 99, 1.5])
def test_devices_that_are_not_there_are_refused(count):
    with pytest.raises(ValueError, match="devices"):
        cldyn.sweep(FEW, [], [0, 1], devices=count)
