"""InfoNCE, SupCon, capped and paired losses, against loops over pairs and losses of optax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import info_nce, pair_loss, pair_weights, stored_views

import cldyn
from cldyn import (
    Both,
    CappedSpectral,
    InfoNce,
    Joint,
    Spectral,
    SupCon,
    Supervised,
    Unsupervised,
    words,
)
from cldyn.losses import all_pairs, slope
from cldyn.losses.columns import columns_of, rows_of
from cldyn.sweeps import execute

pytestmark = pytest.mark.quick

SEEDS = st.integers(0, 2**31 - 1)
SHARES = st.sampled_from([0.0, 0.3, 1.0])
SHAPES = st.sampled_from([(1, 4), (2, 3), (3, 1)])  # m and p; every one is a program
LABEL = np.array([0, 2, 2, 0, 2, 1])  # sizes 2, 1 and 3
CLIP = InfoNce(0.3, negatives="cross_view")
LOSSES = [
    InfoNce(0.4),
    InfoNce(0.7, "dot"),
    SupCon(0.2, negatives="cross_view"),
    CappedSpectral(2.0),
    Both(Spectral(), CLIP),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def drawn(seed, m, p=3):
    """Rows of 6 units with m views, and their labels, of which some may be there once."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6 * m, p)), rng.integers(0, 4, 6)


@partial(jax.jit, static_argnames="m")
def pairs_by(member, positives, m):
    return all_pairs(member, m, positives)


def pairs_of(label, m, positives):
    member = jnp.array(np.arange(4)[:, None] == np.asarray(label), float)
    return pairs_by(member, positives, m)


@jax.jit
def steepness(loss, f, pairs):
    """The loss, its gradient, and that by its slope."""
    by_slope = slope(loss, columns_of(f, pairs), pairs)
    return *jax.value_and_grad(loss)(f, pairs), rows_of(by_slope, pairs)


def looped(loss, f, label, m, share):
    """A loss of embeddings, pair by pair; an analytic function."""
    if isinstance(loss, Both):
        ends = zip((loss.by_class, loss.by_view), (1.0, 0.0), strict=True)
        by_class, by_view = (looped(one, f, label, m, end) for one, end in ends)
        return share * by_class + (1 - share) * by_view
    if isinstance(loss, InfoNce):
        share = 1.0 if isinstance(loss, SupCon) else share
        how = loss.similarity == "dot", loss.negatives == "cross_view"
        return info_nce(f, label, m, share, loss.temperature, *how)
    if isinstance(loss, CappedSpectral):
        length = [np.sqrt(np.dot(row, row)) for row in f]
        cap = np.sqrt(loss.cap)
        f = [row * (cap / r if r.real > cap else 1) for row, r in zip(f, length, strict=True)]
    return pair_loss(f, *pair_weights(label, m, Joint(share)))


def fit(loss, shape):
    return (2, 3) if shape[0] < getattr(loss, "least_views", 1) else shape


@each_loss
@given(SEEDS, SHAPES, SHARES)
def test_a_loss_is_a_double_loop_that_skips_rows_without_positives(loss, seed, shape, share):
    m, p = fit(loss, shape)
    f, label = drawn(seed, m, p)
    f[3] *= 100
    f[4] = 0
    found, *_ = steepness(loss, jnp.array(f), pairs_of(label, m, Joint(share)))
    expected = looped(loss, f, label, m, share)
    assert float(found) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@each_loss
@given(SEEDS, SHAPES, SHARES)
def test_gradient_and_slope_are_derivatives_of_the_loops(loss, seed, shape, share):
    """In a random direction: by an imaginary step, which is exact, and by central differences."""
    m, p = fit(loss, shape)
    f, label = drawn(seed, m, p)
    pairs, way = pairs_of(label, m, Joint(share)), np.random.default_rng(seed).normal(size=f.shape)
    _, found, by_slope = steepness(loss, jnp.array(f), pairs)
    along = looped(loss, f + 1e-30j * way, label, m, share).imag / 1e-30
    assert np.sum(found * way) == pytest.approx(along, rel=1e-10, abs=1e-11)
    np.testing.assert_allclose(by_slope, found, rtol=1e-10, atol=1e-12)
    ends = [float(steepness(loss, jnp.array(f + step * way), pairs)[0]) for step in (-1e-5, 1e-5)]
    assert (ends[1] - ends[0]) / 2e-5 == pytest.approx(along, rel=1e-5, abs=1e-5)


@each_loss
@given(SEEDS, st.sampled_from([(2, 3), (3, 1)]), SHARES)
def test_no_loss_knows_the_order_of_units_and_views_or_a_rotation(loss, seed, shape, share):
    m, p = shape
    f, label = drawn(seed, m, p)
    rng = np.random.default_rng(seed)
    units, views = rng.permutation(6), rng.permutation(m)
    turned = f @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    moved = turned.reshape(6, m, p)[units][:, views].reshape(6 * m, p)
    expected, *_ = steepness(loss, jnp.array(f), pairs_of(label, m, Joint(share)))
    found, *_ = steepness(loss, jnp.array(moved), pairs_of(label[units], m, Joint(share)))
    assert float(found) == pytest.approx(float(expected), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("positives", [Supervised(), Unsupervised()])
def test_of_one_kind_of_pairs_it_is_the_joint_loss_at_that_end(positives):
    f, label = drawn(0, 2)
    ends = steepness(InfoNce(0.4), jnp.array(f), pairs_of(label, 2, Joint(positives.share)))
    for found, end in zip(
        steepness(InfoNce(0.4), jnp.array(f), pairs_of(label, 2, positives)), ends, strict=True
    ):
        np.testing.assert_allclose(found, end, rtol=1e-12, atol=1e-14)


def test_columns_are_rows_by_view():
    rows = jnp.arange(12).reshape(6, 2)
    pairs = pairs_of([0, 0, 1], 2, Supervised())
    columns = columns_of(rows, pairs)
    assert columns[0].tolist() == [0, 4, 8, 2, 6, 10]
    assert (rows_of(columns, pairs) == rows).all()


# --- the field's names for it ----------------------------------------------------------------


def test_of_one_positive_a_row_it_is_ntxent_of_optax_and_of_more_it_is_not():
    """optax leaves other positives out of the denominator; SupCon's L_out has them in it."""
    f, label = jnp.array(drawn(0, 2)[0]), np.array([0, 1, 2, 2, 1, 0])
    ntxent = jax.jit(lambda f, label: optax.losses.ntxent(f, label, 0.4))
    found, more = (
        float(steepness(InfoNce(0.4), f, pairs_of(label, 2, Joint(share)))[0])
        for share in (0.0, 1.0)
    )
    assert found == pytest.approx(float(ntxent(f, jnp.repeat(jnp.arange(6), 2))), rel=1e-12)
    assert more > 1.02 * float(ntxent(f, jnp.repeat(label, 2)))


@given(SEEDS)
def test_supcon_is_a_cross_entropy_to_even_shares_for_classes_of_any_sizes(seed):
    (f, label), m = drawn(seed, 2), 2
    unit, code = f / np.linalg.norm(f, axis=1, keepdims=True), np.repeat(label, m)
    others = 1 - np.eye(6 * m)
    logits = np.where(others, unit @ unit.T / 0.1, -np.inf)
    mates = others * (code[:, None] == code)
    count = mates.sum(axis=1, keepdims=True)
    each = optax.losses.safe_softmax_cross_entropy(logits, mates / np.maximum(count, 1))
    expected = each[count[:, 0] > 0].mean() if count.any() else 0.0
    for share in (0.0, 1.0):  # it does not ask
        found, *_ = steepness(SupCon(), jnp.array(f), pairs_of(label, m, Joint(share)))
        assert float(found) == pytest.approx(float(expected), rel=1e-12)


@given(SEEDS)
def test_cross_view_is_clip_in_both_directions(seed):
    f, label = drawn(seed, 2)
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    logits = jnp.array(unit[::2] @ unit[1::2].T / 0.3)
    one, other = (
        optax.losses.softmax_cross_entropy_with_integer_labels(way, jnp.arange(6)).mean()
        for way in (logits, logits.T)
    )
    found = float(steepness(CLIP, jnp.array(f), pairs_of(label, 2, Joint(0.0)))[0])
    assert found == pytest.approx(float(one + other) / 2, rel=1e-12)


def test_cross_view_needs_views():
    f, label = drawn(0, 1)
    for loss in (CLIP, Both(SupCon(negatives="cross_view"), Spectral())):
        with pytest.raises(cldyn.Refused, match="negatives: 'cross_view'"):
            loss(jnp.array(f), pairs_of(label, 1, Supervised()))
    asked = cldyn.Experiment().replace(loss=CLIP)
    with pytest.raises(cldyn.Refused, match="negatives: 'cross_view'"):
        cldyn.experiment.check(asked)
    cldyn.experiment.check(asked.replace(positives=Joint(1.0)))


# --- hard cases ------------------------------------------------------------------------------


@each_loss
def test_a_loss_and_its_gradient_have_no_nan_at_nothing(loss):
    """Zero, and lengths whose squares are small or none in single precision."""
    loss, pairs = cldyn.nouns.cast(loss, "float32"), in_single(LABEL, 2, 0.5)
    for size in (0.0, 1e-18, 1e-25):
        f = size * np.random.default_rng(0).normal(size=(12, 3))
        for found in steepness(loss, jnp.array(f, "float32"), pairs):
            assert np.isfinite(found).all() and found.dtype == "float32"


def in_single(label, m, share):
    member = jnp.array(np.arange(4)[:, None] == np.asarray(label), "float32")
    return all_pairs(member, m, Joint(np.float32(share)))


@pytest.mark.parametrize(("loss", "count"), [(InfoNce(0.4), 11), (CLIP, 6), (SupCon(), 11)])
def test_of_nothing_all_rows_are_alike(loss, count):
    found, *_ = steepness(loss, jnp.zeros((12, 3)), pairs_of(LABEL, 2, Joint(0.3)))
    assert float(found) == pytest.approx(np.log(count), rel=1e-14)


def test_without_any_positive_it_is_zero():
    f = jnp.array(drawn(0, 1)[0])
    found = steepness(InfoNce(0.4), f, pairs_by(jnp.eye(6), Joint(0.5), 1))
    assert not any(np.any(one) for one in found)


@given(SEEDS, SHARES, st.sampled_from(["cosine", "dot"]))
def test_single_precision_is_enough_at_a_low_temperature(seed, share, similarity):
    """Scores of a thousand have roundings of order 1e-4, and nothing overflows."""
    f, label = drawn(seed, 2)
    f[1], f[2] = f[0], f[0] * (1 + 1e-3)  # views that agree, and one of another unit
    f = np.asarray(f, "float32")
    loss = cldyn.nouns.cast(InfoNce(1e-3, similarity), "float32")
    expected = info_nce(f.astype(float), label, 2, share, 1e-3, similarity == "dot")
    found, *slopes = steepness(loss, jnp.array(f), in_single(label, 2, share))
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=3e-3)
    for one in (found, *slopes):
        assert np.isfinite(one).all() and one.dtype == "float32"


# --- two losses ------------------------------------------------------------------------------


@given(SEEDS, SHARES)
def test_both_of_one_kind_is_that_kind(seed, share):
    f, label = drawn(seed, 2)
    pairs = pairs_of(label, 2, Joint(share))
    one = InfoNce(0.4)
    for found, expected in zip(
        steepness(Both(one, one), jnp.array(f), pairs),
        steepness(one, jnp.array(f), pairs),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_numbers_of_both_are_axes_where_one_has_the_name_and_nouns_where_two_have():
    asked = cldyn.Experiment().replace(loss=Both(), positives=Joint(0.3))
    with pytest.raises(cldyn.Refused, match=r"name: 'temperature'.*by_class\.temp.*by_view\.temp"):
        asked.replace(temperature=0.2)
    changed = asked.replace(by_class=SupCon(0.2), by_view=InfoNce(0.7)).training.loss
    assert (changed.by_class.temperature, changed.by_view.temperature) == (0.2, 0.7)
    alone = asked.replace(by_view=CappedSpectral(), temperature=0.2, cap=3.0).training.loss
    assert alone == Both(SupCon(0.2), CappedSpectral(3.0))
    assert cldyn.experiment.rebuild(cldyn.experiment.describe(asked)) == asked


def test_words_say_both():
    said = "loss=both positives=joint beta=0.3 by_view=capped_spectral cap=2 temperature=0.2"
    training = words.asked(said.split()).experiment.training
    assert training.loss == Both(SupCon(0.2), CappedSpectral(2.0))
    with pytest.raises(cldyn.Refused, match="temperature"):
        words.asked(["loss=both", "positives=joint", "temperature=0.2"])


def test_a_cap_that_binds_nobody_is_the_spectral_loss():
    f, label = drawn(0, 2)
    pairs, rows = pairs_of(label, 2, Joint(0.3)), jnp.array(f)
    free, found = steepness(Spectral(), rows, pairs), steepness(CappedSpectral(1e3), rows, pairs)
    for one, other in zip(found, free, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    _, pulled, _ = steepness(CappedSpectral(1e-3), rows, pairs)
    assert float(jnp.abs(jnp.sum(pulled * f, axis=1)).max()) < 1e-13  # lengths do not matter


# --- training --------------------------------------------------------------------------------

ASKED = cldyn.Experiment(
    cldyn.Stored(cldyn.FeatureModel(d=10, noise=cldyn.Gaussian(1.0, 0.3)), n=8),
    cldyn.Training(cldyn.Mlp(embed_dim=3, hidden=6), positives=Joint(0.3)),
    "float64",
)


@pytest.mark.parametrize("loss", [Spectral(), LOSSES[0], LOSSES[-1]], ids=["one", "two", "both"])
def test_a_perceptron_trains_on_the_loss(loss):
    asked = ASKED.replace(loss=loss, learning_rate=0.05)
    x, label = stored_views(asked)
    run = cldyn.run(asked, [0, 1, 30], measure=["loss"])
    embedded = np.asarray(asked.training.encoder.apply(run.weights, x.reshape(16, 10)))
    expected = float(looped(loss, embedded, label, 2, 0.3))
    assert run.records["loss"][-1] == pytest.approx(expected, rel=1e-9)
    assert run.records["loss"][-1] < run.records["loss"][1] < run.records["loss"][0]


def test_numbers_of_a_loss_are_axes_whose_sweep_is_a_loop_and_compiles_once():
    asked = ASKED.replace(loss=Both(SupCon(0.3), CappedSpectral(2.0)))
    execute.train_tile.clear_cache()
    for low in (0.1, 0.2):
        axes = [
            {"temperature": [low, 0.5]},
            {"beta": [0.0, 0.4]},
            {"cap": [1.0, 2.0]},
            {"seed": [0, 1]},
            {"learning_rate": [0.01, 0.1]},
        ]
        found = cldyn.sweep(asked, axes, [0, 10], measure=["loss"], progress=False).loss
    assert execute.train_tile._cache_size() == 1
    for at in [(0, 1, 0, 1, 1), (1, 0, 1, 0, 1)]:
        picked = dict(zip([*found.dims], at, strict=False))
        values = {name: float(found[name][i]) for name, i in picked.items()}
        values["seed"] = int(values["seed"])
        one = cldyn.run(asked.replace(**values), [0, 10], measure=["loss"])
        np.testing.assert_allclose(found.isel(picked), one.records["loss"], rtol=1e-9)


@each_loss
def test_vmap_over_numbers_is_a_loop(loss):
    f, label = drawn(3, 2)
    of_loss, of_share = np.array([1e-2, 0.1, 2.0]), np.array([0.0, 0.4, 1.0])

    def of(number, share):
        changed = jax.tree.map(lambda _: number, loss)  # a temperature, or a cap
        return steepness(changed, jnp.array(f), pairs_of(label, 2, Joint(share)))

    many = jax.vmap(of)(of_loss, of_share)
    for i in range(3):
        for found, expected in zip(many, of(of_loss[i], of_share[i]), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-11, atol=1e-11)
