"""Sweeps in words and files, and the commands that look at their stores."""

import csv
import os

import numpy as np
import pandas as pd
import pytest
from oracles import SMALL

import cldyn
from cldyn import cli
from cldyn.axes import swept
from cldyn.claims.comparison import _apart, summary
from cldyn.cli.sweeps import _shard
from cldyn.sweeps import blocks

FILE = """
n = 8
d = 20
irrelevant_strength = [2, 1]
steps = 6
records = 3
measure = ["feature_norms", "loss"]
embed_dim = [2, 3]

[[axes]]
seed = "0:3"
data_seed = [4, 5, 6]
"""


def call(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_a_file_and_words_make_a_sweep(tmp_path):
    (tmp_path / "s.toml").write_text(FILE)
    meant = swept([str(tmp_path / "s.toml"), "learning_rate=0.01,0.02", "n=12"])
    assert meant.axes == [
        {"seed": [0, 1, 2], "data_seed": [4, 5, 6]},
        {"embed_dim": [2, 3]},
        {"learning_rate": [0.01, 0.02]},
    ]
    assert meant.record_at == [0, 2, 4, 6] and meant.measure == ["feature_norms", "loss"]
    assert meant.experiment.problem.shape == (12, 2, 20)
    assert meant.experiment.problem.model.irrelevant_strength == (2.0, 1.0)
    over = swept([str(tmp_path / "s.toml"), "embed_dim=5", "seed,data_seed=0:2"])
    assert over.axes == [{"seed": [0, 1], "data_seed": [0, 1]}]
    assert over.experiment.training.encoder.embed_dim == 5
    tuples = swept(["irrelevant_strength=1,2;3,4", "learning_rate=0.1"])
    assert tuples.axes == [{"irrelevant_strength": [(1.0, 2.0), (3.0, 4.0)]}]
    assert swept(["irrelevant_keep=0.5;1"]).axes == [{"irrelevant_keep": [0.5, 1.0]}]
    assert swept(["measure=loss,class_gap"]).measure == ["loss", "class_gap"]
    assert swept([]).axes == [] and swept([]).record_at[-1] == 400


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["optimizer=adam,gd"], "optimizer"),
        (["n=8,16"], "n"),
        (["seed=5:2"], "seed"),
        (["seed=a:b"], "seed"),
        (["learning_rate=0.1,x"], "learning_rate"),
        (["learning_rate=-1,2"], "learning_rate"),
        (["stepz=3"], "steps"),
        (["seed,nothing=0:2"], "'nothing', allowed is one of .*learning_rate"),
        (["learning_rats=0.1,0.2"], "'learning_rats', allowed is learning_rate, perhaps$"),
        (["seed=8:0"], "seed: '8:0'.* empty"),
        (["beta=0.1,0.2"], "beta.*only with positives=joint"),
        (["measures=loss"], "measure, perhaps"),
        (["axes=1"], "file"),
        (["store=x"], "store: 'x', allowed is an option, --store"),
    ],
)
def test_words_that_make_no_sweep_are_refused(words, named):
    with pytest.raises(ValueError, match=named) as told:
        swept(words)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[axis]]\nseed = [1, 2]", r"'axis', allowed is \[\[axes\]\]"),
        ("[[axes]]\nsede = [1, 2]", "'sede', allowed is seed, perhaps$"),
        ("[[axes]]\nsede = []", "'sede'"),
        ("[[axes]]\nseed = 3", "a list of values"),
        ('store = "x"', "--store"),
        ('measures = ["loss"]', "measure, perhaps"),
        ("record = 40", "records, perhaps"),
    ],
)
def test_files_that_make_no_sweep_are_refused(tmp_path, text, named):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match=named) as told:
        swept([str(tmp_path / "s.toml")])
    assert "\n" not in str(told.value)


def test_a_sweep_is_planned_done_looked_at_compared_and_resumed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(blocks, "WORK", 1)
    (tmp_path / "s.toml").write_text(FILE)
    place, file = tmp_path / "s.zarr", tmp_path / "s.toml"
    status, out, _ = call(capsys, "sweep", file, "--dry-run", "--precision", "float64")
    assert status == 0 and "6: 3 problems x 2 trainings" in out and not place.exists()
    assert "compilation" in out
    status, out, _ = call(capsys, "sweep", file, "--store", place, "--shard", "1/2")
    assert status == 0 and "done" in out and not (tmp_path / "s.zarr" / "loss" / "x").exists()
    status, out, _ = call(capsys, "status", place)
    assert status == 0 and "shard 1/2" in out
    status, out, _ = call(capsys, "sweep", "--resume", "--store", place)
    assert status == 0 and "6 of 6 trajectories" in out
    status, out, _ = call(
        capsys, "sweep", file, "seed,data_seed=0:3", "--dry-run", "--store", place
    )
    assert status == 2  # data_seed is another one
    status, out, _ = call(capsys, "sweep", "--resume", "--dry-run", "--store", place)
    assert status == 0 and "missing       0%" in out
    (place / "step" / "c" / "0").unlink()
    status, out, err = call(capsys, "sweep", "--resume", "--store", place)
    assert err == f"cldyn: store: {place / 'step'} is damaged or missing; it is written again\n"
    table, figure = tmp_path / "new" / "t.csv", tmp_path / "new" / "f.png"
    status, out, _ = call(capsys, "compare", place, "--table", table, "--figure", figure)
    drawn = cli.sweeps.comparison(place)[1]
    drawn.draw_without_rendering()
    along = [way for axis in drawn.axes for way in (axis.xaxis, axis.yaxis)]
    assert not any(way.get_offset_text().get_text() for way in along)
    assert status == 0 and "|W v| of irrelevant_2: 6 of 6" in out and figure.stat().st_size > 1000
    with table.open() as rows:
        first = next(csv.DictReader(rows))
    assert {"seed", "embed_dim", "measured", "predicted", "quantity", "apart"} <= {*first}
    for words in (
        ("status", tmp_path), ("compare", tmp_path), ("sweep", "d=30", "--store", place),
        ("sweep", file), ("sweep", "--resume"), ("compare", place, "--figure", "x.y"),
        ("compare", place, "--table", tmp_path), ("compare", place, "--figure", file / "f.png"),
        ("sweep", "--dry-run", "--precision", "half"), ("sweep", "--dry-run", "--devices", "99"),
        ("sweep", "--dry-run", "--store", tmp_path), ("sweep", file, "--dry-run", "--store", file),
        ("sweep", "d=30", "--dry-run", "--store", place),
        ("sweep", "--resume", "--store", place, "--precision", "float64"),
        ("sweep", "--resume", "--store", place, "--states"),
        ("sweep", file, "--store", place, "--shard", "3/2"),
    ):  # fmt: skip
        status, out, err = call(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1), words


def test_a_job_array_says_which_shard(monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("SLURM", "SGE", "PMI", "OMPI", "AWS_BATCH")):
            monkeypatch.delenv(name)
    with pytest.raises(ValueError, match="job array"):
        _shard("auto")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    assert _shard("auto") == (3, 4)
    told = {"ID": "7", "MIN": "3", "MAX": "9", "STEP": "2"}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert _shard("auto") == (3, 4)
    assert _shard("2/5") == (2, 5)


def test_a_learning_step_is_known_up_to_the_steps_between_records():
    learned = pd.Series([0.0, 3.0, 10.0, 400.0, np.nan])
    apart = _apart(np.array([0, 10, 400]), learned)
    assert apart.tolist() == [0, 10, 10, 390, 0]
    rows = pd.DataFrame({"measured": learned, "predicted": learned + 20, "quantity": "learned"})
    assert "records are 390 steps apart" in summary(rows.assign(apart=apart))
    assert "records" not in summary(rows.assign(apart=5.0))


def test_what_theory_does_not_know_cannot_be_compared(tmp_path, capsys):
    other = SMALL.replace(encoder=cldyn.Mlp(), loss=cldyn.InfoNce(), precision="float32")
    cldyn.sweep(other, [], [0, 2], store=tmp_path / "s", progress=False)
    status, _, err = call(capsys, "compare", tmp_path / "s")
    assert status == 2 and "encoder" in err
