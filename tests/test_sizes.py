"""The paper's own sizes: their files, what trains them, and where the files of images are."""

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from image_files import write_cifar10, write_cifar100, write_mnist

import cldyn
from cldyn import cli, nouns, sizes
from cldyn.axes import swept
from cldyn.claims import paper
from cldyn.experiment import describe, rebuild
from cldyn.measures import MEASURES
from cldyn.sources import Cifar10, Cifar100, Mnist
from cldyn.sweeps.asked import ready
from cldyn.sweeps.grid import grid_of
from cldyn.sweeps.request import request_of
from cldyn.sweeps.store import Store

# Trajectories of every sweep, and the problem; by hand, from the paper.
WHAT = {
    "fig-3": (1, "cifar100", "coarse", 0),
    "fig-5": (3, "mnist", "none", 0),
    "randbit-mnist": (15, "mnist", "none", 0),
    "table-2-cifar10": (1, "cifar10", "animals", 2),
    "table-2-cifar100": (1, "cifar100", "coarse", 1),
    "table-3": (2, "cifar100", "coarse", 0),
    "table-4": (2, "mnist", "below_five", 5),
    "table-5": (3, "cifar100", "coarse", 1),
    "table-6": (1, "cifar10", "animals", 2),
}
KIND = {"mnist": Mnist, "cifar10": Cifar10, "cifar100": Cifar100}
SMALL = ["steps=2", "records=1", "batch_size=2", "stored_size=4", "test_size=4", "head=8"]
SMALL += ["embed_dim=4"]
CONV = [*SMALL, "channels=2", "shape=5,4,1", "decay_steps=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    write_mnist(place)
    write_cifar10(place)
    write_cifar100(place, [19, 0, 4, 7, 0, 0], [99, 1, 50, 3, 4, 1])
    return place


def call(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return stop.value.code, *capsys.readouterr()


def test_every_file_is_known_and_every_statement_of_images_has_one():
    assert {*sizes.SIZES} == {*WHAT}
    built = {statement for one in cli.claims.CLAIMS for statement in one.shows}
    shown = {statement for size in sizes.SIZES.values() for statement in size.shows}
    assert shown | built == {*paper.STATEMENTS}
    assert shown == {"Fig. 3", "Fig. 5", *(f"Table {i}" for i in range(2, 7))}


@pytest.mark.parametrize("name", WHAT)
@pytest.mark.filterwarnings("error")
def test_every_sweep_is_the_experiment_that_is_meant(name, data):
    count, problem, superclass, bits = WHAT[name]
    size = sizes.SIZES[name]
    for words in size.each:
        tiny = ["shape=5,4,1", "batch_size=3"] if problem == "mnist" else ["batch_size=3"]
        given = [sizes.file_of(name), *words.split(), f"folder={data}", *tiny]
        meant = swept(given)
        made, training = meant.experiment.problem, meant.experiment.training
        assert type(made) is KIND[problem] and made.superclass == superclass
        assert np.prod([len(next(iter(group.values()))) for group in meant.axes]) == count
        assert int(made.bits) == bits and made.augmentation.dropout == 0
        told = {key: value for word in words.split() for key, _, value in [word.partition("=")]}
        for key, value in told.items():
            (path,) = nouns.named(meant.experiment)[key]
            assert nouns.declared(meant.experiment, path)[1] in (int(value), (int(value),))
        mnist = problem == "mnist"
        steps, rate = (600, 1e-3) if mnist else (97000, 0.01)
        assert meant.record_at[-1] == steps and training.optimizer.learning_rate == rate
        kind = (cldyn.Conv, cldyn.Adam) if mnist else (cldyn.ResNet, cldyn.Momentum)
        assert (type(training.encoder), type(training.optimizer)) == kind
        # Numbers of the paper are of what is measured, and of some sweep.
        for number in size.numbers:
            assert number.measure in meant.measure and 0 < number.value < 1
            assert number.measure.removeprefix("pre_") in MEASURES
            axes = {key for group in meant.axes for key in group}
            assert {*number.at} <= axes | {*told}
    raw = tomllib.loads(size.path.read_text())
    assert mnist or meant.experiment.training.encoder.blocks == (2, 2, 2, 2)
    assert raw["batch_size"] == (1000 if problem == "mnist" else 512)
    assert raw["shape"] == ([28, 28, 1] if problem == "mnist" else [32, 32, 3])


def test_a_size_is_planned_trained_compared_and_resumed_elsewhere(
    data, tmp_path, capsys, monkeypatch
):
    store, moved, other = (tmp_path / one for one in ("s.zarr", "moved", "other"))
    shutil.copytree(data, moved)
    other.mkdir()
    write_mnist(other, seed=1)
    words = ["randbit-mnist", *CONV, "hidden=3", "bits=0,5"]
    planned = [*(set(words) - {"steps=2"}), "steps=100000000"]  # a few of which are timed
    status, out, err = call(capsys, "sweep", *planned, "--dry-run", "--data", data)
    assert (status, err) == (0, "") and "trajectories  6: " in out
    assert " h here" in out or " days here" in out
    status, out, err = call(capsys, "sweep", *words, "--store", store, "--data", data)
    assert (status, err) == (0, "") and "6 of 6 trajectories" in out
    assert str(data) not in (store / "zarr.json").read_text()
    status, out, _ = call(capsys, "compare", store, "--paper", "randbit-mnist")
    value = Store(store).dataset().isel(step=-1).sel(bits=5, temperature=0.1).pre_class_accuracy
    line = f"bits=5 temperature=0.1: pre_class_accuracy 0.612 reported, {value:.4g} measured"
    assert status == 0 and line in out.splitlines() and out.count("\n") == 6
    for name, told in (("table-6", "one of cldyn sweep table-6"), ("table-9", "perhaps")):
        status, _, err = call(capsys, "compare", store, "--paper", name)
        assert status == 2 and told in err and err.count("\n") == 1

    longer = ["randbit-mnist", *CONV, "hidden=3", "bits=0,5,20", "--store", store]
    status, out, _ = call(capsys, "sweep", *longer, "--data", moved)
    assert status == 0 and "9 of 9 trajectories" in out
    for more in (words, ["--resume"]):
        status, _, err = call(capsys, "sweep", *more, "--store", store, "--data", other)
        assert status == 2 and "digest is" in err and err.count("\n") == 1
    status, _, err = call(capsys, "sweep", "--resume", "--store", store)
    assert status == 2 and "folder: '', allowed is the folder that holds the files of mnist" in err
    monkeypatch.setenv("CLDYN_DATA", str(moved))
    assert call(capsys, "sweep", "--resume", "--store", store)[0] == 0
    assert call(capsys, *["sweep", *longer])[0] == 0
    monkeypatch.setenv("CLDYN_DATA", str(other))
    assert "digest is" in call(capsys, "sweep", "--resume", "--store", store)[2]


@pytest.mark.parametrize("name", WHAT)
def test_every_program_can_be_made_and_measured(name, data):
    tiny = CONV if WHAT[name][1] == "mnist" else [*SMALL, "blocks=1"]
    meant = swept([sizes.file_of(name), *tiny, f"folder={data}"])
    grid, at = grid_of(meant.experiment, meant.axes), np.array(meant.record_at)
    request = request_of(meant.experiment, grid, meant.measure, at, False)
    like = ready(meant.experiment, request, meant.measure, None).like
    assert {*meant.measure} < {*like} and like["loss"].shape == (2,)


def test_supervised_pairs_of_table_3_are_those_of_figure_3(data):
    found = []
    for name in ("fig-3", "table-3"):
        words = [*SMALL, "blocks=1", "width=2", "measure=loss", f"folder={data}"]
        words += ["temperature=0.001"]  # views of noise are all alike
        experiment, axes, at, measure = swept([sizes.file_of(name), *words])
        trained = cldyn.sweep(experiment, axes, at, measure=measure, progress=False)
        found.append(trained.loss.sel(beta=1) if axes else trained.loss)
    np.testing.assert_allclose(*found, rtol=1e-4)
    assert abs(trained.loss.sel(beta=0.8, step=2) - found[1].sel(step=2)) > 1e-3


def test_what_is_described_has_no_folder_and_knows_overlays(data, tmp_path):
    own = cldyn.Experiment(Cifar10(folder=str(data), overlay="mnist"))
    told = describe(own)
    assert str(data) not in told and rebuild(told) == own.replace(folder="")
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert describe(own.replace(folder=str(moved))) == told
    write_mnist(moved, seed=1)
    assert describe(own.replace(folder=str(moved))) != told


def test_missing_files_are_told_in_one_line(tmp_path, capsys):
    for name in ("fig-3", "fig-5", "table-6"):  # one of every set
        for more, told in (([], "folder: ''"), (["--data", tmp_path], "a folder with ")):
            status, out, err = call(capsys, "sweep", name, "--store", tmp_path / "s", *more)
            assert (status, out, err.count("\n")) == (2, "", 1) and told in err, name
    assert not (tmp_path / "s").exists()
    status, _, err = call(capsys, "run", "problem=digits", "--data", tmp_path)
    assert status == 2 and "folder" in err and "only with problem=mnist" in err
    status, _, err = call(capsys, "run", "problem=mnist", "folder=x", "--data", tmp_path)
    assert status == 2 and "one value" in err


def test_a_folder_with_a_comma_is_one_folder(tmp_path):
    place = tmp_path / "a,b"
    place.mkdir()
    write_mnist(place)
    meant = swept(["problem=mnist", f"folder={place}"])
    assert meant.axes == [] and meant.experiment.problem.folder == str(place)


def test_the_list_and_statements_say_what_to_run(capsys):
    status, out, _ = call(capsys, "list")
    below = out[out.index("own sizes, on files") :]
    for size in sizes.SIZES.values():
        assert f"\n{size.name}\n" in below and size.cost in below
        assert all(f"  {command}\n" in below for command in size.commands)
        assert all(
            f"{one.value:g} ({one.where})" in " ".join(below.split()) for one in size.numbers
        )
    for statement in ("Table 2", "Table 6"):
        status, out, err = call(capsys, "reproduce", statement)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "cldyn sweep" in err and "files of CIFAR" in err
    assert Path(sizes.file_of("table-3")).is_file() and sizes.file_of("other") == "other"
