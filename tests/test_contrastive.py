"""InfoNCE, SupCon, capped and paired losses, against loops over pairs and losses of optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import POSITIVES, info_nce, one_hot, pair_loss, pair_weights, share_of, stored_views

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
KINDS = st.sampled_from(POSITIVES)
VIEWS = st.integers(1, 3)
LABEL = np.array([0, 2, 2, 0, 2, 1])  # sizes 2, 1 and 3
CLIP = InfoNce(0.3, negatives="cross_view")
LOSSES = [
    InfoNce(0.4),
    InfoNce(0.7, "dot"),
    CLIP,
    SupCon(0.2),
    SupCon(0.9, "dot", "cross_view"),
    CappedSpectral(2.0),
    Both(SupCon(0.1), InfoNce(0.5)),
    Both(Spectral(), CLIP),
]


def drawn(seed, m, p=3, label=None):
    """Rows of 6 units with m views, and their labels, of which some may be there once."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, 6) if label is None else label
    return rng.normal(size=(len(label) * m, p)), label


def pairs_of(label, m, positives):
    return all_pairs(jnp.array(one_hot(label)), m, positives)


def looped(loss, f, label, m, share, xp=np):
    """A loss of embeddings, pair by pair."""
    if isinstance(loss, Both):
        ends = zip((loss.by_class, loss.by_view), (1.0, 0.0), strict=True)
        by_class, by_view = (looped(one, f, label, m, end, xp) for one, end in ends)
        return share * by_class + (1 - share) * by_view
    if isinstance(loss, InfoNce):
        share = 1.0 if isinstance(loss, SupCon) else share
        how = loss.similarity == "dot", loss.negatives == "cross_view"
        return info_nce(f, label, m, share, loss.temperature, *how, xp=xp)
    if isinstance(loss, CappedSpectral):
        f = [row * min(1, np.sqrt(loss.cap) / (np.linalg.norm(row) or 1)) for row in np.array(f)]
    return pair_loss(f, *pair_weights(label, m, Joint(share)))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(SEEDS, VIEWS, KINDS, st.integers(1, 5))
def test_a_loss_is_a_double_loop_that_skips_rows_without_positives(loss, seed, m, positives, p):
    m = max(m, getattr(loss, "least_views", 1))
    f, label = drawn(seed, m, p)
    f[3] *= 100
    f[4] = 0
    found = float(loss(jnp.array(f), pairs_of(label, m, positives)))
    expected = looped(loss, f, label, m, share_of(positives))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("loss", [one for one in LOSSES if "Spectral" not in str(one)], ids=str)
def test_the_gradient_is_that_of_the_loops(loss):
    f, label = drawn(1, 2, label=LABEL)
    for positives in POSITIVES:
        found = jax.grad(loss)(jnp.array(f), pairs_of(label, 2, positives))
        share = share_of(positives)
        expected = jax.grad(lambda f, share=share: looped(loss, f, label, 2, share, jnp))(f)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(SEEDS, VIEWS, KINDS)
def test_the_gradient_is_a_difference_of_losses_and_its_slope(loss, seed, m, positives):
    """Central differences, whose error is that of the third derivative."""
    m = max(m, getattr(loss, "least_views", 1))
    f, label = drawn(seed, m)
    pairs = pairs_of(label, m, positives)
    found = jax.grad(loss)(jnp.array(f), pairs)
    way, small = np.random.default_rng(seed + 1).normal(size=f.shape), 1e-5
    ends = [float(loss(jnp.array(f + sign * small * way), pairs)) for sign in (-1, 1)]
    along = (ends[1] - ends[0]) / (2 * small)
    assert float(jnp.sum(found * way)) == pytest.approx(along, rel=1e-5, abs=1e-6)
    by_slope = slope(loss, columns_of(jnp.array(f), pairs), pairs)
    np.testing.assert_allclose(rows_of(by_slope, pairs), found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(SEEDS, st.integers(2, 3), KINDS)
def test_no_loss_knows_the_order_of_units_and_views_or_a_rotation(loss, seed, m, positives):
    f, label = drawn(seed, m)
    rng = np.random.default_rng(seed)
    units, views = rng.permutation(6), rng.permutation(m)
    turned = f @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = turned.reshape(6, m, 3)[units][:, views].reshape(6 * m, 3)
    expected = float(loss(jnp.array(f), pairs_of(label, m, positives)))
    found = float(loss(jnp.array(moved), pairs_of(label[units], m, positives)))
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_columns_are_rows_by_view():
    rows = jnp.arange(12).reshape(6, 2)
    pairs = pairs_of([0, 0, 1], 2, Supervised())
    columns = columns_of(rows, pairs)
    assert columns[0].tolist() == [0, 4, 8, 2, 6, 10]
    assert (rows_of(columns, pairs) == rows).all()


# --- the field's names for it ----------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_of_one_positive_a_row_it_is_ntxent_of_optax_and_of_more_it_is_not(temperature):
    """optax leaves other positives out of the denominator; SupCon's L_out has them in it."""
    f, label = drawn(0, 2, label=np.array([0, 1, 2, 2, 1, 0]))
    loss, rows = InfoNce(temperature), jnp.array(f)
    found = loss(rows, pairs_of(label, 2, Unsupervised()))
    expected = optax.losses.ntxent(rows, jnp.repeat(jnp.arange(6), 2), temperature)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    alone = loss(rows[::2], pairs_of(label, 1, Supervised()))
    expected = optax.losses.ntxent(rows[::2], jnp.array(label), temperature)
    assert float(alone) == pytest.approx(float(expected), rel=1e-12)
    more = loss(rows, pairs_of(label, 2, Supervised()))
    assert float(more) > 1.02 * float(optax.losses.ntxent(rows, jnp.repeat(label, 2), temperature))


@given(SEEDS, VIEWS)
def test_supcon_is_a_cross_entropy_to_even_shares_for_classes_of_any_sizes(seed, m):
    f, label = drawn(seed, m)
    unit, code = f / np.linalg.norm(f, axis=1, keepdims=True), np.repeat(label, m)
    others = 1 - np.eye(6 * m)
    logits = np.where(others, unit @ unit.T / 0.1, -np.inf)
    mates = others * (code[:, None] == code)
    count = mates.sum(axis=1, keepdims=True)
    each = optax.losses.safe_softmax_cross_entropy(logits, mates / np.maximum(count, 1))
    expected = each[count[:, 0] > 0].mean() if count.any() else 0.0
    for positives in POSITIVES:  # which it does not ask
        found = float(SupCon()(jnp.array(f), pairs_of(label, m, positives)))
        assert found == pytest.approx(float(expected), rel=1e-10)


@given(SEEDS)
def test_cross_view_is_clip_in_both_directions(seed):
    f, label = drawn(seed, 2)
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    logits = jnp.array(unit[::2] @ unit[1::2].T / 0.3)
    one, other = (
        optax.losses.softmax_cross_entropy_with_integer_labels(way, jnp.arange(6)).mean()
        for way in (logits, logits.T)
    )
    found = float(CLIP(jnp.array(f), pairs_of(label, 2, Unsupervised())))
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


@jax.jit
def steepness(loss, f, pairs):
    return *jax.value_and_grad(loss)(f, pairs), slope(loss, columns_of(f, pairs), pairs)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_loss_and_its_gradient_have_no_nan_at_nothing(loss):
    """Zero, and lengths whose squares are small or none in single precision."""
    loss = cldyn.nouns.cast(loss, "float32")
    for positives in (Supervised(), Unsupervised(), Joint(np.float32(0.5))):
        pairs = all_pairs(jnp.array(one_hot(LABEL), "float32"), 2, positives)
        for size in (0.0, 1e-18, 1e-25, 1e15):
            f = size * np.random.default_rng(0).normal(size=(12, 3))
            for found in steepness(loss, jnp.array(f, "float32"), pairs):
                finite = size < 1 or isinstance(loss, InfoNce) and loss.similarity == "cosine"
                assert not finite or np.isfinite(found).all()
                assert found.dtype == "float32"


@pytest.mark.parametrize(("loss", "count"), [(InfoNce(), 11), (CLIP, 6), (SupCon(), 11)])
def test_of_nothing_all_rows_are_alike(loss, count):
    for positives in POSITIVES:
        found = float(loss(jnp.zeros((12, 3)), pairs_of(LABEL, 2, positives)))
        assert found == pytest.approx(np.log(count), rel=1e-14)


def test_without_any_positive_it_is_zero():
    pairs = all_pairs(jnp.eye(6), 1, Supervised())
    f = jnp.array(np.random.default_rng(0).normal(size=(6, 3)))
    for loss in (InfoNce(), SupCon()):
        assert not any(np.any(found) for found in steepness(loss, f, pairs))


@given(SEEDS, KINDS, st.sampled_from(["cosine", "dot"]))
def test_single_precision_is_enough_at_a_low_temperature(seed, positives, similarity):
    """Scores of a thousand: their roundings are of order 1e-4, and nothing overflows."""
    f, label = drawn(seed, 2)
    f[1], f[2] = f[0], f[0] * (1 + 1e-3)  # views that agree, and one of another unit
    loss = InfoNce(1e-3, similarity)
    whole = steepness(loss, jnp.array(f), pairs_of(label, 2, positives))
    member = jnp.array(one_hot(label), "float32")
    kind = cldyn.nouns.cast(positives, "float32")
    half = steepness(
        cldyn.nouns.cast(loss, "float32"), jnp.array(f, "float32"), all_pairs(member, 2, kind)
    )
    assert float(half[0]) == pytest.approx(float(whole[0]), rel=1e-5, abs=3e-3)
    assert float(whole[0]) == pytest.approx(
        info_nce(f, label, 2, share_of(positives), 1e-3, similarity == "dot"), rel=1e-12, abs=1e-10
    )
    for found in half[1:]:
        assert np.isfinite(found).all() and found.dtype == "float32"


# --- two losses ------------------------------------------------------------------------------


@given(SEEDS, KINDS)
def test_both_of_one_kind_is_that_kind(seed, positives):
    f, label = drawn(seed, 2)
    pairs = pairs_of(label, 2, positives)
    for one in (Spectral(), InfoNce(0.3)):
        expected = float(one(jnp.array(f), pairs))
        assert float(Both(one, one)(jnp.array(f), pairs)) == pytest.approx(expected, rel=1e-11)


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
    pairs = pairs_of(label, 2, Joint(0.3))
    free, found = Spectral()(jnp.array(f), pairs), CappedSpectral(1e3)(jnp.array(f), pairs)
    assert float(found) == pytest.approx(float(free), rel=1e-14)
    pulled = jax.grad(CappedSpectral(1e-3))(jnp.array(f), pairs)
    assert float(jnp.abs(jnp.sum(pulled * f, axis=1)).max()) < 1e-13  # lengths do not matter


# --- training --------------------------------------------------------------------------------

ASKED = cldyn.Experiment(
    cldyn.Stored(cldyn.FeatureModel(d=10, noise=cldyn.Gaussian(1.0, 0.3)), n=8),
    cldyn.Training(cldyn.Mlp(embed_dim=3, hidden=6), positives=Joint(0.3)),
    "float64",
)


@pytest.mark.parametrize("loss", [Spectral(), *LOSSES], ids=str)
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
    for at in [(0, 1, 0, 1, 1), (1, 0, 1, 0, 1), (0, 1, 1, 1, 0)]:
        picked = dict(zip([*found.dims], at, strict=False))
        values = {name: float(found[name][i]) for name, i in picked.items()}
        values["seed"] = int(values["seed"])
        one = cldyn.run(asked.replace(**values), [0, 10], measure=["loss"])
        np.testing.assert_allclose(found.isel(picked), one.records["loss"], rtol=1e-9)


@pytest.mark.parametrize("kind", [InfoNce, SupCon])
def test_vmap_over_temperature_and_beta_is_a_loop(kind):
    f, label = drawn(3, 2)

    def of(temperature, beta):
        return kind(temperature)(jnp.array(f), pairs_of(label, 2, Joint(beta)))

    taus, betas = jnp.array([1e-3, 0.1, 2.0]), jnp.array([0.0, 0.4, 1.0])
    many = jax.vmap(of)(taus, betas)
    np.testing.assert_allclose(
        many, [of(*one) for one in zip(taus, betas, strict=True)], rtol=1e-12
    )
