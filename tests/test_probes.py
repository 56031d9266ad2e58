"""Probes and geometry of embeddings against loops, scikit-learn and scipy; and of any layer."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    SMALL,
    entropy_rank,
    knn,
    misalignment,
    nearest_mean,
    one_hot,
    participation,
    potential,
    probe,
    ratio_inside,
    with_one,
)
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

import cldyn
from cldyn import (
    DeepLinear,
    Iid,
    InfoNce,
    Mlp,
    Population,
    Unsupervised,
    linalg,
    observables,
    probes,
)

SEEDS = st.integers(0, 2**31 - 1)
alignment, effective_rank, participation_ratio, uniformity, variance_ratio = map(
    jax.jit,
    (
        observables.alignment,
        observables.effective_rank,
        observables.participation_ratio,
        observables.uniformity,
        observables.variance_ratio,
    ),
)
probe_accuracy = jax.jit(probes.probe_accuracy)
knn_accuracy = jax.jit(probes.knn_accuracy, static_argnames="k")
nearest_mean_accuracy = jax.jit(probes.nearest_mean_accuracy)
PROBES = (probe_accuracy, knn_accuracy, nearest_mean_accuracy)


def rows_of(seed, n=60, s=37, p=5, groups=4):
    """Rows of groups that overlap, training rows first: f, code, g, code of those."""
    rng = np.random.default_rng(seed)
    centre, scale = rng.normal(size=(groups, p)), rng.uniform(0.3, 1.5, p)
    for count in (n, s):
        code = rng.permutation(np.arange(count) % groups)
        yield rng.normal(size=(count, p)) * scale + centre[code] + 0.5
        yield code


def given_to(probe_of, f, code, g, test_code, **more):
    """What a probe says of rows, by groups one-hot."""
    member = jnp.array(one_hot(code)), jnp.array(one_hot(test_code))
    return float(probe_of(jnp.array(f), member[0], jnp.array(g), member[1], **more))


# --- probes ----------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from([1, 3, 10, 1000]))
def test_nearest_neighbours_are_those_of_scikit_learn(seed, k):
    f, code, g, test_code = rows_of(seed)
    votes = KNeighborsClassifier(min(k, len(f)), metric="cosine", algorithm="brute").fit(f, code)
    share = votes.predict_proba(g)  # of which scikit-learn takes the first best, we all
    best = share == share.max(axis=1, keepdims=True)
    expected = np.mean(best[np.arange(len(g)), test_code] / best.sum(axis=1))
    assert given_to(knn_accuracy, f, code, g, test_code, k=k) == pytest.approx(expected, abs=1e-12)
    ours = knn(f, code, g, test_code, min(k, len(f)))
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("groups", "k", "told"),
    [
        ([0, 1, 2, 2, 1], 1, [1, 0, 0]),
        ([0, 1, 2, 2, 1], 2, [1, 0, 0]),  # votes 1, 1/3, 2/3
        ([0, 1, 2, 2, 1], 3, [0, 0, 1]),  # votes 1, 2/3, 4/3
        ([0, 1, 1, 1, 2], 2, [0.5, 0.5, 0]),
        ([0, 1, 1, 2, 2], 5, [0, 0.5, 0.5]),
    ],
)
def test_neighbours_that_tie_share_the_places_that_are_left(groups, k, told):
    """Cosines 1, 0, 0, 0, -1."""
    f = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, -5.0], [-1.0, 0.0]])
    member, row = jnp.eye(3)[:, jnp.array(groups)], jnp.array([[3.0, 0.0]])
    found = [float(knn_accuracy(f, member, row, jnp.eye(3)[:, [own]], k)) for own in range(3)]
    np.testing.assert_allclose(found, told, atol=1e-15)


@given(SEEDS)
def test_the_nearest_mean_is_that_of_scikit_learn(seed):
    f, code, g, test_code = rows_of(seed)
    expected = NearestCentroid().fit(f, code).score(g, test_code)
    found = given_to(nearest_mean_accuracy, f, code, g, test_code)
    assert found == pytest.approx(expected, abs=1e-12)
    assert nearest_mean(f, code, g, test_code) == pytest.approx(expected, abs=1e-12)


@given(SEEDS, st.sampled_from([1e-6, 1e-3, 1.0]))
def test_the_linear_probe_is_ridge_regression_on_groups(seed, ridge):
    f, code, g, test_code = rows_of(seed)
    penalty = ridge * np.mean(np.var(f, axis=0)) * len(f)
    score = Ridge(alpha=penalty, solver="svd").fit(f, one_hot(code).T).predict(g)
    expected = np.mean(score.argmax(axis=1) == test_code)
    found = given_to(probe_accuracy, f, code, g, test_code, ridge=ridge)
    assert found == pytest.approx(expected, abs=1e-12)
    assert probe(f, code, g, test_code, ridge) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("probe_of", PROBES)
@given(SEEDS)
def test_probes_are_blind_to_rotations_and_scale(probe_of, seed):
    f, code, g, test_code = rows_of(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0] * 1e-5
    plain = given_to(probe_of, f, code, g, test_code)
    assert given_to(probe_of, f @ turn, code, g @ turn, test_code) == plain


@pytest.mark.parametrize("probe_of", PROBES)
@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_constant_tells_nothing_and_a_group_may_be_empty(probe_of, value, dtype):
    member = jnp.tile(jnp.eye(3, dtype=dtype), (1, 7))
    f = jnp.full((21, 4), value, dtype)
    assert float(probe_of(f, member, f, member)) == pytest.approx(1 / 3, rel=1e-6)
    rows, code, other, test_code = (jnp.array(one) for one in rows_of(3))
    full = jnp.array(one_hot(code)), jnp.array(one_hot(test_code))
    wider = [jnp.concatenate([one, jnp.zeros_like(one[:1])]) for one in full]
    found = [float(probe_of(rows, one, other, two)) for one, two in (full, wider)]
    assert found[0] == found[1] and np.isfinite(found[0])


def test_the_probe_survives_rounding_of_wide_embeddings_that_have_collapsed():
    """In float32, of 300 coordinates that are one direction and little else."""
    f, code, g, test_code = rows_of(5, n=400, s=200, p=2, groups=2)
    rng = np.random.default_rng(0)
    along = rng.normal(size=(2, 300))
    f, g = (rows @ along + 1e-5 * rng.normal(size=(len(rows), 300)) + 3 for rows in (f, g))
    single = given_to(probe_accuracy, f.astype("float32"), code, g.astype("float32"), test_code)
    assert single == pytest.approx(
        given_to(probe_accuracy, f, code, g, test_code, ridge=1e-3), abs=0.02
    )
    assert single > 0.75


@pytest.mark.parametrize("probe_of", PROBES)
def test_probes_map_and_blocks_of_rows_change_nothing(probe_of, monkeypatch):
    many = [[*rows_of(seed)] for seed in range(3)]
    alone = [given_to(probe_of, *one) for one in many]
    f, g = (jnp.array([one[place] for one in many]) for place in (0, 2))
    member, other = (jnp.array([one_hot(one[place]) for one in many]) for place in (1, 3))
    np.testing.assert_allclose(jax.vmap(probe_of)(f, member, g, other), alone, atol=1e-12)
    jax.clear_caches()
    monkeypatch.setattr(linalg, "_BLOCK", 5 * f.shape[1])  # 37 rows by 5
    np.testing.assert_allclose([given_to(probe_of, *one) for one in many], alone, atol=1e-12)


# --- geometry --------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from([1, 4]))
def test_ratios_are_those_of_loops(seed, p):
    f, inner, _, _ = rows_of(seed, p=p)
    outer = inner // 2
    inside, all_of = jnp.array(one_hot(inner)), jnp.ones((1, len(f)))
    found = variance_ratio(jnp.array(f), inside, jnp.array(one_hot(outer)))
    assert float(found) == pytest.approx(ratio_inside(f, inner, outer), rel=1e-11)
    between = ratio_inside(f, inner, 0 * inner)
    assert float(variance_ratio(jnp.array(f), inside, all_of)) == pytest.approx(between, rel=1e-11)
    turned = f @ np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0] * 1e-4 + 2
    again = variance_ratio(jnp.array(turned), inside, jnp.array(one_hot(outer)))
    assert float(again) == pytest.approx(float(found), rel=1e-6)


@given(SEEDS, st.sampled_from([1, 6]))
def test_participation_uniformity_and_alignment_are_their_definitions(seed, p):
    f = np.random.default_rng(seed).normal(size=(24, p)) * np.geomspace(1, 0.1, p) + 0.2
    turned = f @ np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0] * 1e-4
    for rows in (f, turned):
        rows = jnp.array(rows)
        found = float(participation_ratio(rows))
        assert found == pytest.approx(participation(f), rel=1e-9)
        assert 1 - 1e-12 <= found <= float(effective_rank(rows)) + 1e-12
        assert float(uniformity(rows)) == pytest.approx(potential(f), rel=1e-8, abs=1e-12)
        for m in (2, 3):
            views = f.reshape(-1, m, p)
            found = float(alignment(rows.reshape(views.shape)))
            assert found == pytest.approx(misalignment(views), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("p", [1, 2, 65])
def test_eigenvalues_are_those_of_numpy_whatever_their_spread(p):
    rng = np.random.default_rng(p)
    f = rng.normal(size=(80, p)) @ np.diag(np.geomspace(1, 1e-4, p)) @ rng.normal(size=(p, p))
    gram = f.T @ f
    found = np.sort(linalg.eigenvalues(jnp.array(gram)))
    expected = np.linalg.eigvalsh(gram)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9 * expected[-1])
    assert float(effective_rank(jnp.array(f))) == pytest.approx(entropy_rank(f), rel=1e-8)


def test_nothing_is_nan_of_embeddings_that_are_zero():
    none, member = jnp.zeros((8, 3)), jnp.tile(jnp.eye(2), (1, 4))
    assert float(variance_ratio(none, member, jnp.ones((1, 8)))) == 0
    assert float(participation_ratio(none)) == float(effective_rank(none)) == 1
    assert float(uniformity(none)) == float(alignment(none.reshape(4, 2, 3))) == 0
    assert float(uniformity(jnp.ones((1, 3)))) == 0
    apart = jnp.array(one_hot([0, 1] * 4)).T  # nothing varies within groups
    found = float(variance_ratio(apart, member, jnp.ones((1, 8))))
    assert found == np.finfo(float).max


def test_uniformity_by_blocks_and_of_the_even_circle(monkeypatch):
    f = jnp.array(np.random.default_rng(0).normal(size=(50, 3)))
    whole = float(uniformity(f))
    monkeypatch.setattr(linalg, "_BLOCK", 7 * 50)
    assert float(observables.uniformity(f)) == pytest.approx(whole, rel=1e-12)
    angle = 2 * np.pi * np.arange(400) / 400
    circle = jnp.array(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    expected = np.log((400 * np.exp(-4) * np.i0(4) - 1) / 399)  # |u - v|^2 = 2 - 2 cos
    assert float(uniformity(circle)) == pytest.approx(expected, rel=1e-12)


# --- layers ----------------------------------------------------------------------------------

RNG = np.random.default_rng(7)
CLASS, SUBCLASS = np.repeat([-1, 1], 8), np.tile([-1, 1], 8)
VIEWS = RNG.normal(size=(16, 1, 6)) + 0.5 * RNG.normal(size=(16, 2, 6))
VIEWS[:, :, 0] += CLASS[:, None]
TEST = VIEWS[:, 0] + RNG.normal(size=(16, 6))
OWN = cldyn.views(VIEWS, CLASS, SUBCLASS, np.eye(6)[:2], test=(TEST, CLASS, SUBCLASS))
NETWORK = SMALL.replace(problem=OWN, loss=InfoNce(), positives=Unsupervised(), learning_rate=0.5)
NETWORK = NETWORK.replace(encoder=Mlp(hidden=9))
ASKED = [
    "subclass_accuracy", "class_accuracy_knn", "test_subclass_ratio", "participation_ratio",
    "alignment", "uniformity", "subclass_gap",
]  # fmt: skip


def expected_of(embed):
    """The measures that are asked for, of an embedding."""
    f, g = np.array(embed(VIEWS.reshape(32, 6))), np.array(embed(TEST))
    means = [g[sign == SUBCLASS].mean(axis=0) for sign in (-1, 1)]
    return {
        "subclass_accuracy": probe(f, np.repeat(SUBCLASS, 2), g, SUBCLASS),
        "class_accuracy_knn": knn(f, np.repeat(CLASS, 2), g, CLASS),
        "test_subclass_ratio": ratio_inside(g, 2 * CLASS + SUBCLASS, CLASS),
        "participation_ratio": participation(f),
        "alignment": misalignment(f.reshape(16, 2, -1)),
        "uniformity": potential(g),
        "subclass_gap": np.linalg.norm(means[1] - means[0]),
    }


def test_measures_of_every_layer_of_a_perceptron_are_of_its_embeddings():
    names = [*ASKED[:2], *(f"pre_{name}" for name in ASKED), "input_subclass_gap"]
    names += ["pre_feature_norms", "input_feature_norms", "pre_embeddings"]
    run, encoder = cldyn.run(NETWORK, [0, 30], measure=names), NETWORK.training.encoder
    layers = {
        "": lambda x: encoder.apply(run.weights, x),
        "pre_": lambda x: encoder.through(run.weights, x)["pre"],
        "input_": lambda x: x,
    }
    for prefix, embed in layers.items():
        for name, value in expected_of(embed).items():
            if prefix + name in names:
                found = run.records[prefix + name][-1]
                np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=prefix + name)
    hidden = layers["pre_"]
    norms = np.linalg.norm(np.array(hidden(np.eye(6)[:2])) - hidden(np.zeros((1, 6))), axis=1)
    np.testing.assert_allclose(run.records["pre_feature_norms"][-1], norms, rtol=1e-6)
    np.testing.assert_allclose(run.records["input_feature_norms"], 1, rtol=1e-12)
    rows = run.records["pre_embeddings"][-1]
    np.testing.assert_allclose(rows, hidden(TEST), rtol=1e-6, atol=1e-9)
    assert run.records["pre_uniformity"][0] != run.records["pre_uniformity"][1]


def test_what_a_measure_of_ones_own_sees_of_layers():
    def of(function, **more):
        return cldyn.Measure("own", "", function, ("test",), ("test", "unit"), **more)

    def seen(measure):
        return cldyn.run(NETWORK, [0, 5], measure=[measure]).records[measure.name]

    own = of(lambda seen: seen.embed("test", "pre"))
    np.testing.assert_array_equal(seen(own), seen(cldyn.MEASURES["embeddings"].at("pre")))
    alike = of(lambda seen: seen.embed("test") + 0 * seen.embed("test", "input")[:, :1])
    np.testing.assert_array_equal(seen(replace(alike, layer="pre")), seen(own))
    with pytest.raises((TypeError, AttributeError)):  # what steps change is not of the inputs
        seen(of(lambda seen: seen.embed("test", "pre"), layer="input"))
    with pytest.raises(cldyn.Refused, match="layer: 'head', allowed is one of input, pre"):
        seen(of(lambda seen: seen.embed("test", "head")))


@pytest.mark.parametrize("in_frame", [True, False])
def test_below_a_linear_head_and_of_inputs_in_both_coordinates(in_frame):
    encoder = DeepLinear(init_scale=0.4, depth=3)
    optimizer = cldyn.Gd(0.02) if in_frame else cldyn.Adam(1e-3)
    experiment = SMALL.replace(problem=OWN, encoder=encoder, optimizer=optimizer)
    asked = [name for name in ASKED if name != "subclass_gap"]
    names = ["pre_uniformity", *(f"input_{name}" for name in asked)]
    names += ["pre_embeddings", "input_embeddings"]
    records = cldyn.run(experiment, [0, 30], measure=names).records
    for rows in records["input_embeddings"]:
        np.testing.assert_allclose(rows, TEST, atol=1e-12)
    first = with_one(TEST) @ np.array(encoder.init(jax.random.key(0), 6).first).T
    np.testing.assert_allclose(records["pre_embeddings"][0], first, atol=1e-7)
    expected = expected_of(lambda x: x)
    for name in asked:
        found = records[f"input_{name}"]
        np.testing.assert_allclose(found, [expected[name]] * 2, rtol=1e-9, err_msg=name)
    moved = potential(records["pre_embeddings"][-1])
    assert records["pre_uniformity"][-1] == pytest.approx(moved, rel=1e-8)


def test_a_sweep_of_layers_is_its_runs_and_names_their_axes():
    names = ["pre_subclass_accuracy", "input_uniformity", "embeddings", "pre_embeddings"]
    axes = [{"learning_rate": [0.1, 0.5]}, {"seed": [0, 1, 2]}]
    many = cldyn.sweep(NETWORK, axes, [0, 20], measure=names, progress=False)
    assert many.sizes["output"] == 3 and many.sizes["pre_output"] == 9
    assert many.input_uniformity.attrs["long_name"].endswith("of the layer input")
    assert many.input_uniformity.dims == ("learning_rate", "seed", "step")
    for rate, seed in ((0.1, 2), (0.5, 0)):
        one = cldyn.run(NETWORK.replace(learning_rate=rate, seed=seed), [0, 20], measure=names)
        swept = many.sel(learning_rate=rate, seed=seed)
        for name in names:
            np.testing.assert_allclose(swept[name], one.records[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("experiment", "name", "told"),
    [
        (SMALL, "pre_subclass_accuracy", "subclass_accuracy, alone or behind .* input$"),
        (NETWORK, "head_train_class_gap", "train_class_gap, alone or behind .* input, pre$"),
        (NETWORK, "pre_loss", "loss alone"),
        (NETWORK, "pre_los", "cldyn.Measure or"),
        (NETWORK, 3, "cldyn.Measure or"),
        (NETWORK, cldyn.MEASURES["uniformity"].at("head"), "input, pre$"),
        (
            SMALL.replace(problem=Population(), batch=Iid(8)),
            "input_test_class_gap",
            "which has none",
        ),
    ],
)
def test_a_layer_that_is_not_there_is_refused_in_one_line(experiment, name, told):
    with pytest.raises(cldyn.Refused, match=told) as refused:
        cldyn.run(experiment, [0], measure=[name])
    assert "\n" not in str(refused.value)


def test_alignment_takes_two_views_and_a_balanced_sample_four_rows():
    with pytest.raises(cldyn.Refused, match="two views"):
        cldyn.run(SMALL.replace(m=1, positives=cldyn.Supervised()), [0], measure=["alignment"])
    with pytest.raises(cldyn.Refused, match="test_size"):
        cldyn.run(SMALL.replace(test_size=42, test_balanced=True), [0])


def test_a_balanced_test_sample_has_no_floor_under_its_gaps():
    """Features without noise: a gap between classes is of the class alone."""
    model = cldyn.FeatureModel(d=6, noise=cldyn.Gaussian(0.0))
    floors = []
    for balanced in (True, False):
        tests = cldyn.sample_test(jax.random.key(1), model, 100, balanced=balanced)
        x, label = np.array(tests.x[:, 0]), np.asarray(tests.label)
        cells = [np.sum((label == a) & (tests.subclass == b)) for a in (-1, 1) for b in (-1, 1)]
        assert (cells == [25] * 4) is balanced
        floors.append(np.abs(x[label == 1].mean(axis=0) - x[label == -1].mean(axis=0))[1])
    assert floors[0] < 1e-12 < 0.01 < floors[1]
