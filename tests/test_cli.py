import csv
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from cldyn import cli, folders, screen, store
from cldyn.claims import own, paper
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_least,
    at_most,
    close,
    found,
    showing,
    within,
)

Q = Subject("setting", "quantity", "statistic")


def call(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    heard = capsys.readouterr()
    return stop.value.code, heard.out, heard.err


def claim(name, *measured, shows=()):
    """A claim whose quantities should be at most 1; the first shows what it shows of the paper."""
    rows = [at_most(Subject(name, f"quantity {i}"), 1.0, value) for i, value in enumerate(measured)]
    rows = showing(shows[0], rows[:1]) + rows[1:] if shows else rows
    done = Study(rows, {"": xr.Dataset()}, Figure())
    return Claim(name, "says", shows, "source", "cost", lambda: done)


def test_list_names_every_claim(capsys):
    status, out, _ = call(capsys, "list")
    assert status == 0 and "Xue" in out
    for one in cli.claims.CLAIMS:
        assert f"{one.name}\n  {one.says}" in out
        assert set(one.shows) <= set(paper.STATEMENTS)
    below = out[out.index("by number:") :]
    for statement, says in paper.STATEMENTS.items():
        assert says in " ".join(below.split())
        built = paper.that_show(cli.claims.CLAIMS, statement)
        line = below.split(statement, 1)[1].splitlines()[1]
        assert all(one.name in line for one in built)
        assert built or "cldyn sweep" in line


@pytest.mark.parametrize(
    ("words", "statement"),
    [
        ("thm 4.5", "Thm 4.5"),
        ("Theorem 4.5", "Thm 4.5"),
        ("prop-4.2", "Prop. 4.2"),
        ("Fig. 2b", "Fig. 2"),
        ("figure 6", "Fig. 6"),
        ("table2", "Table 2"),
        ("thm 4.6", "Thm 4.6"),
        ("fig", ""),
        ("class-collapse", ""),
        ("lemma 4.5", ""),
    ],
)
def test_statements_are_known_by_their_numbers(words, statement):
    assert paper.statement_of(words) == statement


def test_a_statement_runs_the_claims_that_show_it_and_tells_its_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.claims, "cores", lambda: 1)
    claims = claim("one", 0.25, 0.2, shows=("Fig. 1",)), claim("two", 0.5), claim("three", 0.125)
    monkeypatch.setattr(cli.claims, "CLAIMS", claims)
    status, out, _ = call(capsys, "reproduce", "fig 1", "--out", str(tmp_path))
    assert status == 0 and "0.25" in out and "holds" in out and "0.2 " not in out
    assert (tmp_path / "one").exists() and not (tmp_path / "two").exists()
    _, out, _ = call(capsys, "reproduce", "fig 1", "three", "--out", str(tmp_path / "more"))
    assert {path.name for path in (tmp_path / "more").iterdir()} == {"one", "three"}
    status, _, err = call(capsys, "reproduce", "fig 5", "--out", str(tmp_path / "none"))
    assert status == 2 and "'Fig. 5: MNIST" in err and "cldyn sweep fig-5 --data DIR" in err
    status, _, err = call(capsys, "reproduce", "fig 2", "--out", str(tmp_path / "none"))
    assert status == 2 and "shows: Fig. 1" in err
    status, _, err = call(capsys, "reproduce", "thm 4.6", "--out", str(tmp_path / "none"))
    assert status == 2 and "'thm 4.6'" in err and "Thm 4.5, Thm 4.7" in err
    assert not (tmp_path / "none").exists()


def test_program_says_what_it_is(capsys, monkeypatch):
    status, out, _ = call(capsys, "--version")
    assert status == 0 and out.startswith("cldyn ") and out[6].isdigit()
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        for words in ((), ("--help",), ("-h",)):
            status, out, _ = call(capsys, *words)
            assert status == 0 and out.startswith("cldyn is a laboratory")
            assert all(f"\n  {name} " in out for name in cli.COMMANDS)
            assert max(map(len, out.splitlines())) <= 100
        for name, command in cli.COMMANDS.items():
            status, out, _ = call(capsys, name, "--help")
            assert status == 0 and out.startswith(f"usage: cldyn {name} ")
            assert command.__doc__.splitlines()[0].split(";")[0].split(",")[0] in out
            assert f"For example: cldyn {name}" in out
            assert max(map(len, out.splitlines())) <= 120


def test_fields_are_listed(capsys):
    status, out, _ = call(capsys, "fields")
    assert status == 0 and "optimizer=adam: " in out and "  square_decay=0.999 " in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("reproduce", "no-such-claim"), "'no-such-claim'"),
        (("reproduce", "--format", "gif"), "'gif'"),
        (("reproduce", "--no-such-option", "1"), "no-such-option"),
        (("reproduce", "--out"), "--out"),
        (("no-such-command",), "no-such-command"),
        (("list", "more"), "'more'"),
        (("reproduce", "--out", "/proc/none"), "/proc/none"),
        (("run", "--no-such-option"), "no-such-option"),
        (("run", "no-such-file.toml"), "no-such-file.toml"),
        (("run", "no_such_field=1"), "'no_such_field'"),
        (("run", "--steps"), "--steps"),
        (("run", "--steps", "many"), "'many'"),
        (("run", "--steps", ""), "''"),
        (("run", "--seeds", "0"), "seeds: 0"),
        (("run", "--seeds", "3", "seeds=4"), "'4'"),
        (("run", "--out", "/proc/none"), "/proc/none"),
    ],
)
def test_bad_words_get_one_line(capsys, monkeypatch, words, named):
    monkeypatch.setattr(cli.claims, "_studied", lambda *_: pytest.fail("ran"))
    status, out, err = call(capsys, *words)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and named in err and "allowed" in err and "---" not in err


def test_words_stand_among_options(capsys, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(own, "study", lambda *given: asked.append(given))
    for name in ("kept", "tell"):
        monkeypatch.setattr(cli.settings, name, lambda *_: None)
    (tmp_path / "my.toml").write_text("n = 8\nseeds = 2\nsteps = 7")
    words = f"run d=20 --steps 3 optimizer=adam --out {tmp_path} {tmp_path / 'my.toml'} m=4"
    assert call(capsys, *words.split())[0] == 0
    (experiment, steps, seeds), *_ = asked
    assert experiment.problem.shape == (8, 4, 20) and (steps, seeds) == (3, 2)


def test_a_folder_with_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="mine"):
        folders.check(tmp_path, ["table.csv"])
    (tmp_path / "mine").rename(tmp_path / "table.csv")
    assert folders.check(tmp_path, ["table.csv"]) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_store_returns_what_was_saved_and_xarray_opens_it(tmp_path):
    features = np.array(["class", "subclass"], object)
    root = xr.Dataset(
        {"a": (("seed", "feature"), np.eye(2)), "good": ("seed", np.array([True, False]))},
        coords={"feature": features, "data_seed": ("seed", [3, 4])},
        attrs={"experiment": "{}"},
    )
    store.save(tmp_path / "s.zarr", {"": root, "other": root * 2, "none": xr.Dataset()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(tmp_path / "s.zarr")
    assert tree.to_dataset().equals(root) and tree["other"].to_dataset().equals(root * 2)
    assert {*tree.data_seed.coords} >= {"data_seed"} and tree.attrs == {"experiment": "{}"}
    assert store.load(tmp_path / "s.zarr", "other").equals(root * 2)


def test_every_flipped_bit_of_a_store_is_found(tmp_path):
    store.save(tmp_path / "s.zarr", {"": xr.Dataset({"a": ("t", np.arange(40.0))})})
    chunk = tmp_path / "s.zarr" / "a" / "c" / "0"
    written = chunk.read_bytes()
    for place in range(0, 8 * len(written), 7):
        flipped = bytearray(written)
        flipped[place // 8] ^= 1 << place % 8
        chunk.write_bytes(flipped)
        with pytest.raises(ValueError, match="checksum"):
            store.load(tmp_path / "s.zarr").a.load()


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    place = tmp_path / "result"
    for text in ("one", "two"):
        with folders.replaced(place) as new:
            (new / "table").write_text(text)
            (new / text).touch()
            others = {path.name for path in tmp_path.iterdir()} - {new.name}
            assert others == ({"result"} if text == "two" else set())
        assert {path.name for path in place.iterdir()} == {"table", text}
    with pytest.raises(OSError, match="full"), folders.replaced(place) as new:
        (new / "table").write_text("half")
        raise OSError("full")
    assert (place / "table").read_text() == "two"
    (tmp_path / ".result.new").mkdir()  # a killed process leaves it, the next one uses it
    (tmp_path / ".result.new" / "table").write_text("left")
    with folders.replaced(place) as new, pytest.raises(ValueError, match="no other process"):
        assert not any(new.iterdir())
        with folders.replaced(place):
            pytest.fail("two at a time")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_where_folders_cannot_be_exchanged_at_once_it_takes_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.ctypes, "CDLL", lambda *_, **__: object())
    for text in ("one", "two"):
        with folders.replaced(tmp_path / "result") as new:
            (new / text).touch()
        assert [path.name for path in (tmp_path / "result").iterdir()] == [text]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize(
    ("row", "holding", "failing"),
    [
        (lambda value: close(Q, 2.0, value, 0.03), (2.05,), (2.07, np.nan)),
        (lambda value: at_most(Q, 1.0, value), (1.0,), (1.01, np.nan)),
        (lambda value: at_least(Q, 1.0, value), (1.0,), (0.99, np.nan)),
        (lambda value: within(Q, 1.0, 2.0, value), (1.5,), (0.9, 2.1, np.nan)),
    ],
)
def test_verdicts(row, holding, failing):
    assert {row(value).verdict for value in holding} == {"holds"}
    assert {row(value).verdict for value in failing} == {"fails"}
    assert row(np.nan).relative_error == np.inf  # what was not measured is infinitely wrong
    assert at_most(Q, 2.0, 3.0).relative_error == pytest.approx(0.5)


def many(fails, finds):
    """Rows of every verdict."""
    return [
        *[close(Subject("one", f"held {i}"), 1.0, 1.0, 0.1) for i in range(31)],
        *[
            found(
                Subject("a long name of a setting", f"found {i}", "median of 32 seeds"),
                {"[b]": 0.25, "rest": "0.5 (0.4 .. 0.6)"},
            )
            for i in range(finds)
        ],
        *[at_most(Subject("one", f"failed {i}"), 1.0, 2.0) for i in range(fails)],
    ]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("finds", [0, 5, 100])
def test_tables_fit_a_screen(monkeypatch, columns, finds):
    monkeypatch.setattr(screen, "console", lambda: screen.Console(width=columns))
    told = screen.told("name", many(2, finds))
    *tables, last = told.splitlines()
    assert len(tables) <= 36 and all(len(line) <= columns for line in tables)
    order = [told.find(word) for word in ("failed 0", "failed 1", "found 0", "31 predictions")]
    assert order == sorted(order) or finds == 0
    assert "held" not in told and "<= 1" in told and ("[b]: 0.25; " in told) == (finds > 0)
    assert last.startswith("31 predictions hold, 2 fail; ") and f" {finds} found" in last
    assert ("shown" in last) == (finds == 100)
    told = screen.told("name", many(50, finds))
    assert all(f"failed {i} " in told for i in range(50))


def test_what_is_predicted_stands_beside_what_is_found():
    rows = [found(Subject("", "largest"), 0.5, "<= 0.7"), found(Subject("", "last"), "0.1")]
    told = screen.told("run", rows)
    assert "predicted" in told and "<= 0.7" in told and "setting" not in told
    assert told.splitlines()[-1] == "2 found: measured, without a verdict."
    assert "predicted" not in screen.told("run", rows[1:])


def test_all_claims_end_in_one_summary_and_the_status_of_the_verdicts(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli.claims, "cores", lambda: 1)  # processes of their own know other claims
    for last, expected in ((0.5, 0), (2.0, 1)):
        claims = claim("first", 0.1, 0.2), claim("second", 0.3, last)
        monkeypatch.setattr(cli.claims, "CLAIMS", claims)
        status, out, _ = call(capsys, "reproduce", "--out", str(tmp_path))
        summary = out[out.index("all claims") :]
        assert status == expected and summary.index("first") < summary.index("second")
        assert ("second: quantity 1" in summary) == (expected == 1)
        assert f"{tmp_path / 'first' / 'table.csv'} has every row." in out
        assert (tmp_path / "second" / "figure.png").exists()
        with (tmp_path / "first" / "table.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == list(Row.__dataclass_fields__) and len(rows) == 2
        assert store.load(tmp_path / "first" / "trajectories.zarr").equals(xr.Dataset())
    _, out, _ = call(capsys, "reproduce", "first", "--out", str(tmp_path), "--format", "svg")
    assert "all claims" not in out and (tmp_path / "first" / "figure.svg").stat().st_size > 100


PROGRAM = """
import os, sys, time
from pathlib import Path
import xarray as xr
from matplotlib.figure import Figure
from cldyn import cli
from cldyn.claims.table import Claim, Study, Subject, at_most, found


def study():
    cores, here = cli.claims.cores(), Path(sys.argv[1])
    (here / f"{os.getpid()}.here").touch()
    while len([*here.glob("*.here")]) < 2:  # side by side: they meet
        time.sleep(0.01)
    rows = [found(Subject("process", "number"), str(os.getpid()))]
    return Study([*rows, at_most(Subject("its", "cores"), 1, cores)], {"": xr.Dataset()}, Figure())


cli.claims.CLAIMS = tuple(Claim(name, "", (), "", "", study) for name in ("first", "second"))
if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    cli.main(["reproduce", "--out", sys.argv[1]])
"""


@pytest.mark.skipif(
    cli.claims.cores() < 2, reason="one core: claims follow each other in one process"
)
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes share all cores")
def test_claims_are_studied_side_by_side_each_with_cores_of_its_own(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [sys.executable, tmp_path / "program.py", tmp_path / "out"]
    heard = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    summary = heard.stdout[heard.stdout.index("all claims") :]
    assert summary.index("first") < summary.index("second")
    assert heard.stdout.count("1 predictions hold, 0 fail") == 2
    processes = set()
    for name in ("first", "second"):
        with (tmp_path / "out" / name / "table.csv").open() as file:
            processes.add(next(csv.DictReader(file))["measured"])
    assert len(processes) == 2


def test_what_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.claims, "_studied", lambda *_: pytest.fail("ran"))
    for name in ("trajectories.zarr", "table.csv", "figure.png", "page.html"):
        out = tmp_path / name.split(".")[0]
        (out / "class-collapse" / name).mkdir(parents=True)
        status, _, err = call(capsys, "reproduce", "class-collapse", "--out", str(out))
        assert status == 2 and err.count("\n") == 1


def test_a_reader_who_has_seen_enough_is_no_failure():
    program = [sys.executable, "-c", "from cldyn.cli import main; main(['fields'])"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.wait() == 0 and running.stderr.read() == b""


def test_a_setting_of_ones_own_is_run_and_told(tmp_path, capsys):
    words = (
        "run d=40 n=8 optimizer=adam batch=epochs batch_size=4 schedule=inverse_time clip_norm=2 "
        f"irrelevant_strength=1.5 --steps 30 --seeds 3 --out {tmp_path}"
    )
    status, out, _ = call(capsys, *words.split())
    assert status == 0 and "irrelevant_1" in out and "measured, without a verdict" in out
    kept = store.load(tmp_path / "run" / "trajectories.zarr")
    assert kept.feature_norms.dims == ("seed", "step", "feature") and kept.sizes["seed"] == 3
    training = json.loads(kept.attrs["experiment"])["training"]
    assert training["optimizer"]["is"] == "Adam" and training["batch"]["batch_size"] == 4
    names = {"figure.png", "page.html", "table.csv", "trajectories.zarr"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names


@pytest.mark.parametrize(
    "words",
    ["--steps 0", "--seeds -1", "batch=subset batch_size=300", "learning_rate=-1", "n=6"],
)
def test_a_setting_that_makes_no_sense_writes_nothing(tmp_path, capsys, words):
    status, _, err = call(capsys, "run", *words.split(), "--out", str(tmp_path / "none"))
    assert status == 2 and err.count("\n") == 1 and not (tmp_path / "none").exists()
