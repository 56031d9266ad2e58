"""The page of a store: what it holds is what the store has, and a reader can see it."""

import base64
import json
import re
import shutil
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from browser import needs_chromium
from hypothesis import given
from hypothesis import strategies as st

import cldyn
from cldyn import cli, page
from cldyn.experiment import describe
from cldyn.page.cloud import seen
from cldyn.page.thinning import BYTES, evenly, thin
from cldyn.sweeps import with_predictions

RATES, SEEDS, STEPS = [0.01, 0.05, 5.0], range(3), [*range(0, 201, 4)]
SPREAD = cldyn.Measure(
    "spread", "largest test embedding", lambda seen: jnp.abs(seen.embed("test")).max(), ("test",)
)
# How many points of a canvas have each of some colours.
COLOURED = """([name, colours]) => {
  const canvas = document.querySelector(name), { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return colours.map(colour => {
    const wanted = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += wanted.every((one, k) => data[i + k] === one);
    return count;
  });
}"""
EVERY = "() => [...group.measures.values()].map(one => [one.name, Array.from(one.data, String)])"
HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A sweep with a measure that nobody knows, embeddings, and a rate that diverges."""
    model = cldyn.FeatureModel(d=20, subclass_mean=1.0)
    one = cldyn.Experiment(cldyn.Stored(model, n=16, m=2, test_size=40))
    axes = [{"seed": SEEDS, "data_seed": SEEDS}, {"learning_rate": RATES}]
    path = tmp_path_factory.mktemp("page") / "runs.zarr"
    measure = ["feature_norms", "class_gap", "loss", SPREAD, "embeddings"]
    measured = cldyn.sweep(one, axes, STEPS, measure=measure, store=path)
    return path, measured.load(), cldyn.forecast(one, axes)


@pytest.fixture(scope="module")
def file(store):
    out = store[0].with_suffix(".html")
    out.write_text(page.of_store(store[0]))
    return out


def content_of(told):
    """What a page holds, read without a browser."""
    inside = re.search(r'<script type="application/json" id="content">(.*?)</script>', told, re.S)
    content = json.loads(inside[1])
    for one in content["arrays"]:
        dtype = np.dtype(one["dtype"]).newbyteorder("<")
        planes = np.frombuffer(zlib.decompress(base64.b64decode(one["text"])), np.uint8)
        one["values"] = planes.reshape(dtype.itemsize, -1).T.copy().view(dtype).ravel()
    return content


def made(values, dims, **coords):
    return xr.Dataset({"one": (dims, values)}, coords)


# --- what is on a page, without a browser ---------------------------------------------------


def test_a_page_holds_every_number_of_its_store_as_it_is(store, file):
    content = content_of(file.read_text())
    (group,) = content["groups"]
    _, measured, known = store
    both = with_predictions(measured, known)
    for kind, before in (("measures", ""), ("predicted", "predicted_")):
        for one in group[kind]:
            values = both[f"{before}{one['name']}"].transpose("seed", "learning_rate", ...).values
            held = content["arrays"][one["array"]]["values"]
            np.testing.assert_array_equal(held, values.astype(held.dtype).ravel(), one["name"])
    assert {one["name"] for one in group["measures"]} == {*measured.data_vars} - {
        "embeddings", "finite_steps", "step_size", "recorded",
    }  # fmt: skip
    assert {one["name"] for one in group["predicted"]} == {*known.data_vars} - {
        "step_size", "smallest_second", "largest_second",
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool", "int64"])
def test_arrays_of_any_type_are_read_back_exactly(dtype):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(3, 4)) * 100).astype(dtype)
    told = page.of_sweeps("x", {"": made(values, ("rate", "step"), rate=range(3), step=range(4))})
    held = content_of(told)["arrays"][0]["values"]
    np.testing.assert_array_equal(held, values.ravel())
    assert held.dtype == values.dtype or dtype in ("bool", "int64")


def test_integers_beyond_32_bits_keep_their_value():
    told = page.of_sweeps("x", {"": made(np.array([2**40, 1]), ("rate",), rate=[0, 1])})
    assert content_of(told)["arrays"][0]["values"].tolist() == [2.0**40, 1.0]


def test_predictions_stand_beside_what_was_measured_where_there_are_any():
    measured = made(np.zeros((3, 2)), ("rate", "step"), rate=[1, 2, 3], step=[0, 5])
    known = made(np.array([7.0, 8.0]), ("rate",), rate=[3, 1])
    both = with_predictions(measured, known)
    np.testing.assert_array_equal(both.predicted_one, [8.0, np.nan, 7.0])
    assert both.predicted_one.attrs["long_name"].startswith("predicted")


@given(st.integers(1, 500), st.integers(1, 60))
def test_what_is_picked_of_many_is_even_and_has_both_ends(count, most):
    chosen = evenly(count, most)
    assert chosen.size == min(count, most) and chosen[0] == 0
    assert most == 1 or chosen[-1] == count - 1
    assert np.ptp(np.diff(chosen)) <= 1 if chosen.size > 1 else True


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 300), st.integers(1, 300))
def test_sweeps_of_any_size_fit_on_a_page_and_it_says_what_is_left_out(seeds, rates, first, second):
    def of(records):
        values = np.broadcast_to(np.float64(0), (seeds * 20, rates, records))
        coords = {"seed": range(seeds * 20), "rate": range(rates), "step": range(records)}
        return made(values, ("seed", "rate", "step"), **coords)

    sweeps = {"a": of(first), "b": of(second)}
    found = thin(sweeps)
    assert sum(one.dataset.one.size * 8 for one in found.values()) <= BYTES
    for name, one in found.items():
        whole = one.dataset.sizes == sweeps[name].sizes
        assert whole == (not one.notes)
        assert one.dataset.sizes["rate"] == rates  # repeats go first
        assert whole or one.dataset.sizes["seed"] >= 12


@given(st.integers(0, 99), st.integers(1, 6), st.booleans())
def test_embeddings_are_seen_without_distortion(seed, p, named):
    rng = np.random.default_rng(seed)
    label, subclass = rng.integers(0, 2, (2, 30)) if named else np.zeros((2, 30), int)
    embeddings = rng.normal(size=(4, 30, p)) + label[:, None]
    shown = seen(embeddings, label, subclass)
    assert shown.shape == (4, 30, min(p, 3))

    def distances(x):
        return np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)

    if p <= 3:
        np.testing.assert_allclose(distances(shown), distances(embeddings), atol=1e-9)
    assert (distances(shown) <= distances(embeddings) + 1e-9).all()


def test_embeddings_are_seen_along_classes_and_then_subclasses():
    rng = np.random.default_rng(0)
    label, subclass = np.repeat([0, 0, 1, 1], 20), np.repeat([0, 1, 0, 1], 20)
    frame, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    x = (
        np.outer(label, frame[0]) * 3
        + np.outer(subclass, frame[1])
        + 1e-3 * rng.normal(size=(80, 8))
    )
    shown = seen(np.stack([x, 2 * x, np.full_like(x, np.nan)]), label, subclass)
    means = [shown[0, (label == a) & (subclass == b)].mean(0) for a, b in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_allclose(means[2] - means[0], [3, 0, 0], atol=0.01)
    np.testing.assert_allclose(means[1] - means[0], [0, 1, 0], atol=0.01)
    np.testing.assert_allclose(shown[1], 2 * shown[0], atol=1e-12)
    assert np.isnan(shown[2]).all()


def test_test_rows_have_the_classes_of_their_own_problem(store, file):
    """By an oracle: a class is where the gap between class means is the measured one."""
    content, (_, measured, _) = content_of(file.read_text()), store
    told = content["groups"][0]["embeddings"]
    assert len(told["labels"]) == len(SEEDS)  # one for each problem
    scales = content["arrays"][told["scales"]]["values"].reshape(len(told["runs"]), -1)
    shown = content["arrays"][told["array"]]["values"]
    shown = shown.reshape(*scales.shape, told["rows"], -1) * scales[:, :, None, None]
    assert told["rows"] == 40 and told["times"] == STEPS and len(told["runs"]) == 9
    at = STEPS.index(60)
    for run, points, labelled in zip(told["runs"], shown, told["labelled"], strict=True):
        labels = told["labels"][labelled]
        seed, rate = divmod(run, len(RATES))
        if RATES[rate] != 0.05:
            continue
        label = np.array(labels)[:, 0]
        gap = np.linalg.norm(points[at, label == 1].mean(0) - points[at, label == 0].mean(0))
        within = max(points[at, label == one].std(0).max() for one in (0, 1))
        assert gap > 2 * within
        assert gap == pytest.approx(measured.class_gap[seed, rate, at].item(), rel=0.2)


def test_embeddings_of_images_have_the_classes_of_their_images():
    one = cldyn.Experiment(cldyn.sources.Digits(superclass="parity", test_size=50))
    values = np.random.default_rng(0).normal(size=(2, 50, 4))
    dims, coords = ("step", "test", "output"), {"step": [0, 1]}
    sweep = xr.Dataset({"embeddings": (dims, values)}, coords, {"experiment": describe(one)})
    told = content_of(page.of_sweeps("digits", {"": sweep}))["groups"][0]["embeddings"]
    assert len(told["classes"]) == 2 and len(told["subclasses"]) == 10
    rows = one.problem.opened().test(np.float32)
    wanted = np.stack([rows.classes.argmax(0), rows.subclasses.argmax(0)], 1)
    names = [[one - 1 for one in told[part]] for part in ("classes", "subclasses")]
    (labels,) = told["labels"]
    held = [[names[0][label], names[1][subclass]] for label, subclass in labels]
    np.testing.assert_array_equal(held, wanted)


def test_pages_that_cannot_be_made_are_refused_in_one_line(store, tmp_path, capsys):
    path = str(store[0])
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    for words, told in (
        ([str(tmp_path / "none")], "store"),
        (["/"], "store"),
        ([path, "--out", str(store[0] / "page.html")], "out"),
        ([path, "--out", str(mine)], "out"),
        ([path, "--out", str(tmp_path / "page.txt")], "out"),
        ([path, "--out", "/proc/none/page.html"], "out"),
        ([str(tmp_path)], "store"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(["page", *words])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and told in said
    assert [*tmp_path.iterdir()] == [mine] and mine.read_text() == "mine"


def test_a_damaged_store_is_refused_in_one_line(store, tmp_path, capsys):
    for name, damage in (
        ("gone", Path.unlink),
        ("garbled", lambda file: file.write_bytes(b"x" * 99)),
    ):
        copy = tmp_path / f"{name}.zarr"
        shutil.copytree(store[0], copy)
        damage(next(file for file in (copy / "loss" / "c").rglob("*") if file.is_file()))
        with pytest.raises(SystemExit) as stop:
            cli.main(["page", str(copy)])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and "mends" in said
        assert not copy.with_suffix(".html").exists()


def test_no_limit_is_predicted_above_the_critical_rate(store):
    both = with_predictions(store[1], store[2])
    beyond = (store[1].step_size > store[2].critical_learning_rate).values
    assert beyond.any() and not beyond.all()
    np.testing.assert_array_equal(np.isnan(both.predicted_class_gap.values), beyond)
    assert np.isfinite(both.predicted_critical_learning_rate).all()


def test_a_command_writes_the_page_and_says_where(store, tmp_path, capsys):
    for _ in range(2):  # an earlier page is replaced
        with pytest.raises(SystemExit) as stop:
            cli.main(["page", str(store[0]), "--out", str(tmp_path / "new" / "phases.html")])
        assert stop.value.code == 0 and "phases.html" in capsys.readouterr().out
    assert (tmp_path / "new" / "phases.html").read_text().startswith("<!doctype html>")


def test_a_page_asks_for_nothing_and_says_so(file):
    told = file.read_text()
    assert "default-src 'none'" in told
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", told)


# --- what a reader does ---------------------------------------------------------------------


@needs_chromium
def test_it_opens_and_draws(read, file):
    reader = read(file)
    class_, subclass, highest = "#0072b2", "#d55e00", "#fee838"
    for name, colours in (
        ("#charts canvas", (class_, subclass)),
        ("#map", (highest,)),
        ("#cloud", (class_, subclass)),
    ):
        assert min(reader.tab.evaluate(COLOURED, [name, colours])) > 20, name
    assert reader.text("says") == "norm of the embedded feature direction |W v_j|"
    assert "spread" in reader.text("measure") and "largest test embedding" in reader.tab.content()


@needs_chromium
def test_numbers_read_back_are_the_stores(read, file, store, tmp_path):
    _, measured, _ = store
    reader = read(file)
    rows = reader.export(tmp_path)
    assert len(rows) == len(SEEDS) * len(RATES)
    last = measured.isel(step=-1)
    for row in rows:
        one = last.sel(seed=int(row["seed"]), learning_rate=float(row["learning_rate"]))
        for name in ("class_gap", "loss", "spread"):
            wanted = one[name].item()
            assert row[name] == "" if np.isnan(wanted) else float(row[name]) == wanted
        wanted = one.feature_norms.sel(feature="subclass").item()
        assert np.isnan(wanted) or float(row["feature_norms, subclass"]) == wanted
    for name, values in reader.tab.evaluate(EVERY):
        wanted = measured[name].transpose("seed", "learning_rate", ...).values.ravel()
        np.testing.assert_array_equal(np.array(values, float), wanted.astype(float))


@needs_chromium
def test_the_slider_moves_embeddings_map_and_cursor(read, file):
    reader = read(file)
    reader.choose("value", "at the slider")
    before = {name: reader.picture(name) for name in ("cloud", "map", "charts")}
    reader.slide(20)
    assert reader.text("time-told") == "step 20" and "time=20" in reader.address()
    for name, picture in before.items():
        assert reader.picture(name) != picture, name
    assert "step 20" in reader.text("cloud-read")


@needs_chromium
def test_play_moves_time_and_pause_stops_it(read, file):
    reader = read(file)
    reader.slide(160)
    reader.tab.locator("#play").click()
    reader.until("state.time === '200' && !playing")
    reader.tab.evaluate("group.time.values = [...Array(400).keys()], drawAll()")  # a long way
    reader.tab.locator("#play").click()
    reader.tab.wait_for_timeout(300)
    reader.tab.locator("#play").click()
    reader.settle()
    at = reader.text("time-told")
    reader.tab.wait_for_timeout(200)
    assert reader.text("time-told") == at != "step 399" and reader.text("play") == "Play"


@needs_chromium
def test_a_click_on_the_map_opens_its_runs(read, file, store):
    _, measured, known = store
    reader = read(file)
    at = reader.tab.evaluate("[cells.left + cells.w * 1.5, cells.above + cells.h / 2]")
    reader.tab.locator("#map").click(position={"x": at[0], "y": at[1]})
    reader.settle()
    assert reader.text("run-name") == "seed 0, data_seed 0, learning_rate 0.05"
    numbers = {row["measure"]: row for row in reader.rows("run-numbers")}
    one = measured.sel(seed=0, learning_rate=0.05)
    assert float(numbers["loss"]["end"]) == pytest.approx(one.loss[-1].item(), rel=1e-3)
    norms = one.feature_norms.sel(feature="subclass")
    row = numbers["feature_norms, subclass"]
    assert float(row["largest"]) == pytest.approx(norms.max().item(), rel=1e-3)
    assert float(row["at step"]) == norms.idxmax("step").item()
    limit = known.feature_norms.sel(seed=0, learning_rate=0.05, feature="subclass").item()
    assert float(row["predicted"]) == pytest.approx(limit, rel=1e-3)
    reader.tab.locator("#run-after").click()
    reader.settle()
    assert reader.text("run-name").startswith("seed 1")
    assert reader.tab.locator("#run-charts canvas").count() == 4


@needs_chromium
def test_it_is_used_by_the_keyboard_alone(read, file):
    reader = read(file)
    reader.tab.locator("#map").focus()
    reader.tab.keyboard.press("ArrowRight")
    assert "learning_rate 0.05" in reader.text("map-read")
    reader.tab.keyboard.press("Enter")
    reader.settle()
    assert "learning_rate 0.05" in reader.text("run-name")
    reader.tab.get_by_role("button", name="loss", exact=True).press("Enter")
    reader.settle()
    assert reader.tab.locator("th[aria-sort=ascending]").inner_text().startswith("loss")
    values = [row["loss ▲"] for row in reader.rows("runs")[1:]]
    finite = [float(one) for one in values if one != "-"]
    assert finite == sorted(finite) and values[-1] == "-"


@needs_chromium
def test_filters_hold_for_table_curves_map_and_export(read, file, tmp_path):
    reader = read(file)
    reader.choose("split", "one panel")
    reader.choose("lines", "single runs")
    reader.filter("learning_rate", "<=0.05")
    reader.filter("seed", "0,2")
    assert reader.text("runs-told").startswith("4 of 9 runs")
    assert reader.tab.evaluate("charts[0].series.length - 1") == 4 * 2
    assert {row["learning_rate"] for row in reader.export(tmp_path)} == {"0.01", "0.05"}
    reader.filter("learning_rate", "")
    reader.filter("seed", "")
    reader.filter("ended", "diverged")
    assert reader.text("runs-told").startswith("3 of 9 runs, 3 diverged")
    assert {row["learning_rate"] for row in reader.rows("runs")[1:]} == {"5"}
    assert "same" in reader.tab.locator("#runs tbody tr").first.locator("td").nth(3).get_attribute(
        "class"
    )
    assert reader.tab.evaluate("[cells.columns.length, cells.rows.length]") == [1, 1]
    reader.filter("ended", "nothing of this kind")
    assert reader.text("runs-told").startswith("0 of 9 runs")


@needs_chromium
def test_a_link_reopens_the_view(read, file):
    reader = read(file)
    reader.choose("measure", "class_gap")
    reader.choose("x", "flow time")
    reader.tick("logx")
    reader.choose("lines", "single runs")
    reader.choose("view", "three dimensions")
    reader.filter("learning_rate", "0.01..0.05")
    reader.slide(40)
    reader.tab.get_by_role("button", name=re.compile("^open run seed 1")).first.click()
    reader.settle()
    again = read(file, f"#{reader.address()}")
    assert again.tab.evaluate("state") == reader.tab.evaluate("state")
    for name in ("charts", "run-charts", "cloud"):
        assert again.picture(name) == reader.picture(name)
    assert again.text("runs-told") == reader.text("runs-told")
    reader.tab.locator("#reset").click()
    reader.settle()
    assert reader.address() == "" and reader.text("runs-told").startswith("9 of 9")


@needs_chromium
def test_an_address_of_nonsense_opens_what_there_is(read, file):
    address = "#group=none&measure=none&x=none&part=99&time=nan&run=-4&value=none&across=none"
    reader = read(file, address)
    assert reader.text("runs-told").startswith("9 of 9")
    assert reader.tab.locator("#charts canvas").count() >= 1


@needs_chromium
def test_predictions_are_drawn_as_predictions(read, file, store):
    known = store[2]
    reader = read(file)
    reader.choose("split", "learning_rate")
    marks = reader.tab.evaluate(
        "predictionsOf(group, drawn, drawn.lines.filter(one => one.panel === 1), [])"
    )
    one = known.sel(learning_rate=0.05).median("seed", skipna=False)  # of all runs, or of none
    limits = sorted(mark["y"] for mark in marks if mark["kind"] == "limit")
    np.testing.assert_allclose(limits, np.sort(one.feature_norms.values), rtol=1e-6)
    learned = sorted(mark["x"] for mark in marks if mark["kind"] == "learned")
    wanted = one.learning_step.values[np.isfinite(one.learning_step.values)]
    np.testing.assert_allclose(learned, np.sort(wanted), rtol=1e-6)
    assert 0 < len(learned) < 2
    row = next(
        row
        for row in reader.rows("numbers")
        if row["learning_rate"] == "0.05" and row["feature"] == "class"
    )
    assert float(row["predicted"]) == pytest.approx(
        one.feature_norms.sel(feature="class").item(), rel=1e-3
    )


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_read_on_a_narrow_screen_in_light_and_dark(read, file, scheme):
    reader = read(file, "#run=1", viewport={"width": 360, "height": 700}, color_scheme=scheme)
    assert reader.tab.evaluate("document.documentElement.scrollWidth") <= 360
    shades = reader.tab.evaluate(
        "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])"
    )
    paper, ink = (np.mean([int(one) for one in re.findall(r"\d+", shade)]) for shade in shades)
    assert (paper < 60 and ink > 200) if scheme == "dark" else (paper > 200 and ink < 60)


@needs_chromium
def test_hostile_names_stay_text(read, tmp_path):
    names = f"{HOSTILE}", "</script><script>alert(2)</script>", "=1+1"
    values = np.arange(12.0).reshape(2, 2, 3)
    told = {f"{HOSTILE} measure": ((*names[:2], "step"), values, {"long_name": HOSTILE})}
    coords = {names[0]: [*names[1:]], names[1]: [1.0, 2.0], "step": [0, 1, 2]}
    file = tmp_path / "hostile.html"
    file.write_text(
        page.of_sweeps(
            f"{HOSTILE} & title",
            {"": xr.Dataset(told, coords), HOSTILE: made(np.zeros(1), ("x",), x=[1])},
        )
    )
    reader = read(file)
    assert reader.tab.locator("img").count() == 0 and reader.tab.locator("script").count() == 2
    assert f"{HOSTILE} & title" == reader.tab.locator("h1").inner_text() == reader.tab.title()
    reader.choose("x", "step")
    reader.choose("colour", names[0])
    reader.choose("split", names[1])
    assert names[1] in reader.tab.locator("#charts").inner_text()
    reader.tab.get_by_role("button", name="open run").first.click()
    reader.settle()
    assert HOSTILE in reader.text("run-name")
    rows = reader.export(tmp_path)
    assert rows[0][names[0]] == names[1] and {row[names[0]] for row in rows} == {names[1], "'=1+1"}
    assert reader.tab.evaluate("location.hash.length") > 1
    again = read(file, f"#{reader.address()}")
    assert again.tab.evaluate("state") == reader.tab.evaluate("state")


@needs_chromium
def test_many_runs_are_thinned_with_a_word_about_it(read, tmp_path):
    rng = np.random.default_rng(0)
    dims = "seed", "learning_rate", "step"
    walks = {
        name: (dims, rng.normal(size=(500, 10, 200)).cumsum(-1).astype("float32"))
        for name in "abcd"
    }
    coords = {"seed": range(500), "learning_rate": np.geomspace(0.01, 1, 10), "step": range(200)}
    told = page.of_sweeps("many", {"": xr.Dataset(walks, coords)})
    assert len(told) < 8e6
    file = tmp_path / "many.html"
    file.write_text(told)
    reader = read(file, "#lines=runs&split=")
    count = reader.tab.evaluate("group.runs")
    assert f"{count} of 5000 runs are on this page" in reader.text("notes") and 1000 < count < 5000
    assert "One of" in reader.text("curves-told")
    reader.filter("seed", "0")
    assert reader.text("runs-told").startswith("10 of")


def opened(read, tmp_path, dataset, address="", name="own"):
    """A reader of the page of a dataset."""
    file = tmp_path / f"{name}.html"
    file.write_text(page.of_sweeps(name, {"": dataset}))
    return read(file, address)


@needs_chromium
def test_features_are_never_pooled(read, tmp_path):
    """Neither where a measure has too many parts for colours, nor after other measures."""
    values = np.broadcast_to(np.arange(10.0), (2, 20, 10)).copy()
    coords = {"rate": [1, 2], "step": range(20)}
    many = made(values, ("rate", "step", "feature"), **coords, feature=list("abcdefghij"))
    reader = opened(read, tmp_path, many, "#part=all&colour=&split=")
    told = {row["feature"]: row["end"] for row in reader.rows("numbers")}
    assert told == {name: str(i) for i, name in enumerate("abcdefghij")}
    few = many.isel(feature=slice(2)).assign(two=(("rate", "step"), np.ones((2, 20))))
    few = few.assign(predicted_one=("feature", [1.0, 9.0]))
    reader = opened(read, tmp_path, few)
    for measure in ("two", "one"):
        reader.choose("measure", measure)
    rows = reader.rows("numbers")
    assert {(row["feature"], row["end"], row["predicted"]) for row in rows} == {
        ("a", "0", "1"),
        ("b", "1", "9"),
    }
    marks = reader.tab.evaluate("predictionsOf(group, drawn, drawn.lines)")
    assert {mark["y"] for mark in marks} == {1, 9}


@needs_chromium
def test_a_prediction_of_whole_runs_is_that_of_all_their_features(read, tmp_path):
    dims, rates = ("rate", "step", "feature"), [1, 2, 3]
    sweep = made(np.zeros((3, 2, 2)), dims, rate=rates, step=[0, 1], feature=["class", "subclass"])
    sweep = sweep.assign(
        predicted_one=("rate", [10.0, 20.0, 30.0]), predicted_two=("other", [1, 2])
    )
    reader = opened(read, tmp_path, sweep, "#x=~time&colour=rate&part=1")
    assert [row["predicted"] for row in reader.rows("numbers")] == ["10", "20", "30"]
    other = sweep.assign(predicted_one=(("rate", "level"), np.zeros((3, 2))))
    assert "one has no level" in " ".join(
        content_of(page.of_sweeps("x", {"": other}))["groups"][0]["notes"]
    )


@needs_chromium
def test_predicted_curves_are_at_their_own_flow_time(read, tmp_path):
    rates, steps = np.array([0.01, 0.03]), np.arange(0, 101, 5)
    law = np.exp(-rates[:, None] * steps)
    told = {"one": (("rate", "step"), law), "predicted_one": (("rate", "step"), law)}
    told["step_size"] = "rate", rates
    sweep = xr.Dataset(told, {"rate": rates, "step": steps})
    reader = opened(read, tmp_path, sweep, "#x=~flow&colour=&split=")
    (mark,) = reader.tab.evaluate("predictionsOf(group, drawn, drawn.lines)")
    np.testing.assert_allclose(mark["y"], np.exp(-np.array(mark["x"])), atol=4e-3)


def test_records_that_are_thinned_leave_how_far_runs_are():
    dims, steps = ("rate", "step"), range(1000)
    sweep = made(np.zeros((4, 1000)), dims, rate=range(4), step=steps)
    sweep = sweep.assign(recorded=("rate", [0, 1, 500, 1000]), finite_steps=("rate", [9, 9, 9, 9]))
    thinned = thin({"": sweep})[""].dataset
    last = [int(thinned.step[one - 1]) if one else None for one in thinned.recorded.values]
    assert last[0] is None and last[1] == 0 and last[3] == 999
    assert 497 <= last[2] <= 499 and thinned.sizes["step"] == 400


@needs_chromium
def test_scales_and_filters_that_do_not_fit_leave_what_does(read, tmp_path):
    values = np.array([[1.0, -1.0], [0.0, 2.0], [np.nan, np.nan]])
    sweep = made(values, ("rate", "seed"), rate=[-2.0, 0.0, 1e-10], seed=[0, 1])
    reader = opened(read, tmp_path, sweep, "#x=rate&logx=1&logy=1&logmap=1&lines=runs")
    assert "3 of 6" not in reader.text("runs-told")
    reader.filter("rate", "1e-12")
    assert reader.text("runs-told").startswith("0 of 6")
    reader.filter("rate", "!")
    assert reader.text("runs-told").startswith("6 of 6")
    reader = opened(read, tmp_path, sweep, "#x=seed&colour=rate")
    assert "1 cells have no value" in reader.text("map-told")
    assert [row["lines"] for row in reader.rows("numbers")] == [*"1111", "0 of 1", "0 of 1"]


@needs_chromium
def test_hundreds_of_thousands_of_runs_open(read, tmp_path):
    coords = {"rate": np.arange(500.0), "strength": np.arange(400.0), "step": [0, 1]}
    many = made(np.zeros((500, 400, 2), "float32"), ("rate", "strength", "step"), **coords)
    reader = opened(read, tmp_path, many)
    assert reader.text("runs-told").startswith("200000 of 200000")


@needs_chromium
def test_what_is_pooled_is_said_and_what_is_not_known_of_all_is_not_drawn(read, tmp_path):
    values = np.ones((3, 2, 2, 20)) * np.arange(20)
    coords = {"rate": [1, 2, 3], "width": [4, 5], "seed": [0, 1], "step": range(20)}
    sweep = made(values, ("rate", "width", "seed", "step"), **coords)
    limit = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 3.0]])
    sweep = sweep.assign(predicted_one=(("rate", "width"), limit))
    reader = opened(read, tmp_path, sweep, "#colour=rate&split=")
    assert "medians over width, seed" in reader.text("curves-told")
    marks = reader.tab.evaluate("predictionsOf(group, drawn, drawn.lines)")
    assert [mark["y"] for mark in marks] == [1.5, 3]  # not of rate 2, which one width lacks
    assert [row["predicted"] for row in reader.rows("numbers")] == ["1.5", "2 (2 of 4)", "3"]
    reader.choose("x", "rate")
    reader.choose("colour", "width")
    told = [(row["width"], row["rate"], row["end"]) for row in reader.rows("numbers")]
    assert told == [(width, rate, "19") for width in "45" for rate in "123"]


@needs_chromium
def test_places_of_zipped_axes_are_told_apart_and_tuples_are_filtered(read, tmp_path):
    coords = {"strength": [1.0, 1.0, 2.0], "step": range(20)}
    sweep = made(np.ones((3, 20)), ("strength", "step"), **coords)
    names = ["(1.0, 1.0)", "(1.0, 3.0)", "(2.0, 2.0)"]
    sweep = sweep.assign_coords(others=("strength", names))
    reader = opened(read, tmp_path, sweep, "#colour=strength")
    reader.filter("others", "(1.0, 1.0)")
    assert reader.text("runs-told").startswith("1 of 3")
    reader.filter("others", "!(1.0, 1.0)")
    assert reader.text("runs-told").startswith("2 of 3")
    reader.filter("others", "")
    assert "others (1.0, 3.0)" in reader.text("colours")
    for words, count in (("1..", 3), ("..1", 2), ("=2", 1), (">0.5 <1.5", 2), ("nonsense", 0)):
        reader.filter("strength", words)
        assert reader.text("runs-told").startswith(f"{count} of 3"), words
    assert reader.text("map-told") == "No run passes the filters."


@needs_chromium
def test_switching_sweeps_while_it_plays_stops_it(read, tmp_path):
    timed = made(np.zeros((2, 300)), ("rate", "step"), rate=[1, 2], step=range(300))
    file = tmp_path / "two.html"
    file.write_text(
        page.of_sweeps("two", {"": timed, "ends": made([1.0, 2.0], ("rate",), rate=[1, 2])})
    )
    reader = read(file, "#time=0&run=1")
    reader.tab.locator("#play").click()
    reader.choose("group", "ends")
    assert reader.text("play") == "Play" and reader.tab.evaluate("playing") == 0
    assert reader.tab.locator("#run-part").is_hidden()


def test_sweeps_that_cannot_be_drawn_are_refused_and_odd_embeddings_left_out():
    for told in (
        made(np.zeros((0, 2)), ("rate", "step"), rate=[], step=[0, 1]),
        made(np.zeros((1, 2)), ("rate", "step"), rate=[0], step=[0.0, np.nan]),
    ):
        with pytest.raises(cldyn.Refused, match="sweeps"):
            page.of_sweeps("x", {"": told})
    runs = made(np.zeros((2, 2)), ("rate", "step"), rate=[1, 2], step=[0, 1])
    for dims in (("step", "test", "output"), ("rate", "step", "layer", "test", "output")):
        values = np.zeros([2 if dim in ("rate", "step") else 3 for dim in dims])
        told = page.of_sweeps("x", {"": runs.assign(embeddings=(dims, values))})
        assert content_of(told)["groups"][0]["embeddings"] is None
    values = np.zeros((2, 2, 3, 4))
    whole = runs.assign(embeddings=(("rate", "step", "test", "output"), values))
    whole = whole.assign_coords(label=("test", list("aab")), subclass=("test", [1, 2, 1]))
    told = content_of(page.of_sweeps("x", {"": whole}))["groups"][0]["embeddings"]
    assert told["classes"] == ["a", "b"] and told["labels"] == [[[0, 0], [0, 1], [1, 0]]]


@pytest.mark.filterwarnings("error")
def test_embeddings_that_run_away_are_drawn_until_they_do():
    values = np.ones((2, 5, 3), "float32") * np.float32([1, 3e38])[:, None, None]
    values[0, 0, 0], values[1, 0] = 2, np.inf
    shown = seen(values, np.zeros(5, int), np.zeros(5, int))
    assert np.isfinite(shown[0]).all() and np.isnan(shown[1]).all()
    huge = seen(
        np.float32(1e38) * (1 + np.arange(15.0).reshape(1, 5, 3)) / 15,
        np.zeros(5, int),
        np.zeros(5, int),
    )
    assert np.isfinite(huge).all()


# --- three walks of somebody who has only the page ------------------------------------------


@needs_chromium
def test_walk_at_which_step_the_subclass_peaks_for_rate_005(read, file, store):
    curves = store[1].feature_norms.sel(learning_rate=0.05, feature="subclass")
    reader = read(file)
    reader.choose("part", "subclass")
    reader.filter("learning_rate", "0.05")
    (row,) = reader.rows("numbers")
    answer = float(row["at step"])
    assert answer == float(curves.idxmax("step").median("seed"))
    reader.slide(answer)  # there the slider reads what is largest on the curve
    (row,) = reader.rows("numbers")
    assert float(row["at the slider"]) == pytest.approx(
        float(curves.sel(step=answer).median()), 1e-3
    )
    at = reader.tab.evaluate("step => charts[0].valToPos(step, 'x')", answer)
    reader.tab.locator("#charts .u-over").hover(position={"x": at, "y": 30})
    assert reader.text("curves-read").endswith(f"at {answer:g}")


@pytest.fixture(scope="module")
def noisy():
    """Step sizes over a suppressed class, which the noise of small batches brings back."""
    model = cldyn.FeatureModel(d=10, irrelevant_strength=(2.0, 2.0), subclass_mean=0.0)
    one = cldyn.Experiment(
        cldyn.FreshViews(model, n=32, m=2),
        cldyn.Training(
            cldyn.Linear(embed_dim=2, bias=False),
            positives=cldyn.Unsupervised(),
            batch=cldyn.Iid(8),
        ),
    )
    axes = [{"learning_rate": [0.0005, 0.002, 0.008, 0.02]}, {"seed": range(6)}]
    return cldyn.sweep(one, axes, [0, 1000], measure=["feature_norms"])


@needs_chromium
def test_walk_which_step_sizes_undo_the_suppression_at_b_8(read, noisy, tmp_path):
    file = tmp_path / "noisy.html"
    file.write_text(page.of_sweeps("noise", {"": noisy}))
    ends = noisy.feature_norms.isel(step=-1).sel(feature="class").median("seed")
    wanted = {float(rate) for rate in ends.learning_rate[ends.values > 0.5]}
    assert 0 < len(wanted) < ends.size  # there is something to find
    reader = read(file)
    reader.tab.get_by_text("Settings that the runs have in common").click()
    assert re.search(r"batch_size\s+8\b", reader.text("settings"))
    reader.choose("mappart", "class")
    reader.tab.locator("#map").focus()
    found = set()
    for _ in range(ends.size):
        rate, value = re.match(r"learning_rate (\S+): (\S+)", reader.text("map-read")).groups()
        found |= {float(rate)} if float(value) > 0.5 else set()
        reader.tab.keyboard.press("ArrowRight")
    assert found == wanted


@pytest.fixture(scope="module")
def widths(tmp_path_factory):
    """Widths over a class that stronger irrelevant features suppress."""
    strengths = {"subclass_strength": 0.5, "irrelevant_strength": (2.0, 2.0)}
    model = cldyn.FeatureModel(d=30, subclass_mean=0.0, **strengths)
    one = cldyn.Experiment(
        cldyn.Stored(model, n=32, m=2),
        cldyn.Training(cldyn.Linear(embed_dim=1, bias=False), positives=cldyn.Unsupervised()),
    )
    path = tmp_path_factory.mktemp("page") / "widths.zarr"
    axes = [{"embed_dim": [1, 2, 3, 4, 6]}, {"seed": range(2)}]
    return path, cldyn.sweep(one, axes, [0, 100, 600], measure=["feature_norms"], store=path)


@needs_chromium
def test_walk_from_which_width_on_the_class_is_learned(read, widths):
    path, measured = widths
    out = path.with_suffix(".html")
    out.write_text(page.of_store(path))
    ends = measured.feature_norms.isel(step=-1).sel(feature="class").median("seed")
    wanted = int(ends.embed_dim[(ends > 0.5).values][0])
    reader = read(out)
    assert reader.tab.evaluate("look.x") == "embed_dim"  # few records: the axis is what is seen
    reader.choose("part", "class")
    learned = [int(row["embed_dim"]) for row in reader.rows("numbers") if float(row["end"]) > 0.5]
    assert min(learned) == wanted and learned == sorted(learned)
    reader.choose("mappart", "class")
    reader.tab.locator("#threshold").fill("0.5")  # and theory draws its boundary there
    reader.settle()
    past = "cells.columns.map((one, i) => [cells.x.values[one], cells.past[0][i]])"
    assert next(width for width, beyond in reader.tab.evaluate(past) if beyond) == wanted
