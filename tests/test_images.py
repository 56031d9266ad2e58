"""Images: files, augmentations against loops, bits and overlays, and images as problems."""

import gzip
import io
import math
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import idx_of, write_cifar10, write_cifar100, write_mnist

import cldyn
from cldyn import Experiment, Training
from cldyn.axes import swept
from cldyn.data import images
from cldyn.data.images import Augment
from cldyn.experiment import describe, rebuild
from cldyn.nouns import cast
from cldyn.sources import Cifar10, Cifar100, Digits, Mnist, Shapes
from cldyn.sweeps import execute
from cldyn.words import asked

OFF = Augment(crop=1.0, dropout=0.0)
NET = Training(
    cldyn.Mlp(16, 4), cldyn.InfoNce(), cldyn.Unsupervised(), cldyn.Adam(), cldyn.Subset(64)
)
RNG = np.random.default_rng(0)


def refused(message, call, *given, **more):
    with pytest.raises(cldyn.Refused, match=message) as error:
        call(*given, **more)
    assert "\n" not in str(error.value)


# Files


def test_idx_files_are_read_as_they_were_written(tmp_path):
    x, label, test_x, test_label = write_mnist(tmp_path)
    train, test = images.load("mnist", str(tmp_path))
    for found, pixels, code in ((train, x, label), (test, test_x, test_label)):
        assert found.x.dtype == np.uint8
        np.testing.assert_array_equal(found.x[..., 0], pixels)
        np.testing.assert_array_equal(found.label, code)
        np.testing.assert_array_equal(found.fine, code)


def test_cifar_files_are_read_as_they_were_written(tmp_path):
    made = write_cifar10(tmp_path)
    for folder in (tmp_path, tmp_path / "cifar-10-batches-bin"):
        train, test = images.load("cifar10", str(folder))
        np.testing.assert_array_equal(train.label, np.concatenate([code for _, code in made[:5]]))
        assert (train.x.shape, test.x.shape) == ((20, 32, 32, 3), (4, 32, 32, 3))
        for i, j, channel in ((3, 7, 0), (31, 0, 2)):
            assert train.x[6, i, j, channel] == made[1][0][2, channel, i, j]
    coarse, fine = [19, 0, 4], [99, 1, 50]
    write_cifar100(tmp_path, coarse, fine)
    found = images.load("cifar100", str(tmp_path)).train
    assert (found.label.tolist(), found.fine.tolist()) == (coarse, fine)
    source = Cifar100(folder=str(tmp_path), superclass="coarse").opened()
    assert (source.classes, source.subclasses) == ((0, 4, 19), (1, 50, 99))


def test_npz_files_are_read_and_never_unpickled(tmp_path):
    x, y = RNG.integers(0, 256, (6, 4, 4), dtype=np.uint8), np.arange(6)[:, None]
    file = tmp_path / "mnist.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    train, test = images.load("mnist", str(tmp_path))
    np.testing.assert_array_equal(train.x[..., 0], x)
    assert (train.label.tolist(), len(test.x)) == ([*range(6)], 3)
    np.savez(file, x_train=x, y_train=y)
    refused("x_test", images.npz, file)
    np.savez(file, x_train=x, y_train=y[:5], x_test=x, y_test=y)
    refused(r"integers of shape \(6,\)", images.npz, file)
    np.savez(file, x_train=np.array([{}, {}]), y_train=y, x_test=x, y_test=y)
    refused("npz file of plain arrays", images.npz, file)
    array = io.BytesIO()
    np.save(array, x)
    for content in (b"", b"no archive", b"PK\x03\x04 cut", array.getvalue()):
        file.write_bytes(content)
        refused("npz file of plain arrays", images.npz, file)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], "'415 bytes', allowed is 416"),
        ("train-images-idx3-ubyte", lambda b: b + b"0", "417 bytes"),
        ("train-images-idx3-ubyte", lambda b: b[:7], "a header of 16 bytes"),
        ("train-images-idx3-ubyte", lambda b: b"\1" + b[1:], "'01000803', allowed is 00000803"),
        ("train-images-idx3-ubyte", lambda b: b"", "magic number"),
        ("train-images-idx3-ubyte", lambda b: b[:4] + b"\xff" * 12 + b[16:], "bytes for images"),
        ("train-images-idx3-ubyte", lambda b: b[:4] + b"\0" * 12, "without an empty axis"),
        ("train-labels-idx1-ubyte.gz", lambda b: b[:20], "a file that can be read"),
        ("train-labels-idx1-ubyte.gz", lambda b: b"plain", "a file that can be read"),
        (
            "train-labels-idx1-ubyte.gz",
            lambda b: gzip.compress(idx_of(np.arange(19))),
            "'19 labels', allowed is as many labels as images, 20",
        ),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, name, change, message):
    write_mnist(tmp_path)
    file = tmp_path / name
    file.write_bytes(change(file.read_bytes()))
    refused(message, images.load, "mnist", str(tmp_path))


def test_missing_and_damaged_folders_are_refused(tmp_path):
    refused("folder: '', allowed is the folder", images.load, "mnist")
    refused("a folder that is there", images.load, "mnist", str(tmp_path / "none"))
    refused("a folder that is there", images.load, "mnist", "~nobody-of-this-name/x")
    refused("train-images-idx3-ubyte", images.load, "mnist", str(tmp_path))
    refused("none for digits", images.load, "digits", str(tmp_path))
    refused("mnist, perhaps", images.load, "minst", str(tmp_path))
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    refused("t10k-images-idx3-ubyte is missing", images.load, "mnist", str(tmp_path))
    write_cifar10(tmp_path)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    refused("a multiple of 3073", images.load, "cifar10", str(tmp_path))
    file.write_bytes(b"\x0a" + whole[1:])
    refused("10, allowed is labels below 10", images.load, "cifar10", str(tmp_path))
    file.write_bytes(b"")
    refused("a multiple of 3073", images.load, "cifar10", str(tmp_path))


def test_digits_need_scikit_learn_and_say_so(monkeypatch):
    found = images.digits()
    assert found.x.shape == (1797, 8, 8, 1) and found.x.min() == 0 and found.x.max() == 1
    train, test = images.load("digits")
    rows = [one.x.reshape(len(one.x), -1) for one in (train, test)]
    together = np.sort(np.concatenate(rows), axis=0)
    np.testing.assert_array_equal(together, np.sort(found.x.reshape(1797, -1), axis=0))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refused(r'pip install "cldyn\[data\]"', images.digits)


# Superclasses


def test_superclasses_are_those_of_the_names():
    digit = np.arange(10)
    assert images.superclass("parity", digit).tolist() == [0, 1] * 5
    assert images.superclass("below_five", digit).tolist() == [1] * 5 + [0] * 5
    names = ["airplane", "automobile", "bird", "cat", "deer"]
    names += ["dog", "frog", "horse", "ship", "truck"]
    vehicles = {"airplane", "automobile", "ship", "truck"}
    told = images.superclass("animals", digit)
    assert told.tolist() == [int(name not in vehicles) for name in names]
    np.testing.assert_array_equal(images.superclass("none", digit), digit)
    refused("parity, perhaps", images.superclass, "party", digit)
    refused("labels from 0 to 9", images.superclass, "parity", [3, 10])


# Augmentations, against loops in float64


def taps(image, y, x):
    """The image at a place between its pixels."""
    h, w, _ = image.shape
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    i, j = min(int(y), h - 2), min(int(x), w - 2)
    a, b = y - i, x - j
    above = (1 - b) * image[i, j] + b * image[i, j + 1]
    below = (1 - b) * image[i + 1, j] + b * image[i + 1, j + 1]
    return (1 - a) * above + a * below


def moved(image, draw):
    """Crop, then flip, then shift, pixel by pixel."""
    h, w, _ = image.shape
    out = np.zeros(image.shape)
    for i in range(h):
        for j in range(w):
            k, l = i - int(draw.down), j - int(draw.right)
            if 0 <= k < h and 0 <= l < w:
                l = w - 1 - l if draw.flip else l
                y = float(draw.top) + (k + 0.5) * float(draw.height) / h - 0.5
                x = float(draw.left) + (l + 0.5) * float(draw.width) / w - 0.5
                out[i, j] = taps(image, y, x)
    return out


def luma_of(pixel):
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def coloured(image, draw):
    """Brightness, contrast, saturation, hue and grey, one after the other, pixel by pixel."""
    h, w, c = image.shape
    out = float(draw.brightness) * image
    mean = np.mean([luma_of(p) if c == 3 else p.mean() for p in out.reshape(-1, c)])
    out = float(draw.contrast) * out + (1 - float(draw.contrast)) * mean
    for i in range(h if c == 3 else 0):
        for j in range(w):
            grey = luma_of(out[i, j])
            pixel = grey + float(draw.saturation) * (out[i, j] - grey)
            # Coordinates of colour across grey, rotated.
            u = 0.5959 * pixel[0] - 0.2746 * pixel[1] - 0.3213 * pixel[2]
            v = 0.2115 * pixel[0] - 0.5227 * pixel[1] + 0.3112 * pixel[2]
            turned = complex(u, v) * np.exp(2j * math.pi * float(draw.hue))
            rows = [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
            pixel = np.linalg.solve(rows, [grey, turned.real, turned.imag])
            out[i, j] = grey if draw.grey else pixel
    return np.clip(out, 0, 1)


@jax.jit
def drawn_and_made(augment, key, image):
    return augment.draw(key, image.shape, image.dtype), augment(key, image)


many_made = jax.jit(jax.vmap(drawn_and_made, (None, 0, 0)))


@st.composite
def augments(draw):
    share = st.floats(0.05, 1)
    small, large = sorted((draw(share), draw(share)))
    half = st.floats(0, 1)
    return Augment(
        small, large, draw(st.floats(1, 2)), draw(half), draw(st.integers(0, 3)), draw(half),
        draw(half), draw(half), draw(half), draw(st.floats(0, 0.5)), draw(half), draw(half),
        draw(st.none() | half),
    )  # fmt: skip


@given(augments(), st.sampled_from([(8, 8, 1), (5, 7, 3)]), st.integers(0, 99))
def test_a_view_is_what_a_loop_makes_of_the_same_draw(augment, shape, seed):
    image = np.random.default_rng(seed).uniform(size=shape)
    key = jax.random.key(seed)
    draw, view = drawn_and_made(cast(augment, "float64"), key, image)
    wanted = np.where(np.asarray(draw.kept)[..., None], coloured(moved(image, draw), draw), 0)
    wanted = wanted + np.asarray(draw.noise)
    np.testing.assert_allclose(view, wanted, atol=1e-9)


@given(augments(), st.integers(0, 9))
def test_views_of_many_are_the_views_of_each(augment, seed):
    keys = jax.random.split(jax.random.key(seed), 3)
    x = RNG.uniform(size=(3, 6, 6, 3)).astype(np.float32)
    augment = cast(augment, "float32")
    many = many_made(augment, keys, x)[1]
    for i in range(3):
        one = drawn_and_made(augment, keys[i], x[i])[1]
        np.testing.assert_allclose(many[i], one, atol=2e-6)


def test_every_part_is_off_at_its_neutral_value():
    image = RNG.uniform(size=(8, 8, 3))
    same = replace(OFF, jitter=0.0, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    for augment in (cast(OFF, "float64"), cast(same, "float64")):
        for i in range(20):
            _, view = drawn_and_made(augment, jax.random.key(i), image)
            np.testing.assert_allclose(view, image, atol=1e-12)
    assert OFF(jax.random.key(0), image.astype(np.float32)).dtype == np.float32


def test_draws_have_the_distribution_that_is_said():
    augment = Augment(
        0.2, 0.8, 1.5, 0.3, 2, 0.6, 0.4, 0.3, 0.2, 0.1, 0.35, dropout=0.15, pixel_noise=0.5
    )
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(jax.vmap(lambda key: augment.draw(key, (9, 6, 3), jnp.float64)))(keys)
    near = {"atol": 5 / math.sqrt(4000) / 2}  # five standard errors of a share
    height, width = np.asarray(draws.height), np.asarray(draws.width)
    whole = (height < 9) & (width < 6)
    assert (height * width / 54 <= 0.8 + 1e-9).all() and (height <= 9).all() and (width <= 6).all()
    share, ratio = (height * width / 54)[whole], (width / 6 / (height / 9))[whole]
    assert share.min() >= 0.2 - 1e-9 and np.abs(np.log(ratio)).max() <= math.log(1.5) + 1e-9
    small = share < 0.6  # of any ratio these fit
    np.testing.assert_allclose((share[small] < 0.4).mean(), 0.5, atol=0.06)
    np.testing.assert_allclose((ratio[small] < 1).mean(), 0.5, atol=0.06)
    for place, side, size in ((draws.top, height, 9), (draws.left, width, 6)):
        there = np.asarray(place)[side < size] / (size - side[side < size])
        assert there.min() >= 0 and there.max() < 1
        np.testing.assert_allclose([(there < q).mean() for q in (0.25, 0.5)], [0.25, 0.5], **near)
    for found, wanted in ((draws.flip, 0.3), (draws.grey, 0.35), (draws.hue != 0, 0.6)):
        np.testing.assert_allclose(np.mean(found), wanted, **near)
    for shift in (draws.down, draws.right):
        values, counts = np.unique(shift, return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        np.testing.assert_allclose(counts / 4000, 0.2, **near)
    for factor, half in ((draws.brightness, 0.4), (draws.contrast, 0.3), (draws.saturation, 0.2)):
        inside = np.asarray(factor)[np.asarray(draws.hue) != 0]
        assert 1 - half <= inside.min() < 1 - 0.9 * half and 1 + 0.9 * half < inside.max()
        np.testing.assert_allclose((inside < 1).mean(), 0.5, atol=0.06)
    np.testing.assert_allclose(1 - np.mean(draws.kept, axis=0), 0.15, **near)
    pairs = np.corrcoef(np.asarray(draws.kept).reshape(4000, -1).T)
    assert np.abs(pairs - np.eye(54)).max() < 0.08
    assert np.std(draws.noise) == pytest.approx(0.5, rel=0.02)


# Bits and overlays


@partial(jax.jit, static_argnums=1)
def both_of(source, dtype):
    return source.draw(jnp.dtype(dtype)), source.test(jnp.dtype(dtype))


def drawn(source, precision="float64"):
    return both_of(cast(source, precision), precision)


@given(st.integers(0, 12), st.sampled_from([12, 15]), st.integers(0, 5))
def test_bits_are_the_first_columns_of_more_bits(bits, most, seed):
    few = drawn(Digits(OFF, bits=bits, most_bits=most, n=40, test_size=30, data_seed=seed))
    many = drawn(Digits(OFF, bits=12, most_bits=15, n=40, test_size=30, data_seed=seed))
    for one, other in ((few[0].x, many[0].x), (few[1].x, many[1].x)):
        assert one.shape[-1] == 64 + most
        np.testing.assert_array_equal(one[..., : 64 + bits], other[..., : 64 + bits])
        assert not np.any(one[..., 64 + bits :])
        assert set(np.unique(one[..., 64 : 64 + bits])) <= {-0.5, 0.5}
    if bits >= 4:
        assert np.any(few[0].x[:30, 0, 64 : 64 + bits] != few[1].x[:30, 64 : 64 + bits])


def test_views_keep_bits_unless_told_otherwise():
    source = Digits(bits=16, n=400, data_seed=3)
    bits = {}
    for keep in (None, 1.0, 0.5, 0.0):
        first, second = np.moveaxis(drawn(replace(source, bits_keep=keep))[0].x[..., 64:], 1, 0)
        bits[keep] = first
        wanted = 1.0 if keep is None else (1 + keep**2) / 2
        np.testing.assert_allclose((first == second).mean(), wanted, atol=0.03)
        np.testing.assert_allclose((first > 0).mean(), 0.5, atol=0.03)
    np.testing.assert_array_equal(bits[None], bits[1.0])
    other = drawn(replace(source, data_seed=4))[0].x[:, 0, 64:]
    assert (other != bits[None]).mean() == pytest.approx(0.5, abs=0.03)


def test_views_of_a_step_have_the_bits_of_their_examples():
    source = Digits(bits=8, n=60)
    stored, _ = drawn(source, "float32")
    chosen = jnp.array([5, 5, 40])
    views = jax.jit(lambda one, given, *of: one.views(given, *of, jnp.float32))
    x = views(cast(source, "float32"), stored.originals, chosen, jax.random.key(8))
    np.testing.assert_array_equal(x[..., 64:], stored.x[chosen][..., 64:])
    assert np.any(x[0, :, :64] != x[1, :, :64]) and np.any(x[0, 0, :64] != x[0, 1, :64])


def test_overlays_are_written_where_they_are_bright_and_kept_by_views():
    x = RNG.integers(0, 256, (30, 12, 9, 3), dtype=np.uint8)
    marks = np.zeros((3, 4, 4), np.float32)
    for i in range(3):
        marks[i, i] = (0.4, 0.6, 0.6, 0.6)
    label = np.arange(30) % 2
    plain = {"augmentation": OFF, "most_bits": 0, "test": (x, label, None)}
    source = cldyn.images(x, label, overlay=marks, **plain)
    stored, test = drawn(source)
    which = np.asarray(stored.originals.mark)
    assert set(which) == {0, 1, 2}
    for i in range(30):  # 4 x 4 become 8 x 8, two rows from above and none from the left
        wanted = x[i] / 255
        row = 2 + 2 * which[i]
        wanted[row : row + 2, 2:8] = np.float32(0.6)
        for view in stored.x[i]:
            np.testing.assert_allclose(view.reshape(12, 9, 3), wanted, atol=1e-7)
    assert np.any(np.asarray(test.x) != np.asarray(stored.x[:, 0]))
    moving = drawn(replace(source, overlay_keep=0.0))[0].x
    same = np.all(np.asarray(moving[:, 0]) == np.asarray(moving[:, 1]), axis=1).mean()
    assert 0.1 < same < 0.6
    refused("at most 12 x 9 x 3", cldyn.images, x, np.arange(30), overlay=np.zeros((2, 13, 9)))


# Problems


def test_shapes_have_three_factors_and_no_more():
    x, factors = images.shapes(jax.random.key(0), 3000, 12)
    assert x.min() >= 0 and x.max() <= 1
    counts = (len(images.SHAPES), len(images.TEXTURES), len(images.COLOURS))
    for i, count in enumerate(counts):
        share = np.bincount(factors[:, i], minlength=count) / 3000
        np.testing.assert_allclose(share, 1 / count, atol=0.04)
    brightest = np.asarray(x).reshape(3000, -1, 3).max(1)
    for colour in range(3):  # red, green and blue
        assert (brightest[factors[:, 2] == colour].argmax(1) == colour).mean() > 0.95
    source = Shapes(side=12, n=100, superclass="texture", subclass="colour").opened()
    assert source.image_shape == (12, 12, 3) and source.shape == (100, 2, 432 + 16)
    assert (source.classes, source.subclasses) == ((0, 1, 2), (0, 1, 2, 3))
    train = source.contents().train
    both = images.load("shapes", side=12).train
    np.testing.assert_array_equal(train.label, images.factor("texture", both.fine[::20]))


def test_an_experiment_on_digits_is_trained_measured_described_and_made_again():
    names = ["class_accuracy", "subclass_accuracy", "loss"]
    experiment = Experiment(Digits(bits=4, superclass="parity"), NET)
    found = cldyn.run(experiment, [0, 20], measure=names)
    assert found.finite_steps == 20
    accuracy = found.records["subclass_accuracy"]
    assert 0.1 < accuracy[-1] < 1 and found.records["class_accuracy"][-1] > accuracy[-1]
    assert found.records["loss"][-1] < found.records["loss"][0]
    told = describe(experiment)
    assert rebuild(told) == experiment and '"digest": "' in told


def test_a_sweep_over_bits_compiles_once_and_is_the_runs():
    experiment = Experiment(Digits(n=100, test_size=50), NET)
    before = execute.train_tile._cache_size()
    swept = cldyn.sweep(
        experiment, [{"bits": [0, 3, 16]}, {"crop": [0.3, 0.8]}], [0, 5], measure=["loss"]
    )
    assert execute.train_tile._cache_size() == before + 1
    for bits in (0, 3, 16):
        for crop in (0.3, 0.8):
            run = cldyn.run(experiment.replace(bits=bits, crop=crop), [0, 5], measure=["loss"])
            one = swept.loss.sel(bits=bits, crop=crop)
            np.testing.assert_allclose(one, run.records["loss"], rtol=1e-5)
    assert len(np.unique(swept.loss.isel(step=-1))) == 6


def test_probes_are_fitted_on_images_as_they_are_and_views_are_there_beside_them():
    def rows(name):
        see = lambda seen: seen.embed(name, "input")  # noqa: E731
        return cldyn.Measure(name, f"inputs of {name}", see, (name,), ("row", "input"))

    source = Digits(n=64, bits=3, test_size=10)
    found = cldyn.run(Experiment(source, NET), [0], measure=[*map(rows, ("train", "views"))])
    train, views = found.records["train"][0], found.records["views"][0].reshape(64, 2, -1)
    pixels = source.contents().train.x.reshape(64, 64)
    np.testing.assert_allclose(train[:, :64], pixels, rtol=1e-6)
    assert (np.abs(train[:, 64:67]) == 0.5).all() and not train[:, 67:].any()
    np.testing.assert_array_equal(views[:, :, 64:], np.stack([train[:, 64:]] * 2, axis=1))
    assert (np.abs(views[:, :, :64] - train[:, None, :64]).max(axis=2) > 0.1).all()


def test_images_are_held_once_by_the_problems_of_a_tile():
    experiment = Experiment(Digits(n=50), replace(NET, batch=cldyn.Subset(8)))
    grid = cldyn.sweeps.grid.grid_of(experiment, [{"data_seed": [0, 1, 2]}])
    trajectories = cldyn.sweeps.tiles.Trajectories(experiment, grid)
    plan = cldyn.trajectory.plan_of(experiment, ["loss"])
    part = cldyn.sweeps.tiles.Part(np.arange(3), np.arange(1))
    shape = cldyn.sweeps.tiles.Shape(3, 2)
    (tile,) = trajectories.cut(shape, part)
    prepared, _ = execute.prepare_tile(tile, plan)
    originals = prepared.units.originals
    assert originals.bits.shape == (3, 50, 16)
    assert originals.held.value.train.x.shape == (50, 8, 8, 1)


def test_bytes_stay_bytes_and_are_no_constants_of_programs(tmp_path):
    write_mnist(tmp_path)
    source = cast(Mnist(folder=str(tmp_path)), "float32")
    assert source.held.value.train.x.dtype == np.uint8
    program = jax.make_jaxpr(lambda one: one.draw(jnp.float32))(source)
    assert max((np.size(one) for one in program.consts), default=0) < source.held.value.train.x.size
    stored, _ = both_of(source, "float32")
    assert stored.originals.held.value.train.x.dtype == np.uint8 and stored.x.max() <= 1


def test_words_and_files_ask_for_sets_by_name(tmp_path):
    write_mnist(tmp_path)
    said = asked(["problem=mnist", f"folder={tmp_path}", "bits=3", "crop=0.5", "m=3"])
    assert said.experiment.problem == Mnist(Augment(0.5), bits=3, m=3, folder=str(tmp_path))
    (tmp_path / "sweep.toml").write_text(
        f'problem = "mnist"\nfolder = "{tmp_path}"\nencoder = "mlp"\nloss = "info_nce"\n'
        'positives = "ucl"\nbatch = "subset"\nbatch_size = 8\nbits = [0, 4]\nsuperclass = "parity"'
    )
    meant = swept([str(tmp_path / "sweep.toml"), "dropout=0,0.5"])
    assert meant.axes == [{"bits": [0, 4]}, {"dropout": [0.0, 0.5]}]
    problem = meant.experiment.problem
    assert (problem.superclass, problem.opened().classes) == ("parity", (0, 1))
    refused("folder: ''", asked, ["problem=mnist"])
    refused("superclass: 'animals'", asked, ["problem=digits", "superclass=animals"])
    refused("at most most_bits, 16", asked, ["problem=digits", "bits=17"])


def test_a_store_notices_another_file(tmp_path):
    data, store = tmp_path / "data", tmp_path / "store"
    data.mkdir()
    write_mnist(data)
    training = replace(NET, batch=cldyn.Subset(4))
    experiment = Experiment(Mnist(folder=str(data), bits=2), training)
    axes = [{"seed": [0, 1]}]
    first = cldyn.sweep(experiment, axes, [0, 2], measure=["loss"], store=store)
    made = rebuild(describe(experiment)).replace(folder=str(data))  # where files are is not told
    again = cldyn.sweep(made, axes, [0, 2], measure=["loss"], store=store)
    np.testing.assert_array_equal(first.loss, again.loss)
    write_mnist(data, seed=1)
    refused("digest is", cldyn.sweep, experiment, axes, [0, 2], measure=["loss"], store=store)


def test_a_linear_encoder_has_its_theory_on_stored_views():
    experiment = Experiment(Digits(OFF, n=60, superclass="parity"), Training(cldyn.Linear(4)))
    found = cldyn.run(experiment, [0, 5], measure=["loss"])
    assert np.isfinite(found.records["loss"]).all()
    assert np.isfinite(cldyn.predict(experiment).records["loss"]).all()
    refused("batch: Full.*views of 20 examples", cldyn.run, experiment.replace(stored_size=20), [0])


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ((np.zeros((4, 3)), [0, 1, 0, 1]), {}, "images \\[n, h, w\\]"),
        ((np.zeros((0, 3, 3)), []), {}, "no empty axis"),
        ((np.full((4, 3, 3), 1.5), [0, 1, 0, 1]), {}, "floats in \\[0, 1\\]"),
        ((np.full((4, 3, 3), np.nan), [0, 1, 0, 1]), {}, "floats in \\[0, 1\\]"),
        ((np.zeros((4, 3, 3), int), [0, 1, 0, 1]), {}, "uint8"),
        ((np.zeros((4, 3, 3)), [0, 1, 0]), {}, "integers of shape \\(4,\\)"),
        ((np.zeros((4, 3, 3)), [0.5] * 4), {}, "integers"),
        ((np.zeros((4, 3, 3)), [2**40] * 4), {}, "32 bits"),
        ((np.zeros((4, 3, 3)), [0] * 4), {"bits": 20}, "at most most_bits"),
        ((np.zeros((4, 3, 3)), [0] * 4), {"augmentation": 3}, "a function"),
        ((np.zeros((4, 3, 3)), [0] * 4), {"test": (np.zeros((2, 3, 4)), [0, 0], None)}, "test x"),
        ((np.zeros((4, 3, 3)), [0] * 4), {"test": (np.zeros((2, 3, 3)), [0, 1], None)}, "among"),
        ((np.zeros((4, 3, 3)), [0] * 4), {"test": np.zeros((2, 3, 3))}, "a tuple"),
    ],
)
def test_hostile_arrays_are_refused(given, more, message):
    refused(message, cldyn.images, *given, **more)


def test_numbers_that_make_no_sense_are_refused():
    refused("crop_most", Augment(crop=0.5, crop_most=0.4).check)
    refused("pixel_noise", Augment(pixel_noise=math.inf).check)
    refused("bits_keep", Digits(bits_keep=math.inf).check)
    refused("at most 1200", Digits(n=1201).check)
    refused("folder", Cifar10(overlay="mnist").check)
    with pytest.raises(TypeError):
        cldyn.images(np.zeros((4, 3, 3)), [0] * 4, beta=0.3)


def test_draws_are_the_same_in_both_precisions():
    source, found = Digits(bits=5, n=50, test_size=40, bits_keep=0.5), {}
    for wide, dtype in ((False, "float32"), (True, "float64")):
        with jax.enable_x64(wide):
            found[wide] = [one.x for one in drawn(source, dtype)]
    for one, other in zip(found[False], found[True], strict=True):
        assert (one.dtype, other.dtype) == (np.float32, np.float64)
        np.testing.assert_allclose(one, other, atol=1e-5)
