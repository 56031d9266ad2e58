import csv
import os

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from cldyn import cli, store
from cldyn.claims import class_collapse
from cldyn.claims.table import Claim, Study, at_least, at_most, close, within


def call(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    heard = capsys.readouterr()
    return stop.value.code, heard.out, heard.err


def test_list_names_every_claim(capsys):
    status, out, _ = call(capsys, "list")
    assert status == 0 and "class-collapse" in out and "Xue" in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("reproduce", "no-such-claim"), "'no-such-claim'"),
        (("reproduce", "--format", "gif"), "'gif'"),
        (("reproduce", "--no-such-option", "1"), "no-such-option"),
        (("no-such-command",), "no-such-command"),
        (("reproduce", "--out", "/proc/none"), "/proc/none"),
    ],
)
def test_bad_words_get_one_line(capsys, words, named):
    status, _, err = call(capsys, *words)
    assert status == 2
    assert err.count("\n") == 1 and named in err and "allowed" in err


def test_a_folder_with_something_else_is_not_overwritten(tmp_path):
    place = tmp_path / "trajectories.zarr"
    place.mkdir()
    (place / "precious").write_text("mine")
    with pytest.raises(ValueError, match="allowed"):
        store.save(place, {"": xr.Dataset({"a": ("t", np.arange(3.0))})})
    assert (place / "precious").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_store_returns_what_was_saved(tmp_path):
    features = np.array(["class", "subclass"], object)
    root = xr.Dataset({"a": (("seed", "feature"), np.eye(2))}, coords={"feature": features}, attrs={"experiment": "{}"})
    for _ in range(2):  # the second replaces the first
        store.save(tmp_path / "s.zarr", {"": root, "other": root * 2})
    np.testing.assert_array_equal(store.load(tmp_path / "s.zarr").a, np.eye(2))
    assert list(store.load(tmp_path / "s.zarr").feature.values) == ["class", "subclass"]
    np.testing.assert_array_equal(store.load(tmp_path / "s.zarr", "other").a, 2 * np.eye(2))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_verdicts():
    assert [close("q", 2.0, value, 0.03).verdict for value in (2.05, 2.07)] == ["holds", "fails"]
    assert [at_most("q", 1.0, value).verdict for value in (1.0, 1.01, np.nan)] == ["holds", "fails", "fails"]
    assert [at_least("q", 1.0, value).verdict for value in (1.0, 0.99, np.nan)] == ["holds", "fails", "fails"]
    assert [within("q", 1.0, 2.0, value).verdict for value in (0.9, 1.5, 2.1)] == ["fails", "holds", "fails"]
    assert at_most("q", 2.0, 3.0).relative_error == pytest.approx(0.5)


@pytest.mark.slow
def test_class_collapse_is_reproduced(tmp_path, capsys, monkeypatch):
    # All predictions, but few of the arms in which something is only found.
    monkeypatch.setattr(class_collapse, "ARM_SEEDS", {"seed": range(3), "data_seed": range(3)})
    few = {name: arm for name, arm in class_collapse.stochastic_arms().items() if "stored, b = 32" in name}
    adam = {name: arm for name, arm in class_collapse.optimizer_arms().items() if name == "Adam, rate 0.01"}
    monkeypatch.setattr(class_collapse, "stochastic_arms", lambda: few)
    monkeypatch.setattr(class_collapse, "optimizer_arms", lambda: adam)
    status, out, _ = call(capsys, "reproduce", "class-collapse", "--out", str(tmp_path), "--format", "svg")
    folder = tmp_path / "class-collapse"
    assert status == 0 and "class-collapse" in out
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["quantity", "predicted", "measured", "relative_error", "tolerance", "verdict"]
    assert len(rows) > 25 and {row["verdict"] for row in rows} == {"holds", "found"}
    assert (folder / "figure.svg").stat().st_size > 10_000
    main = store.load(folder / "trajectories.zarr")
    assert main.feature_norms.dims == ("seed", "learning_rate", "step", "feature")
    assert main.sizes["seed"] >= 32 and main.sizes["learning_rate"] >= 8


def test_a_setting_of_ones_own_is_run_and_told(tmp_path, capsys):
    words = "--d 40 --n 8 --optimizer adam --batch epochs --batch-size 4 --schedule inverse_time --clip-norm 2 --irrelevant-strength 1.5"
    status, out, _ = call(capsys, "run", *words.split(), "--steps", "30", "--seeds", "3", "--out", str(tmp_path))
    assert status == 0 and "irrelevant_1: |W v| after 30 steps" in " ".join(out.split()).replace("│ ", "")
    kept = store.load(tmp_path / "run" / "trajectories.zarr")
    assert kept.feature_norms.dims == ("seed", "step", "feature") and kept.sizes["seed"] == 3
    assert '"optimizer": "adam"' in kept.attrs["experiment"] and '"batch_size": 4' in kept.attrs["experiment"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"figure.png", "table.csv", "trajectories.zarr"}
    for wrong in (("--steps", "0"), ("--seeds", "-1"), ("--batch", "subset", "--batch-size", "300"), ("--learning-rate", "-1")):
        status, _, err = call(capsys, "run", *wrong, "--out", str(tmp_path / "none"))
        assert status == 2 and err.count("\n") == 1 and not (tmp_path / "none").exists()


def test_all_claims_end_in_one_summary_and_the_status_of_the_verdicts(tmp_path, monkeypatch, capsys):
    def claim(name, *measured):
        rows = [at_most(f"{name} {i}", 1.0, value) for i, value in enumerate(measured)]
        return Claim(name, "says", "source", "cost", lambda: Study(rows, {"": xr.Dataset()}, Figure()))

    for last, expected in ((0.5, 0), (2.0, 1)):
        monkeypatch.setattr(cli, "CLAIMS", (claim("first", 0.1, 0.2), claim("second", 0.3, last)))
        status, out, _ = call(capsys, "reproduce", "--out", str(tmp_path))
        summary = out[out.index("all claims") :]
        assert status == expected and summary.index("first") < summary.index("second")
        assert ("second 1" in summary) == (expected == 1)
        assert (tmp_path / "first" / "table.csv").exists() and (tmp_path / "second" / "figure.png").exists()
    _, out, _ = call(capsys, "reproduce", "first", "--out", str(tmp_path))
    assert "all claims" not in out


def test_what_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_report", lambda *_: pytest.fail("ran"))
    for name in ("trajectories.zarr", "table.csv", "figure.png"):
        out = tmp_path / name.split(".")[0]
        (out / "class-collapse" / name).mkdir(parents=True)
        status, _, err = call(capsys, "reproduce", "class-collapse", "--out", str(out))
        assert status == 2 and err.count("\n") == 1


def test_a_failed_replacement_leaves_the_old_store(tmp_path, monkeypatch):
    place = tmp_path / "s.zarr"
    store.save(place, {"": xr.Dataset({"a": ("t", np.arange(3.0))})})
    rename = os.rename

    def failing(source, target):
        if str(source).endswith("new"):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="no"):
        store.save(place, {"": xr.Dataset({"a": ("t", np.zeros(3))})})
    np.testing.assert_array_equal(store.load(place).a, np.arange(3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_what_was_not_measured_is_infinitely_wrong():
    for row in (at_most("q", 1.0, np.nan), at_least("q", 1.0, np.nan), within("q", 1.0, 2.0, np.nan), close("q", 1.0, np.nan, 0.1)):
        assert row.verdict == "fails" and row.relative_error == np.inf
