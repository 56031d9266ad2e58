"""Networks, held against their formulas by loops in float64."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cldyn
from cldyn import Conv, DeepLinear, Diagonal, Mlp, ResNet, encoders
from cldyn.encoders.convolution import convolve
from cldyn.words import asked


@cache
def initial(encoder, d):
    """The draw of parameters, compiled."""
    return jax.jit(lambda key: encoder.init(key, d))


def started(encoder, d, seed=0):
    """Parameters at the start in float64, and others a little away from it, so that all count."""
    params = initial(encoder, d)(jax.random.key(seed))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    rng = np.random.default_rng(seed)
    return params, jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), params)


def relu(a):
    return np.where(a > 0, a, 0.0)


def symmetric(a, b):
    return np.where(a > b, a - b, 0.0) + np.where(a < -b, a + b, 0.0)


def gelu(a):
    return a / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))


UNITS = {"relu": relu, "gelu": gelu, "tanh": np.tanh}


def dense(layer, x):
    return x @ np.array(layer["kernel"]) + np.array(layer.get("bias", 0.0))


def layer_of(params, name, x, activation="relu"):
    """A dense layer and its units."""
    a = dense(params[name]["dense"], x)
    if activation == "symmetric":
        return symmetric(a, np.array(params[name]["threshold"]))
    return UNITS[activation](a)


def correlated(image, kernel, stride):
    """Cross-correlation of an image [h, w, c] by loops over positions and entries."""
    size, _, _, channels = kernel.shape
    h, w, _ = image.shape
    edge = (size - 1) // 2
    out = np.zeros((-(-h // stride), -(-w // stride), channels))
    for row, column, i, j in np.ndindex(*out.shape[:2], size, size):
        y, x = row * stride + i - edge, column * stride + j - edge
        if 0 <= y < h and 0 <= x < w:
            out[row, column] += image[y, x] @ kernel[i, j]
    return out


def image_of(row, shape):
    """The image [h, w, c + k] of one row, further columns as constant channels."""
    size = np.prod(shape)
    constant = np.tile(row[size:], (*shape[:2], 1))
    return np.concatenate([row[:size].reshape(shape), constant], axis=-1)


def normalized(image, layer):
    """Every group of channels of one image [h, w, c] to mean 0 and variance 1."""
    groups = np.gcd(32, image.shape[-1])
    parts = np.split(image, groups, axis=-1)
    out = [(part - part.mean()) / np.sqrt(part.var() + 1e-5) for part in parts]
    return np.concatenate(out, axis=-1) * np.array(layer["scale"]) + np.array(layer["bias"])


def seen_by_mlp(encoder, params, x):
    units, seen = encoder.activation, {}
    for i in range(len(encoder.hidden)):
        last = i == len(encoder.hidden) - 1
        x = layer_of(params, f"hidden_{i + 1}" if i else "hidden", x, units)
        seen["pre" if last else f"hidden_{i + 1}" if i else "hidden"] = x
    seen.setdefault("pre", x)
    for i in range(len(encoder.head)):
        name = f"head_{i + 1}" if i else "head"
        x = seen[name] = layer_of(params, name, x, units)
    if encoder.rectified:
        return layer_of(params, "output", x, units), seen
    return dense(params["output"], x), seen


def seen_by_conv(encoder, params, row):
    image, seen = image_of(row, encoder.shape), {}
    for i in range(len(encoder.channels)):
        name = f"conv_{i + 1}" if i else "conv"
        kernel, bias = (np.array(params[name][one]) for one in ("kernel", "bias"))
        image = relu(correlated(image, kernel, 2) + bias)
        x = seen[name] = image.transpose(2, 0, 1).ravel()
    for i in range(len(encoder.hidden)):
        name = f"hidden_{i + 1}" if i else "hidden"
        x = seen[name] = layer_of(params, name, x)
    seen["pre"] = seen.pop([*seen][-1])
    for i in range(len(encoder.head)):
        name = f"head_{i + 1}" if i else "head"
        x = seen[name] = layer_of(params, name, x)
    return dense(params["output"], x), seen


def seen_by_resnet(encoder, params, row):
    image, seen = image_of(row, encoder.shape), {}
    conv = lambda image, block, name, stride=1: correlated(  # noqa: E731
        image, np.array(block[name]["kernel"]), stride
    )
    image = relu(normalized(conv(image, params, "stem"), params["stem_norm"]))
    for i, blocks in enumerate(encoder.blocks):
        for j in range(blocks):
            block, stride = params[f"stage_{i + 1}_block_{j + 1}"], 2 if i and not j else 1
            x = relu(normalized(conv(image, block, "first", stride), block["first_norm"]))
            x = normalized(conv(x, block, "second"), block["second_norm"])
            if "beside" in block:
                image = normalized(conv(image, block, "beside", stride), block["beside_norm"])
            image = relu(x + image)
        seen[f"stage_{i + 1}" if i else "stage"] = image.mean((0, 1))
    x = seen["pre"] = seen.pop([*seen][-1])
    for i in range(len(encoder.head)):
        name = f"head_{i + 1}" if i else "head"
        x = seen[name] = layer_of(params, name, x)
    return dense(params["output"], x), seen


MLPS = {
    "default": Mlp(),
    "deep": Mlp((5, 4, 3), 2, activation="gelu", head=(4, 3)),
    "none": Mlp((), 2, activation="tanh", head=(4,)),
    "paper": Mlp((5,), 4, activation="symmetric", bias=False, rectified=True),
    "offsets": Mlp((5, 4), 2, activation="symmetric", head=(3,), rectified=True),
}
CONVS = {
    "bits": (Conv((4, 4, 1), (2, 3), (5, 4), (), 2), 18),
    "odd": (Conv((5, 3, 2), (3,), (), (4, 3), 2), 30),
}
RESNET = ResNet((5, 3, 1), width=2, blocks=(1, 1), last=3, head=(3,), embed_dim=2), 17
NETWORKS = {name: (encoder, 6) for name, encoder in MLPS.items()}
NETWORKS |= {"diagonal": (Diagonal(), 6), "deep_linear": (DeepLinear(depth=3), 6)}
NETWORKS |= {f"conv_{name}": made for name, made in CONVS.items()}
NETWORKS |= {"resnet": RESNET}
each_network = pytest.mark.parametrize(("encoder", "d"), NETWORKS.values(), ids=[*NETWORKS])


@cache
def calculated(encoder, d):
    """By one program: parameters of two networks, inputs, and all that is asked of them below."""
    alone = [started(encoder, d, seed)[1] for seed in range(2)]
    many = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    x = np.random.default_rng(1).normal(size=(2, 2, d))

    def row_by_row(params, x):
        return jax.lax.map(lambda row: encoder.apply(params, row), x)

    @jax.jit
    def program(many, x):
        first = jax.tree.map(lambda leaf: leaf[0], many)
        square = jax.grad(lambda params, x: jnp.sum(encoder.apply(params, x) ** 2))
        return {
            "seen": encoder.through(first, x),
            "slope": square(first, x),
            "together": jax.vmap(encoder.apply, (0, None))(many, x),
            "alone": jax.lax.map(lambda params: row_by_row(params, x.reshape(-1, d)), many),
        }

    return alone[0], x, program(many, x)


def same(found, seen, expected, told):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    assert seen.keys() == told.keys()
    for name, one in told.items():
        np.testing.assert_allclose(seen[name], one, rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("encoder", MLPS.values(), ids=[*MLPS])
def test_a_perceptron_is_its_formula_and_shows_every_layer(encoder):
    params, x, found = calculated(encoder, 6)
    same(found["together"][0], found["seen"], *seen_by_mlp(encoder, params["params"], x))


@pytest.mark.parametrize(
    ("encoder", "d", "oracle"),
    [(*one, seen_by_conv) for one in CONVS.values()] + [(*RESNET, seen_by_resnet)],
    ids=[name for name in NETWORKS if name.startswith(("conv", "resnet"))],
)
def test_a_network_of_images_is_its_loops_over_positions(encoder, d, oracle):
    params, x, found = calculated(encoder, d)
    one_by_one = [[oracle(encoder, params["params"], row) for row in views] for views in x]
    expected = np.array([[output for output, _ in views] for views in one_by_one])
    told = {
        name: np.array([[seen[name] for _, seen in views] for views in one_by_one])
        for name in one_by_one[0][0][1]
    }
    same(found["together"][0], found["seen"], expected, told)


@each_network
def test_what_is_seen_is_named_in_order_and_gradients_are_finite(encoder, d):
    _, _, found = calculated(encoder, d)
    assert set(encoder.layers) == set(found["seen"]) and "pre" in encoder.layers
    assert all(one.shape[:-1] == (2, 2) for one in found["seen"].values())
    for leaf in jax.tree.leaves(found["slope"]):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0


@each_network
def test_many_networks_on_many_rows_are_each_alone(encoder, d):
    _, _, found = calculated(encoder, d)
    together = found["together"].reshape(found["alone"].shape)
    np.testing.assert_allclose(together, found["alone"], rtol=1e-9, atol=1e-12)


def both_convolutions(x, kernel, slope, stride):
    """Ours and XLA's, and their gradients."""
    edge = (len(kernel) - 1) // 2

    def of_xla(x, kernel):
        around, order = [(edge, edge)] * 2, ("CHWN", "HWIO", "CHWN")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), around, dimension_numbers=order
        )

    ours, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, stride), x, kernel)
    theirs, pull_xla = jax.vjp(of_xla, x, kernel)
    return (ours, *pull(slope)), (theirs, *pull_xla(slope))


both_convolutions = jax.jit(both_convolutions, static_argnums=3)


@pytest.mark.parametrize(
    ("size", "stride", "h", "w"),
    [(1, 2, 4, 3), (3, 1, 3, 4), (3, 2, 5, 4), (3, 2, 1, 2), (5, 2, 6, 7), (3, 3, 7, 5)],
)
@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=3)
def test_a_convolution_and_its_gradients_are_those_of_xla(size, stride, h, w, seed):
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=(2, h, w, 3)), rng.normal(size=(size, size, 2, 4))
    slope = rng.normal(size=(4, -(-h // stride), -(-w // stride), 3))
    ours, theirs = both_convolutions(x, kernel, slope, stride)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
    one = correlated(np.moveaxis(x[..., 0], 0, -1), kernel, stride)
    np.testing.assert_allclose(np.moveaxis(ours[0][..., 0], 0, -1), one, atol=1e-12)


def test_no_convolution_of_xla_is_in_a_step_on_a_cpu():
    encoder, d = CONVS["bits"]
    params, _ = started(encoder, d)
    slope = jax.grad(lambda params, x: jnp.sum(encoder.apply(params, x) ** 2))
    program = str(jax.make_jaxpr(slope)(params, jnp.ones((2, d))))
    assert "dot_general" in program and "conv_general" not in program


def test_the_standard_residual_network_has_its_number_of_parameters():
    encoder = ResNet((32, 32, 3), embed_dim=10)
    shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), 32 * 32 * 3))
    # 11,173,962 with batch normalization too, whose scales and offsets are as many.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 11_173_962


@pytest.mark.parametrize(
    ("encoder", "d"),
    [
        (Mlp((300, 200), 50, 0.5, head=(100,)), 200),
        (Conv((4, 4, 2), (64, 64), (60,), (50,), 40, 0.5), 36),
        (ResNet((4, 4, 2), 32, 1, (2,), (50,), 40, 0.5), 36),
    ],
)
def test_networks_start_at_the_variance_of_he_times_a_scale(encoder, d):
    params, _ = started(encoder, d)
    other, _ = started(encoder, d, 1)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), different in zip(leaves, jax.tree.leaves(other), strict=True):
        if path[-1].key == "kernel":
            expected = 0.5 * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            np.testing.assert_allclose(np.std(leaf), expected, rtol=0.15)
            assert np.abs(leaf - different).max() > 0
        else:
            np.testing.assert_array_equal(leaf, 1.0 if path[-1].key == "scale" else 0.0)


def test_thresholds_start_at_their_number_whatever_the_scale():
    encoder = Mlp((4,), init_scale=0.01, activation="symmetric", threshold=0.3)
    params, _ = started(encoder, 5)
    np.testing.assert_allclose(params["params"]["hidden"]["threshold"], 0.3)
    assert "threshold" not in str(started(Mlp(4), 5)[0])


slopes = [jax.jit(jax.vmap(jax.grad(encoders.symmetric, of))) for of in (0, 1)]


@given(st.integers(0, 2**31 - 1))
def test_slopes_of_symmetric_units_are_those_of_differences(seed):
    rng = np.random.default_rng(seed)
    a, b, step = rng.normal(size=20), rng.normal(size=20), 1e-6
    a = np.where(abs(abs(a) - abs(b)) < 1e-3, 9.0, a)  # away from kinks
    for slope, (along, across) in zip(slopes, ((step, 0), (0, step)), strict=True):
        up, down = symmetric(a + along, b + across), symmetric(a - along, b - across)
        np.testing.assert_allclose(slope(a, b), (up - down) / (2 * step), atol=1e-8)


@given(st.integers(0, 2**31 - 1))
def test_symmetric_units_are_odd_and_their_formula(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 20))
    found = np.array(encoders.symmetric(a, b))
    np.testing.assert_allclose(found, symmetric(a, b), atol=1e-15)
    np.testing.assert_allclose(encoders.symmetric(-a, b), -found, atol=1e-15)


@pytest.mark.parametrize("drawn", ["signs", "normal"])
def test_the_diagonal_network_is_its_formula_from_its_start(drawn):
    encoder = Diagonal(2.0, 0.5, 0.1, drawn)
    params, moved = started(encoder, 4000)
    for weights, scale in ((params.first, 2.0), (params.second, 0.5)):
        np.testing.assert_allclose(np.sqrt(np.mean(weights**2)), scale, rtol=0.1)
        assert abs(np.mean(weights)) < 0.1 * scale
        assert (np.ptp(np.abs(weights)) < 1e-6) == (drawn == "signs")
    np.testing.assert_allclose([params.first_threshold, params.second_threshold], 0.1)
    x = np.random.default_rng(1).normal(size=(2, 3, 4000))
    first, second, b_1, b_2 = map(np.array, moved)
    below = symmetric(first * x, b_1)
    same(
        encoder.apply(moved, x),
        encoder.through(moved, x),
        symmetric(second * below, b_2),
        {"pre": below},
    )


def test_the_default_start_of_the_diagonal_network_is_one_of_the_theorem():
    encoder = Diagonal()
    first, second, threshold = encoder.first, encoder.second, encoder.threshold
    assert second <= np.sqrt(threshold) and second * (first - threshold) >= threshold


def test_one_width_is_a_tuple_of_one():
    assert Mlp(8) == Mlp((8,)) == Mlp([8]) and Mlp().hidden == (128,)
    assert asked(["encoder=mlp", "hidden=128"]).experiment.training.encoder == Mlp()
    told = asked(["encoder=conv", "hidden=7,5", "channels=4", "head=", "shape=6,5,1"])
    assert told.experiment.training.encoder == Conv((6, 5, 1), 4, (7, 5))


def test_networks_of_images_are_trained_by_name_and_refuse_too_few_inputs():
    rng = np.random.default_rng(0)
    rows = cldyn.views(rng.normal(size=(8, 2, 18)), label=np.arange(8) % 2, subclass=None)
    encoder = Conv((4, 4, 1), (2, 2), (4,), (), 2)
    experiment = cldyn.Experiment(rows, cldyn.Training(encoder), "float64")
    losses = cldyn.run(experiment.replace(learning_rate=0.01), [0, 10], measure=["loss"])
    start, end = losses.records["loss"]
    assert end < start
    for made in (Conv((5, 4, 1)), ResNet((5, 4, 1))):
        with pytest.raises(ValueError, match=r"^shape: \(5, 4, 1\), allowed is .* 18 inputs"):
            cldyn.run(experiment.replace(encoder=made), [0])
