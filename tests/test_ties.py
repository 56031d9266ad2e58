"""SGD's noise where all minimizers tie, and what it gives back: against every batch there is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cldyn
from cldyn import Experiment, FeatureModel, Gaussian, Gd, Iid, Linear, Population, Training, theory
from cldyn.theory.regrowth import _rates
from cldyn.theory.replacement import _shuffled, _without_replacement

CODES = {"signs": (-1.0, 1.0), "gaussian": (-(3**0.5), 0.0, 3**0.5)}  # Gauss and Hermite's nodes
WEIGHTS = {"signs": (0.5, 0.5), "gaussian": (1 / 6, 2 / 3, 1 / 6)}
FOURTH = {"signs": 1.0, "gaussian": 3.0}


def fourth_of(kind, count):
    return jnp.ones((count, count)).at[jnp.diag_indices(count)].set(FOURTH[kind])


def batches_of(kind, count, b):
    """All batches [N, b, K] of independent units and their probabilities."""
    units = np.array(list(itertools.product(CODES[kind], repeat=count)))
    weight = np.array([np.prod(w) for w in itertools.product(WEIGHTS[kind], repeat=count)])
    chosen = np.array(list(itertools.product(range(len(units)), repeat=b)))
    return units[chosen], weight[chosen].prod(axis=1)


def loss_of(v, units):
    """Of whitened units [b, K], a batch of which every pair counts alike."""
    f, b = units @ v.T, len(units)
    gram = (f @ f.T) ** 2
    return -2 * jnp.mean(jnp.sum(f * f, axis=1)) + (gram.sum() - jnp.trace(gram)) / (b * (b - 1))


def flowed(v, second, steps=1500):
    """Where gradient flow of the whole loss ends, V' = -4 (V V^T - I) V M."""
    size = 6 / jnp.min(second) / steps

    def slope(v):
        return -4 * (v @ v.T - jnp.eye(len(v))) @ (v * second)

    def step(_, v):
        one = slope(v)
        two = slope(v + size / 2 * one)
        three = slope(v + size / 2 * two)
        return v + size / 6 * (one + 2 * two + 2 * three + slope(v + size * three))

    return jax.lax.fori_loop(0, steps, step, v)


@pytest.mark.parametrize(
    ("kind", "p", "count", "b"), [("signs", 2, 3, 3), ("signs", 1, 2, 4), ("gaussian", 1, 3, 2)]
)
def test_drift_and_diffusion_are_those_of_all_batches(kind, p, count, b):
    rng = np.random.default_rng(p)
    v = jnp.array(np.linalg.qr(rng.normal(size=(count, p)))[0].T)
    second, fourth = jnp.array(rng.uniform(0.7, 3, count)), fourth_of(kind, count)
    units, weight = batches_of(kind, count, b)
    grads = jax.vmap(lambda one: jax.grad(loss_of)(v, one))(jnp.array(units)) * second
    spread = jnp.einsum("n,nij,nkl->ijkl", weight, grads, grads)
    first = jax.jacfwd(flowed)(v, second)
    bent = jax.jacfwd(jax.jacfwd(flowed))(v, second)
    drift = 0.5 * jnp.einsum("pqijkl,ijkl->pq", bent, spread)
    diffusion = jnp.einsum("pqij,ijkl,rskl->pqrs", first, spread, first)
    found = theory.slow_drift(v, second, fourth, b)
    np.testing.assert_allclose(found, drift, atol=1e-5 * np.abs(drift).max())
    found = theory.slow_diffusion(v, second, fourth, b)
    np.testing.assert_allclose(found, diffusion, atol=1e-5 * np.abs(diffusion).max())


@given(seed=st.integers(0, 2**31 - 1), p=st.integers(1, 3), kind=st.sampled_from([*CODES]))
@settings(max_examples=6)
def test_rates_are_those_of_drift_and_diffusion_at_the_suppressed_state(seed, p, kind):
    rng = np.random.default_rng(seed)
    weak, strong, b = rng.uniform(0.5, 1.5), jnp.array(rng.uniform(2, 6, p)), 5
    second, fourth = jnp.concatenate([jnp.array([weak]), strong]), fourth_of(kind, p + 1)
    source, first, other = _rates(weak, strong, FOURTH[kind] - 3, b, 0.0)

    def left(v):  # n_k^2, by which V misses the strong features
        return 1 - jnp.diag(v.T @ jnp.linalg.solve(v @ v.T, v))[1:]

    @jax.jit
    def change(small):
        v = jnp.concatenate([-small[:, None], jnp.eye(p) * jnp.sqrt(1 - small @ small)], axis=1)
        v = jnp.linalg.solve(jnp.linalg.cholesky(v @ v.T), v)
        drift = theory.slow_drift(v, second, fourth, b)
        spread = theory.slow_diffusion(v, second, fourth, b)
        linear = jnp.einsum("kij,ij->k", jax.jacfwd(left)(v), drift)
        return linear + 0.5 * jnp.einsum("kijmn,ijmn->k", jax.jacfwd(jax.jacfwd(left))(v), spread)

    np.testing.assert_allclose(change(jnp.zeros(p)), source, rtol=1e-8, atol=1e-8)
    curved = (weak / strong * source)[:, None] * (1 + (p + 4) * np.eye(p))
    growth = jnp.diag(first) + other - curved
    for one in range(p):
        sizes = [(change(jnp.eye(p)[one] * e) - source) / e**2 for e in (0.01, 0.02)]
        found = (4 * sizes[0] - sizes[1]) / 3
        np.testing.assert_allclose(found, growth[:, one], atol=2e-4 * np.abs(growth).max())


def test_the_slow_equation_of_two_features_is_that_of_the_manifold():
    weak, strong, b = 0.9, 3.7, 5
    second = jnp.array([weak, strong])

    def place(v):
        return jnp.log(jnp.abs(v[0, 0])) / weak - jnp.log(jnp.abs(v[0, 1])) / strong

    for angle in (0.2, 0.7, 1.3):
        v = jnp.array([[np.sin(angle), np.cos(angle)]])
        drift = theory.slow_drift(v, second, fourth_of("signs", 2), b)
        spread = theory.slow_diffusion(v, second, fourth_of("signs", 2), b)
        slope, bend = jax.grad(place)(v), jax.jacfwd(jax.grad(place))(v)
        mean = jnp.sum(slope * drift) + 0.5 * jnp.sum(bend * spread)
        deviation = jnp.sqrt(jnp.einsum("ij,ijkl,kl", slope, spread, slope))
        found = theory.two_features(angle, weak, strong, b)
        np.testing.assert_allclose(jnp.abs(found), [abs(mean), deviation], rtol=1e-9)
        assert float(found[0]) == pytest.approx(float(mean), rel=1e-9)


def test_the_density_of_two_gaussian_features_has_no_flux():
    weak, strong, b = 0.8, 2.5, 6
    second = jnp.array([weak, strong])

    def flux(angle):
        """Drift of the share t times the density, less the slope of half its diffusion."""

        def parts(angle):
            v = jnp.array([[jnp.sin(angle), jnp.cos(angle)]])
            drift = theory.slow_drift(v, second, fourth_of("gaussian", 2), b)
            spread = theory.slow_diffusion(v, second, fourth_of("gaussian", 2), b)
            mean = 2 * v[0, 0] * drift[0, 0] + spread[0, 0, 0, 0]
            variance = 4 * v[0, 0] ** 2 * spread[0, 0, 0, 0]
            density = theory.two_features_density(v[0, 0] ** 2, weak, strong, b)
            return mean * density, 0.5 * variance * density

        slope = jax.jacfwd(lambda angle: parts(angle)[1])(angle) / jnp.sin(2 * angle)
        return parts(angle)[0], slope

    for angle in (0.4, 0.9, 1.3):
        drift, spread = flux(angle)
        assert float(drift) == pytest.approx(float(spread), rel=1e-8)


@pytest.mark.parametrize(("p", "n", "b"), [(2, 8, 4), (3, 16, 3)])
def test_noise_without_replacement_is_that_of_all_subsets(p, n, b):
    codes = np.array(list(itertools.product((-1.0, 1.0), repeat=int(np.log2(n)))))
    strong = codes[:, 1 : p + 1]
    pulls = strong[:, :, None] * strong[:, None] - np.eye(p)
    products = np.einsum("aij,cj->aci", pulls, strong * codes[:, :1])
    squares = []
    for chosen in itertools.combinations(range(n), b):
        some = products[np.ix_(chosen, chosen)]
        same = np.einsum("aai->i", some)
        pull = (n - 1) / (n * b * (b - 1)) * (some.sum(axis=(0, 1)) - same) + same / (n * b)
        squares.append(pull @ pull)
    expected = np.mean(squares) * b * (b - 1) / (p * (p - 1))
    found = _without_replacement(p, jnp.array(b), jnp.array(n), False)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    turns = np.arange(1, 4)
    direct = 2 / (4 * 3) * np.sum((4 - turns) * (1 - 0.14) ** (turns - 1))
    assert float(_shuffled(jnp.array(4.0), jnp.array(0.07))) == pytest.approx(direct, rel=1e-9)


# --- the law ---------------------------------------------------------------------------------

# Flow time at which 200 seeds of an independent simulation had these medians.
MEASURED = [
    ((4.0,) * 4, 32, 0.0025, 20.0, {}, 0.095),
    ((4.0,) * 4, 16, 0.0025, 60.0, {}, 0.548),
    ((4.0,) * 2, 8, 0.002, 40.0, {}, 0.218),
    ((2.0,) * 3, 16, 0.005, 40.0, {}, 0.283),
    ((1.44, 2.25, 4.0, 6.25), 16, 0.0025, 30.0, {}, 0.303),
    ((4.0,) * 4, 16, 0.0025, 20.0, {"batches": "subset", "n": 64}, 0.157),
    ((2.0,) * 3, 16, 0.005, 40.0, {"batches": "epochs", "n": 64}, 0.183),
]


@pytest.mark.parametrize("point", MEASURED)
def test_the_law_is_what_others_measured(point):
    strong, b, rate, time, more, median = point
    found = theory.regrowth(1.0, jnp.array(strong), b, rate, time, **more)
    assert float(found[0]) == pytest.approx(median, rel=0.1)
    assert found[1] < found[0] < found[2]


def test_training_is_what_the_law_says():
    model = FeatureModel(
        d=5, subclass_strength=2.0, subclass_mean=0.0, irrelevant_strength=(2.0,),
        noise=Gaussian(0.0),
    )  # fmt: skip
    training = Training(
        Linear(2, bias=False), positives=cldyn.Unsupervised(), optimizer=Gd(0.004), batch=Iid(8)
    )
    experiment = Experiment(Population(model), training)
    steps, seeds = np.array([2500, 5000]), {"seed": range(300)}
    many = cldyn.sweep(experiment, [seeds], steps, measure=["feature_norms"], progress=False)
    for step, record in zip(
        steps, np.moveaxis(many.feature_norms.values[..., 0], 0, -1), strict=True
    ):
        law = theory.regrowth(1.0, jnp.full(2, 4.0), 8, 0.004, 0.004 * step)
        np.testing.assert_allclose(np.quantile(record, [0.5, 0.1, 0.9]), law, rtol=0.2)
        assert np.median(record) == pytest.approx(float(law[0]), rel=0.12)


def test_halfway_is_where_the_median_passes():
    for size in (0.2, 0.5, 0.8):
        strong = jnp.full(4, 4.0)
        time = theory.halfway_time(1.0, strong, 16, 0.0025, size=size)
        found = theory.regrowth(1.0, strong, 16, 0.0025, time)
        assert float(found[0]) == pytest.approx(size, rel=0.01)
    # Of eta T/(b ln b) alone, but for what is one over a large b.
    twice = theory.halfway_time(1.0, strong, 16, 0.00125)
    begin = np.log(1 / (1e-4 * 4)) / 16
    half = theory.halfway_time(1.0, strong, 16, 0.0025)
    assert float((twice - begin) / (half - begin)) == pytest.approx(2, rel=0.02)


def test_every_number_is_an_axis_and_conditions_are_told():
    many = jax.vmap(lambda b, rate: theory.regrowth(1.0, jnp.full(3, 4.0), b, rate, 20.0))
    found = many(jnp.array([8.0, 32.0, 4.0]), jnp.array([0.002, 0.004, 0.05]))
    one = theory.regrowth(1.0, jnp.full(3, 4.0), 8, 0.002, 20.0)
    np.testing.assert_allclose(found[0], one, rtol=1e-6)
    assert np.isfinite(found[:2]).all() and np.isnan(found[2]).all()
    assert float(theory.regrowth(1.0, jnp.array([4.0]), 8, 0.002, 1e4)[0]) < 2e-3  # p = 1, signs
    late = theory.regrowth(1.0, jnp.array([2.0, 4.0]), 8, 0.002, 1e5)
    epochs = theory.regrowth(1.0, jnp.full(4, 4.0), 8, 0.0025, 1e4, batches="epochs", n=64)
    assert np.isnan(late).all() and np.isnan(epochs).all()
    with pytest.raises(cldyn.Refused, match="batches:"):
        theory.regrowth(1.0, jnp.full(2, 4.0), 8, 0.002, 1.0, batches="shuffled")
    with pytest.raises(cldyn.Refused, match="batch_size:"):
        theory.halfway_time(1.0, jnp.full(2, 4.0), 1, 0.002)
