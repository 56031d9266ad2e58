"""Sweeps on disk: what is done stays, what is missing is done, damage is found and mended."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from oracles import MODEL, SMALL

import cldyn
from cldyn.claims.comparison import comparison
from cldyn.experiment import describe, rebuild
from cldyn.sweeps import blocks as blocks_module
from cldyn.sweeps import locks as locks_module
from cldyn.sweeps.blocks import Blocks, lengths_of
from cldyn.sweeps.grid import Axis, Grid
from cldyn.sweeps.locks import Locks
from cldyn.sweeps.request import Request
from cldyn.sweeps.states import STATE
from cldyn.sweeps.store import RECORDED, Store
from cldyn.sweeps.stored import lack_of
from cldyn.sweeps.survey import status

FEW = SMALL.replace(precision="float32")
AXES = [
    {"learning_rate": [0.01, 0.02, 0.05]},
    {"seed": range(5), "data_seed": range(5)},
    {"init_scale": [0.01, 0.02]},
]
STEPS = [0, 3, 10]
# Other processes cut tiles as ever, so that what they do is cut into blocks by its seeds alone.
WIDE = [AXES[0], {"seed": range(25), "data_seed": range(25)}, AXES[2]]


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks of few trajectories."""
    monkeypatch.setattr(blocks_module, "WORK", 1)
    monkeypatch.setattr(cldyn.sweeps.tiles, "_CACHE", 1)


@pytest.fixture
def written(monkeypatch):
    """Boxes that are written."""
    boxes = []
    write = Store.write

    def noted(self, box, records, start):
        boxes.append((box, start))
        write(self, box, records, start)

    monkeypatch.setattr(Store, "write", noted)
    return boxes


def count(boxes):
    """How many trajectories boxes hold."""
    return sum(int(np.prod([side.stop - side.start for side in box])) for box, _ in boxes)


def same(found, expected):
    """Bit for bit, names and attributes too."""
    assert {*found.data_vars} - {RECORDED} == {*expected.data_vars}
    for name, one in expected.variables.items():
        np.testing.assert_array_equal(found[name], one, err_msg=name)
        assert found[name].dims == one.dims and found[name].attrs == one.attrs, name


def sweep(path, axes=AXES, steps=STEPS, experiment=FEW, **more):
    return cldyn.sweep(experiment, axes, steps, store=path, progress=False, **more)


# --- what is stored --------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [cldyn.Full(), cldyn.Subset(4)])
def test_a_store_holds_what_memory_does_in_blocks_of_any_size(tmp_path, small_blocks, batch):
    experiment = FEW.replace(batch=batch)
    memory = cldyn.sweep(experiment, AXES, STEPS)
    same(sweep(tmp_path / "s", experiment=experiment), memory)
    assert len(Store(tmp_path / "s").blocks()) > 5


def test_a_store_opens_with_xarray_alone_and_says_what_it_is(tmp_path):
    sweep(tmp_path / "s.zarr", states=True)
    program = (
        "import sys, warnings; warnings.simplefilter('error'); import xarray as xr\n"
        f"tree = xr.open_datatree({str(tmp_path / 's.zarr')!r})\n"
        "assert dict(tree.sizes) == {'learning_rate': 3, 'seed': 5, 'init_scale': 2, 'step': 3,"
        " 'feature': 3}, tree.sizes\n"
        "assert tree.data_seed.dims == ('seed',) and 'data_seed' in tree.coords\n"
        "assert tree.loss.attrs['units'] == '1' and 'Experiment' in tree.attrs['experiment']\n"
        "assert (tree.recorded == 3).all() and 'cldyn' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert rebuild(Store(tmp_path / "s.zarr").request.experiment) == FEW


def test_a_sweep_without_axes_and_a_diverged_one_are_stored(tmp_path):
    same(sweep(tmp_path / "one", axes=[]), cldyn.sweep(FEW, [], STEPS))
    axes = [{"learning_rate": [0.01, 1e6, 0.02]}]
    found = sweep(tmp_path / "two", axes=axes)
    same(found, cldyn.sweep(FEW, axes, STEPS))
    assert found.finite_steps.values.tolist()[1] < 3
    same(sweep(tmp_path / "two", axes=axes), found.drop_vars(RECORDED))  # NaN is no damage


@pytest.mark.parametrize(
    "experiment",
    [
        FEW,
        cldyn.Experiment(cldyn.Population(MODEL), precision="float64"),
        FEW.replace(encoder=cldyn.Mlp(), loss=cldyn.InfoNce(), optimizer=cldyn.AdamW(clip_norm=2)),
        FEW.replace(positives=cldyn.Joint(0.3), irrelevant_strength=(1.0, 2.0), rotated=True),
        FEW.replace(problem=cldyn.FreshViews(MODEL), batch=cldyn.Epochs(8)),
    ],
)
def test_an_experiment_is_made_again_from_its_words(experiment):
    made = rebuild(describe(experiment))
    assert made == experiment and describe(made) == describe(experiment)


def test_what_is_ones_own_cannot_be_made_again_but_swept(tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 2, 5))
    views = cldyn.Experiment(cldyn.views(x, [0, 1] * 4))
    axes = [{"learning_rate": [0.01, 0.02]}]
    for _ in range(2):
        found = sweep(tmp_path / "s", axes, experiment=views)
    same(found, cldyn.sweep(views, axes, STEPS))
    with pytest.raises(ValueError, match="made again"):
        _ = Store(tmp_path / "s").experiment
    with pytest.raises(ValueError, match="array"):
        sweep(tmp_path / "s", axes, experiment=cldyn.Experiment(cldyn.views(x + 1, [0, 1] * 4)))


# --- what is done again ----------------------------------------------------------------------


def test_the_same_call_does_nothing_twice(tmp_path, small_blocks, written):
    sweep(tmp_path / "s")
    assert count(written) == 30
    again = sweep(tmp_path / "s")
    assert count(written) == 30 and (again[RECORDED] == 3).all()


def test_a_sweep_that_failed_goes_on(tmp_path, small_blocks, written, monkeypatch):
    memory, write = cldyn.sweep(FEW, AXES, STEPS), Store.write

    def failing(self, box, records, start):
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        write(self, box, records, start)

    monkeypatch.setattr(Store, "write", failing)
    with pytest.raises(OSError, match="kept") as told:
        sweep(tmp_path / "s")
    assert told.value.filename == str(tmp_path / "s") and "\n" not in str(told.value)
    monkeypatch.setattr(Store, "write", write)
    part = xr.open_zarr(tmp_path / "s", chunks=None)  # as it is
    assert 0 < (part[RECORDED] == 3).sum() < 30 and np.isnan(part.loss).any()
    same(sweep(tmp_path / "s"), memory)
    assert count(written) == 30


@pytest.mark.parametrize("batch", [cldyn.Full(), cldyn.Epochs(4)])
def test_longer_goes_on_from_states_and_wider_does_the_new_alone(
    tmp_path, small_blocks, written, batch
):
    experiment = FEW.replace(batch=batch, optimizer=cldyn.Momentum(0.02))
    axes = [{"learning_rate": [0.01, 0.02, 0.03]}, *AXES[1:]]
    ask = {"experiment": experiment, "states": True}
    longer = [*STEPS, 12, 20]
    whole = sweep(tmp_path / "whole", axes, longer, **ask).drop_vars(RECORDED)
    del written[:]
    sweep(tmp_path / "s", axes, STEPS, **ask)
    same(sweep(tmp_path / "s", axes, longer, **ask), whole)
    assert {start for _, start in written} == {0, 3} and count(written) == 60
    wider = [{"learning_rate": [0.01, 0.02, 0.03, 0.04]}, {"seed": range(7), "data_seed": range(7)}]
    wider.append({"init_scale": [0.01, 0.02]})
    all_at_once = sweep(tmp_path / "wide", wider, longer, **ask).drop_vars(RECORDED)
    del written[:]
    same(sweep(tmp_path / "s", wider, longer, **ask), all_at_once)
    assert 4 * 7 * 2 - 30 <= count(written) < 56  # what is no box is done as one
    del written[:]
    narrow = sweep(tmp_path / "s", axes, STEPS, **ask)  # all of it is there
    assert written == [] and dict(narrow.sizes)["learning_rate"] == 4


def test_an_axis_that_grows_by_itself_has_nothing_done_twice(tmp_path, small_blocks, written):
    sweep(tmp_path / "s")
    axes = [*AXES[:2], {"init_scale": [0.01, 0.02, 0.03]}]
    same(sweep(tmp_path / "s", axes), cldyn.sweep(FEW, axes, STEPS))
    assert count(written) == 45


@pytest.mark.parametrize("last", [STATE, "loss", "finite_steps"])
def test_what_was_killed_while_it_became_longer_is_done_again(tmp_path, monkeypatch, last):
    longer, write = [*STEPS, 12, 20], Store.write
    sweep(tmp_path / "s", states=True)

    class Killed(BaseException):
        pass

    class Stopping(dict):
        def items(self):
            for name in sorted(self, key=lambda name: (name == last, name)):
                yield name, self[name]
            raise Killed  # all but the flag is written

    monkeypatch.setattr(
        Store, "write", lambda self, box, records, start: write(self, box, Stopping(records), start)
    )
    with pytest.raises(Killed):
        sweep(tmp_path / "s", steps=longer, states=True)
    monkeypatch.setattr(Store, "write", write)
    same(sweep(tmp_path / "s", steps=longer, states=True), cldyn.sweep(FEW, AXES, longer))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"experiment": FEW.replace(embed_dim=5)}, "embed_dim"),
        ({"experiment": FEW.replace(optimizer=cldyn.Adam())}, "optimizer"),
        ({"experiment": FEW.replace(precision="float64")}, "precision"),
        ({"axes": AXES[:2]}, "init_scale is an axis there, here one value"),
        ({"axes": [*AXES, {"class_mean": [0, 1]}]}, "class_mean is one value there, here an axis"),
        ({"axes": AXES[::-1]}, "axes are learning_rate and seed,data_seed and init_scale"),
        ({"axes": [{"learning_rate": [0.01, 0.03, 0.05]}, *AXES[1:]]}, "learning_rate"),
        ({"steps": [0, 4, 10]}, "record_at"),
        ({"steps": [*STEPS, 20]}, "states"),
        ({"states": True}, "states"),
        ({"measure": ["loss"]}, "measures"),
    ],
)
def test_a_store_of_something_else_is_refused(tmp_path, change, named):
    sweep(tmp_path / "s")
    with pytest.raises(ValueError, match=named) as told:
        sweep(tmp_path / "s", **change)
    assert "\n" not in str(told.value)
    same(sweep(tmp_path / "s"), cldyn.sweep(FEW, AXES, STEPS))


def test_later_steps_that_fall_elsewhere_are_told_where_records_are():
    asked, there = (
        Request(describe(FEW), [], [*steps], [], True)
        for steps in (range(0, 81, 4), range(0, 41, 2))
    )
    with pytest.raises(ValueError, match=r"has 2 there at place 1, here 4; .* are records=40"):
        asked.merged(there, Path("s"))


def test_an_experiment_of_another_version_is_told_by_its_fields():
    said = describe(FEW).replace('"weight_decay"', '"decay"')
    asked, there = (Request(one, [], [0], [], True) for one in (describe(FEW), said))
    with pytest.raises(ValueError, match=r"decay is 0\.\d+ there, here None"):
        asked.merged(there, Path("s"))
    with pytest.raises(ValueError, match="a version that knows weight_decay"):
        rebuild(said)


def test_numbers_are_compared_not_how_they_are_written(tmp_path):
    whole = FEW.replace(irrelevant_strength=(2,), learning_rate=1)
    sweep(tmp_path / "s", AXES[1:], experiment=whole)
    kept = Store(tmp_path / "s")
    assert kept.experiment == FEW.replace(irrelevant_strength=(2.0,), learning_rate=1.0)
    sweep(tmp_path / "s", kept.request.axes, experiment=kept.experiment)


def test_a_store_that_was_removed_is_made_anew(tmp_path):
    for _ in range(2):
        sweep(tmp_path / "s")
        shutil.rmtree(tmp_path / "s")
    sweep(tmp_path / "s")
    assert (tmp_path / "s" / RECORDED / "lock").is_file()


def test_places_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "mine").write_text("precious")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ValueError, match="store"):
            sweep(place)
    with pytest.raises(ValueError, match="store"):
        Store(tmp_path)
    for name, value in (("shard", (3, 2)), ("shard", (0, 2)), ("shard", "1/2")):
        with pytest.raises(ValueError, match=name):
            sweep(tmp_path / "s", **{name: value})
    for name, value in (("shard", (1, 2)), ("states", True), ("executor", 1)):
        with pytest.raises(ValueError, match="store"):
            cldyn.sweep(FEW, AXES, STEPS, **{name: value})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# --- damage ----------------------------------------------------------------------------------


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


DAMAGES = {
    "flipped": flipped,
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "lost": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", [*DAMAGES])
@pytest.mark.parametrize("name", ["loss", "finite_steps", "states/packed", RECORDED])
def test_a_damaged_chunk_is_found_said_and_mended(tmp_path, small_blocks, written, damage, name):
    sweep(tmp_path / "s", states=True)
    files = sorted(path for path in (tmp_path / "s" / name / "c").rglob("*") if path.is_file())
    DAMAGES[damage](files[len(files) // 2])
    done = count(written)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mended = sweep(tmp_path / "s", states=True)
    if (damage, name) != ("lost", RECORDED):  # which says that nothing is there
        assert [str(files[len(files) // 2]) in str(one.message) for one in told] == [True]
    assert 0 < count(written) - done <= 8
    same(mended, cldyn.sweep(FEW, AXES, STEPS))


@pytest.mark.parametrize("damage", ["removed", "metadata", *DAMAGES])
def test_coordinates_that_are_lost_or_damaged_are_said_and_written_again(tmp_path, written, damage):
    memory = sweep(tmp_path / "s").load()
    names = {"learning_rate", "seed", "data_seed", "init_scale", "step", "feature"}
    for name in names:
        place = tmp_path / "s" / name
        if damage == "removed":
            shutil.rmtree(place)
        elif damage == "metadata":
            (place / "zarr.json").write_text("{")
        else:
            DAMAGES[damage](place / "c" / "0")
    done = count(written)
    told = status(tmp_path / "s")
    assert "damaged" in told and all(name in told for name in names)
    with pytest.raises(ValueError, match="written") as refused:
        comparison(tmp_path / "s")
    assert "\n" not in str(refused.value) and str(tmp_path / "s") in str(refused.value)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        same(sweep(tmp_path / "s"), memory.drop_vars(RECORDED))
    assert len(heard) == len(names) and count(written) == done
    opened = xr.open_zarr(tmp_path / "s", chunks=None)
    assert opened.equals(memory) and {*opened.coords} == names
    assert "damaged" not in status(tmp_path / "s")


@pytest.mark.parametrize("name", ["zarr.json", "loss/zarr.json"])
def test_a_store_that_does_not_say_what_it_holds_is_refused(tmp_path, name):
    sweep(tmp_path / "s")
    file = tmp_path / "s" / name
    said = file.read_text()
    for broken in ("", said[: len(said) // 2], said.replace("learning_rate", "learning_rats")):
        file.write_text(broken)
        with pytest.raises(ValueError, match="store"):
            sweep(tmp_path / "s")
    file.unlink()
    with pytest.raises(ValueError, match="store"):
        sweep(tmp_path / "s")
    file.write_text(said)  # nothing is lost
    same(sweep(tmp_path / "s"), cldyn.sweep(FEW, AXES, STEPS))


def test_what_killed_writers_leave_is_swept_up(tmp_path, small_blocks):
    sweep(tmp_path / "s")
    files = [path for path in (tmp_path / "s" / "loss" / "c").rglob("*") if path.is_file()]
    recorded = tmp_path / "s" / RECORDED / "c"
    for file in [path for path in recorded.rglob("*") if path.is_file()]:
        file.unlink()
    left = [file.with_suffix(".0123.partial") for file in files]
    for file in left:
        file.write_bytes(b"half")
    same(sweep(tmp_path / "s"), cldyn.sweep(FEW, AXES, STEPS))
    assert not any(file.exists() for file in left)


# --- blocks ----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
    st.integers(1, 200),
    st.integers(1, 4),
)
def test_blocks_are_all_trajectories_once(sides, most, rows):
    grid = Grid(
        tuple(
            Axis(f"a{i}", {f"a{i}": [*range(size)]}, {}, flag)
            for i, (size, flag) in enumerate(sides)
        )
    )
    blocks = Blocks(grid, lengths_of(grid, most, rows))
    problems, trajectories = grid.counts()
    seen = np.zeros((problems, trajectories), int)
    mine = np.zeros([size for size, _ in sides], int)
    for i in range(len(blocks)):
        box = blocks.box(i)
        part = blocks.part(box)
        assert part.problems.size * part.trajectories.size <= max(most, 1)
        seen[np.ix_(part.problems, part.trajectories)] += 1
        mine[box] += 1
        number = np.arange(problems * trajectories).reshape(problems, trajectories)
        whole = grid.ordered(number, mine.shape)
        here = number[np.ix_(part.problems, part.trajectories)]
        np.testing.assert_array_equal(blocks.ordered(here, box), whole[box])
    assert (seen == 1).all() and (mine == 1).all()


def test_a_block_lacks_the_smallest_box_or_all_from_the_start():
    recorded = np.zeros((3, 4), int)
    box = slice(6, 9), slice(0, 4)
    assert lack_of(recorded, box, 5) == (box, 0)
    recorded[:, :3] = 5
    assert lack_of(recorded, box, 5) == ((slice(6, 9), slice(3, 4)), 0)
    recorded[:2] = 3
    assert lack_of(recorded, box, 5) == ((slice(8, 9), slice(3, 4)), 0)
    recorded[0, 0] = 0  # with the last corner no box of one kind
    assert lack_of(recorded, box, 5) == ((slice(6, 9), slice(0, 4)), 0)
    recorded[0], recorded[2] = 3, 5
    assert lack_of(recorded, box, 5) == ((slice(6, 8), slice(0, 4)), 3)
    assert lack_of(recorded, box, 3) is None


# --- processes -------------------------------------------------------------------------------


def test_shards_in_any_order_are_the_whole(tmp_path, small_blocks, written):
    for i in (3, 1, 2):
        part = sweep(tmp_path / "s", shard=(i, 3))
        assert (part[RECORDED] == 3).all() == (i == 2)
    assert count(written) == 30
    same(part, cldyn.sweep(FEW, AXES, STEPS))


PROGRAM = """
import sys, warnings
import numpy as np, cldyn
from cldyn.sweeps import blocks
blocks.WORK = 2**27
warnings.simplefilter("ignore")
axes = [{"seed": range(24), "data_seed": range(24)},
        {"learning_rate": np.linspace(0.01, 0.05, 84).tolist()}]
experiment = cldyn.Experiment(cldyn.Stored(cldyn.FeatureModel(d=100), n=40))
shard = tuple(map(int, sys.argv[2].split("/")))
print("begun", flush=True)
cldyn.sweep(experiment, axes, range(0, 1001, 100), store=sys.argv[1], shard=shard)
"""


@pytest.mark.slow
def test_killed_sweeps_of_two_shards_go_on_and_end_like_an_unbroken_one(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    rng = np.random.default_rng(0)

    def begin(place, shard):
        words = [sys.executable, tmp_path / "program.py", tmp_path / place, shard]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    whole = begin("whole", "1/1")  # while it runs, another makes the same store
    assert begin("whole", "1/1").wait(120) == whole.wait(120) == 0
    for _ in range(4):
        running = [begin("cut", f"{i}/2") for i in (1, 2)]
        for one in running:
            one.stdout.readline()
        time.sleep(rng.uniform(0.3, 3))
        for one in running:
            one.send_signal(signal.SIGKILL)
            one.communicate()
    last = [begin("cut", f"{i}/2") for i in (1, 2, 2)]  # two of one shard: who comes first
    for one in last:
        assert one.wait(120) == 0
    whole, cut = (xr.open_zarr(tmp_path / name, chunks=None) for name in ("whole", "cut"))
    same(cut, whole.drop_vars(RECORDED).load())
    assert not [*tmp_path.rglob("*.partial")]


def test_an_executor_whose_processes_are_forks_is_refused(tmp_path):
    for context in (get_context("fork"), None):
        pool = ProcessPoolExecutor(2, context)
        if pool._mp_context.get_start_method() == "fork":
            with pytest.raises(ValueError, match=r"executor: .*'spawn'"):
                sweep(tmp_path / "s", executor=pool)
    assert not (tmp_path / "s").exists()


def test_what_can_only_be_read_is_looked_at_and_complete_or_refused(tmp_path, monkeypatch):
    memory = sweep(tmp_path / "s").load()
    shutil.copytree(tmp_path / "s", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / RECORDED / "c")
    monkeypatch.setattr(locks_module, "_FILES", {})
    file_of = os.open

    def closed(file, flags, *mode):
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return file_of(file, flags, *mode)

    monkeypatch.setattr(os, "open", closed)
    same(sweep(tmp_path / "s"), memory.drop_vars(RECORDED))
    assert "30 of 30" in status(tmp_path / "s") and "nobody" in status(tmp_path / "part")
    monkeypatch.setattr(Store, "write", lambda *_: pytest.fail("trained"))
    for name, axes in (("part", AXES), ("s", [*AXES[:2], {"init_scale": [0.01, 0.02, 0.03]}])):
        with pytest.raises(OSError, match="denied"):
            sweep(tmp_path / name, axes)


def test_an_executor_does_the_same_and_a_broken_one_leaves_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "WORK", 1)
    memory = cldyn.sweep(FEW, WIDE, STEPS)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        same(sweep(tmp_path / "s", WIDE, executor=pool), memory)
        flipped(next(one for one in (tmp_path / "s/loss/c").rglob("*") if one.is_file()))
        with pytest.warns(UserWarning, match="damaged"):
            same(sweep(tmp_path / "s", WIDE, executor=pool), memory)
        pool.submit(os.getpid).result()
        for process in pool._processes.values():
            process.kill()
        with pytest.raises(Exception, match="terminated") as told:
            sweep(tmp_path / "t", WIDE, executor=pool)
        assert "kept" in str(told.value.__notes__)
    same(sweep(tmp_path / "t", WIDE), memory)


@pytest.mark.slow
def test_dask_does_the_same_though_a_worker_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "WORK", 1)
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    steps = [0, 500, 1000]
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        workers = client.run(os.getpid)
        with ThreadPoolExecutor(1) as aside:
            asked = aside.submit(sweep, tmp_path / "s", WIDE, steps, executor=client.get_executor())
            while not any((tmp_path / "s" / RECORDED / "c").rglob("*")):
                time.sleep(0.05)
            os.kill(min(workers.values()), signal.SIGKILL)
            found = asked.result(timeout=120)
    same(found, cldyn.sweep(FEW, WIDE, steps))


def test_locks_are_of_processes_and_end_with_them(tmp_path):
    locks = Locks(tmp_path / "lock")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom cldyn.sweeps.locks import Locks\n"
        "locks = Locks(Path(sys.argv[1])); locks.together()\n"
        "print(locks.take(3), flush=True); time.sleep(60)\n"
    )
    words = [sys.executable, "-c", program, tmp_path / "lock"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"True\n"
        assert not locks.take(3) and locks.take(2) and not locks.alone()
        locks.together()
        other.kill()
    assert locks.take(3) and locks.alone()
    for i in (2, 3):
        locks.give(i)
    locks.leave()
