"""Learning steps and bounds of peaks hold wherever they are predicted; nonsense is refused."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cldyn import Basis, FeatureModel, Gaussian, Joint, OneHot, Perturbed, Unsupervised, theory

WIDE, ROWS, FEATURES = (
    20,
    5,
    4,
)  # to which frames are padded; the last coordinate is none of the data's
STEPS, SIZE = 1500, 0.1


class Setting(NamedTuple):
    """What is learned from and how.

    supervised: share of supervised pairs. rows: (n, m), none for a population. rate:
    4 eta lambda_max(M). decay: weight_decay/lambda_max(P).
    """

    strengths: tuple = (1.0, 1.0)
    means: tuple = (0.0, 1.0)
    supervised: float = 1.0
    bias: bool = True
    keeps: tuple = ()
    noise: float = 0.0
    noise_keep: float = 0.0
    d: int = 6
    rows: tuple = ()
    embed_dim: int = 3
    init: float = 1e-4
    rate: float = 0.3
    flow: bool = False
    decay: float = 0.0


def moments(setting, rng):
    """M and P, features first, bias last; a sample is balanced over class and subclass."""
    strengths, means = np.array(setting.strengths), np.array(setting.means)
    keeps = np.array(setting.keeps or (1.0,) * strengths.size)
    count, share = strengths.size, setting.supervised
    if setting.rows:
        n, m = setting.rows
        signs = rng.choice([-1, 1], (n, 1, count))
        signs[:, 0, :2] = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (n // 4, 1))
        redrawn = np.where(
            rng.random((n, m, count)) < keeps, signs, rng.choice([-1, 1], (n, m, count))
        )
        kept, fresh = (
            rng.normal(size=(n, 1, setting.d - count)),
            rng.normal(size=(n, m, setting.d - count)),
        )
        noise = np.sqrt(setting.noise_keep) * kept + np.sqrt(1 - setting.noise_keep) * fresh
        noise *= setting.noise / np.sqrt(setting.d - count)
        x = np.concatenate(
            [means + strengths * redrawn, noise, np.ones((n, m, int(setting.bias)))], axis=2
        )
        groups = [x[signs[:, 0, 0] == c].mean(axis=(0, 1)) for c in (-1, 1)]
        by_class = sum(np.outer(mean, mean) for mean in groups) / 2
        by_view = x.mean(axis=1).T @ x.mean(axis=1) / n
        second = np.einsum("nmi,nmj->ij", x, x) / (n * m)
    else:
        other = setting.d - count
        variances = np.r_[
            strengths**2, np.full(other, setting.noise**2 / other), np.zeros(int(setting.bias))
        ]
        mean = np.r_[means, np.zeros(other), np.ones(int(setting.bias))]
        shared = (
            variances
            * np.r_[keeps**2, np.full(other, setting.noise_keep), np.zeros(int(setting.bias))]
        )
        constant = np.outer(mean, mean)
        second, by_view = constant + np.diag(variances), constant + np.diag(shared)
        by_class = constant + np.diag(shared * (np.arange(mean.size) == 0))
    return second, share * by_class + (1 - share) * by_view


def frame(second, positive, setting, rng, wide=WIDE, start=None):
    """A one_frame: M diagonal, C, W_0 and the directions of features, padded.

    The last coordinate of W_0 is none of the data's, yet not zero.
    """
    values, basis = np.linalg.eigh(second)
    reached = values > 1e-10 * values[-1]
    values, basis = values[reached], basis[:, reached]
    shared, vectors = np.linalg.eigh(basis.T @ positive @ basis)
    factor = np.sqrt(np.maximum(shared, 0))[:, None] * vectors.T
    normal = rng.normal(size=(setting.embed_dim, len(basis)))
    start = setting.init * (normal if start is None else np.array(start)) @ basis
    directions = basis[: len(setting.strengths)]

    def pad(x, rows):
        return np.pad(x, ((0, rows - x.shape[0]), (0, wide - x.shape[1])))

    start = pad(start, ROWS)
    start[: setting.embed_dim, -1] = 7.0
    return {
        "second": np.pad(values, (0, wide - values.size)),
        "factor": pad(factor, wide),
        "start": start,
        "directions": pad(directions, FEATURES),
        "rate": setting.rate / (4 * values[-1]),
        "flow": setting.flow,
        "decay": setting.decay * shared[-1],
    }


def frames_of(cases, wide=WIDE):
    """Frames of settings, each with its seed or its W_0/init, stacked."""
    frames = []
    for setting, seed in cases:
        given = not isinstance(seed, int)
        rng = np.random.default_rng(0 if given else seed)
        frames.append(frame(*moments(setting, rng), setting, rng, wide, seed if given else None))
    return {name: np.stack([one_frame[name] for one_frame in frames]) for name in frames[0]}


def trained(one_frame):
    """When |W v| first reaches the size, infinity for never, and its largest value."""
    second, positive = one_frame["second"], one_frame["factor"].T @ one_frame["factor"]
    rate, directions = one_frame["rate"], one_frame["directions"]

    def slope(w):
        return 4 * (w @ positive - (w * second) @ w.T @ w * second) - 2 * one_frame["decay"] * w

    def flowed(w):
        for _ in range(2):
            first = slope(w)
            second_ = slope(w + rate / 4 * first)
            third = slope(w + rate / 4 * second_)
            w = w + rate / 12 * (first + 2 * second_ + 2 * third + slope(w + rate / 2 * third))
        return w

    def step(state, at):
        w, before, learned, peak = state
        w = jnp.where(one_frame["flow"], flowed(w), w + rate * slope(w))
        after = jnp.linalg.norm(w @ directions.T, axis=0)
        crossing = at + jnp.log(SIZE / before) / jnp.log(after / before)
        learned = jnp.where((after >= SIZE) & jnp.isinf(learned), crossing, learned)
        return (
            w,
            after,
            learned,
            jnp.fmax(peak, jnp.where(jnp.isnan(after), jnp.inf, after)),
        ), None

    begin = jnp.linalg.norm(one_frame["start"] @ directions.T, axis=0)
    state = (one_frame["start"], begin, jnp.where(begin < SIZE, jnp.inf, 0.0), begin)
    (_, _, learned, peak), _ = jax.lax.scan(step, state, jnp.arange(STEPS))
    return learned, peak


def predicted(one_frame):
    """Learning step, e-folding time and bound of every feature's direction."""

    def of(direction):
        second, factor, start = one_frame["second"], one_frame["factor"], one_frame["start"]
        rate, flow = one_frame["rate"], one_frame["flow"]
        step, efold = theory.learning_step(
            start,
            factor,
            direction,
            rate,
            SIZE,
            weight_decay=one_frame["decay"],
            flow=flow,
            second=second,
        )
        return (
            step,
            efold,
            theory.peak_bound(
                second, factor, direction, start=start, learning_rate=rate, flow=flow
            ),
        )

    return jax.vmap(of)(one_frame["directions"])


@jax.jit
def both(frames):
    return jax.vmap(lambda one_frame: (*predicted(one_frame), *trained(one_frame)))(frames)


def compare(cases, wide=WIDE):
    """Learning steps and bounds predicted of the frames' features, and which features there are.

    Fails unless what is predicted holds in training: a learning step within an e-folding time or
    a step, infinity for never, the bound to 1e-3.
    """
    frames = frames_of(cases, wide)
    step, efold, bound, learned, peak = (np.asarray(one) for one in both(frames))
    there = np.abs(frames["directions"]).sum(axis=2) > 0
    early = there & (step < 0.8 * STEPS)
    error = np.abs(np.where(np.isinf(learned), 1e6, learned) - np.where(early, step, 0))
    wrong = early & (error > 1) & (error > efold)
    wrong |= there & np.isinf(step) & np.isfinite(learned)
    wrong |= there & (peak > 1.001 * bound)
    told = [
        (cases[i], j, step[i, j], learned[i, j], bound[i, j], peak[i, j])
        for i, j in np.argwhere(wrong)
    ]
    assert not told, told
    return np.where(there, step, np.nan), np.where(there, bound, np.nan), there


def random_setting(rng):
    count = rng.integers(2, FEATURES + 1)
    return Setting(
        strengths=tuple(rng.choice([0.25, 0.5, 0.8, 1, 1, 1.3, 2, 3], count)),
        means=(
            rng.choice([0, 0, 0, 0.2, 1]),
            rng.choice([0, 0.3, 0.5, 1, 1, 2]),
            *rng.choice([0, 0, 0.3, 1], count - 2),
        ),
        supervised=rng.choice([1, 1, 0, 0.5, 0.9]),
        bias=bool(rng.random() < 0.7),
        keeps=tuple(rng.choice([1, 1, 1, 0.9, 0.7, 0.4], count)),
        noise=rng.choice([0, 0.3, 1, 2]),
        noise_keep=rng.choice([0, 0, 0.5, 1]),
        d=int(rng.integers(5, 18)),
        rows=[(), (), (16, 2), (12, 1)][rng.integers(4)],
        embed_dim=int(rng.integers(1, ROWS + 1)),
        init=10 ** rng.choice([-2.5, -3, -4, -5]),
        rate=10 ** rng.uniform(-1.5, 0.4),
        flow=bool(rng.random() < 0.3),
        decay=rng.choice([0, 0, 0, 0.1, 0.4]),
    )


# Each would break a prediction if the condition it is named after were dropped.
BEYOND = {
    "self-limiting": [
        (Setting((1, 3), (0, 0.2)), 0),
        (Setting((0.25, 0.25), (0, 0), 0, False, embed_dim=1), 7),
    ],
    "leak": [
        (
            Setting(
                (1.3, 2),
                (0.2, 2),
                0.5,
                True,
                (0.4, 1),
                0.3,
                d=13,
                embed_dim=2,
                init=1e-5,
                rate=0.272,
            ),
            0,
        )
    ],
    "leak, second order": [
        (
            Setting(
                (1.5, 8, 0.3, 1),
                (0.4, 0.2, 0.3, 1),
                0,
                False,
                (0.9, 0.4, 0.7, 1),
                1.0,
                d=14,
                embed_dim=2,
                rate=0.23,
            ),
            2,
        )
    ],
    "frozen, takeover": [
        (
            Setting(
                (1.2, 8), (0, 0.5), keeps=(0.9, 0.4), embed_dim=2, init=0.032, rate=0.263, decay=0.6
            ),
            16,
        )
    ],
    "visible": [
        (
            Setting((1, 0.8), (0, 0), 0.5, True, (0.9, 1), 2.0, embed_dim=2, rate=0.616, flow=True),
            seed,
        )
        for seed in range(3)
    ],
    "small start": [(Setting((1.2, 2, 0.3, 0.3), (0, 0.2, 0, 0), init=0.032, flow=True), 3)],
    "stable": [
        (
            Setting(
                (0.25, 1),
                (0, 0),
                0.5,
                True,
                (0.7, 0.9),
                1.0,
                d=12,
                embed_dim=5,
                init=1e-3,
                rate=2.05,
            ),
            0,
        )
    ],
    "never, stable": [
        (Setting((1, 1), (0, 0), keeps=(1, 0.4), noise=1.0, d=5, init=3e-3, rate=2.42), 0)
    ],
    "never touched": [
        (Setting((1.2, 3), (0.4, 0.8), noise=2.0, d=4, embed_dim=1, init=0.01, rate=0.162), seed)
        for seed in range(3)
    ],
    "no further mode": [
        (
            Setting(
                (0.25, 0.25, 1, 1),
                (0, 1, 0, 0),
                0.9,
                True,
                (1, 0.7, 0.7, 1),
                d=5,
                init=1e-6,
                rate=0.6925,
                flow=True,
            ),
            [
                [0.09, 0.49, 1.42, -0.39, 0, 0.25],
                [1.34, -1.18, 1.22, -0.81, 0, 0.48],
                [-0.22, 0.37, -1.38, -0.04, 0, 1.31],
            ],
        )
    ],
    "other modes": [(Setting((1, 1), (0, 2), 0, flow=True), 0)],
    "largest variance": [(Setting((0.8, 1.69, 3.1), (0, 0.42, 0.65), rate=0.4), 0)],
    "eigenvector": [
        (
            Setting(
                (1.3, 0.8),
                (0, 1),
                bias=False,
                noise=0.3,
                noise_keep=0.5,
                d=13,
                rows=(12, 3),
                rate=0.4,
                flow=True,
            ),
            seed,
        )
        for seed in (0, 3, 5)
    ],
    "not unlearned too fast": [
        (
            Setting(
                (1.2, 8),
                (0, 2),
                keeps=(0.7, 1),
                noise=1.0,
                d=17,
                embed_dim=1,
                rate=0.266,
                flow=True,
            ),
            0,
        )
    ],
    "start of the bound": [(Setting((1, 1), (0, 1), init=0.1), 0), (Setting((1, 1), (0, 0)), 0)],
    "step of the bound": [(Setting((1, 1), (0, 1), rate=1.2), 0)],
}


def test_no_prediction_is_made_where_a_condition_fails():
    cases = [case for cases in BEYOND.values() for case in cases]
    assert len(cases) <= 32
    compare((cases + cases)[:32])  # as many as in the other tests, which share what was compiled


@settings(max_examples=3)
@given(st.integers(0, 10_000))
def test_predictions_of_random_models_hold_where_they_are_made(seed):
    rng = np.random.default_rng(seed)
    step, bound, there = compare(
        [(random_setting(rng), int(rng.integers(2**31))) for _ in range(32)]
    )
    assert (
        np.isfinite(step).sum() > 0.2 * there.sum()
        and np.isfinite(bound).sum() > 0.04 * there.sum()
    )


@pytest.mark.parametrize(
    ("setting", "population"),
    [
        (Setting(supervised=0), False),
        (Setting((1, 1, 2, 1), (0, 1, 0, 0), supervised=0), False),
        (Setting(supervised=0.5), False),
        (Setting(means=(1, 1)), False),
        (Setting(bias=False), True),
        (Setting((2, 1)), True),
    ],
    ids=["ucl", "irrelevant", "joint", "class mean", "no bias", "class strength 2"],
)
def test_peak_of_the_subclass_is_not_bounded_where_other_modes_take_part(setting, population):
    setting = setting._replace(noise=1.0, d=16, rate=0.4)
    sample = setting._replace(rows=(16, 2))
    _, bound, _ = compare([(one, seed) for one in (setting, sample) for seed in range(16)])
    assert (np.isfinite(bound[:16, 1]) == population).all() and np.isnan(bound[16:, 1]).all()


def test_both_steps_and_the_bound_are_predicted_where_classes_collapse():
    plain = Setting(noise=1.0, d=200, rows=(32, 2))
    largest = 2.62  # eigenvalue of M
    cases = [
        (plain._replace(rate=4 * largest * rate), seed)
        for rate in (0.02, 0.04, 0.08)
        for seed in range(8)
    ]
    cases += [(plain._replace(rate=0.2, flow=True), seed) for seed in range(4)]
    step, bound, _ = compare(cases, 66)
    assert np.isfinite(step[:, :2]).all()
    careful = np.array([setting.flow or setting.rate < 0.45 for setting, _ in cases])
    assert np.isfinite(bound[careful, 1]).all() and np.isnan(bound[~careful, 1]).all()


def test_without_second_moments_growth_has_no_limit():
    one_frame = {
        name: value[0] for name, value in frames_of([(Setting((1, 3), (0, 0.2)), 0)]).items()
    }
    start, factor, direction = one_frame["start"], one_frame["factor"], one_frame["directions"][1]

    @jax.jit
    def of(decay):
        known = theory.learning_step(
            start, factor, direction, 0.01, weight_decay=decay, second=one_frame["second"]
        )
        step, _ = theory.learning_step(start, factor, direction, 0.01, weight_decay=decay)
        grown = theory.early_growth(start, factor, 0.01, step[None], decay)[0]
        return step, jnp.linalg.norm(grown @ direction), known[0]

    step, norm, known = of(0.0)
    assert np.isfinite(step) and norm == pytest.approx(SIZE, rel=1e-9) and np.isnan(known)
    step, _, known = of(5.0)  # outgrows every mode: nothing is learned
    assert np.isinf(step) and np.isinf(known)


MODEL, UCL = FeatureModel(d=30), Unsupervised()
ONE = FeatureModel(irrelevant_strength=(1.0,))
START, FACTOR, SECOND, LINE = np.full((2, 4), 1e-4), np.eye(3, 4), np.ones(4), np.eye(4)[0]


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("beta", lambda: theory.agreements(MODEL, Joint(1.5))),
        ("noise_length", lambda: theory.agreements(FeatureModel(noise=Gaussian(-1.0)), UCL)),
        ("subclass_keep", lambda: theory.agreements(FeatureModel(subclass_keep=1.2), UCL)),
        ("embed_dim", lambda: theory.population_norms(MODEL, UCL, 0)),
        ("subclass_mean", lambda: theory.population_norms(MODEL, UCL, 2, bias=False)),
        ("embed_dim", lambda: theory.joint_threshold(MODEL, 0)),
        ("n", lambda: theory.collapsed_norm(MODEL, -1, 2)),
        ("n m", lambda: theory.collapsed_norm(MODEL, 16, 2)),
        ("class_mean", lambda: theory.collapsed_norm(FeatureModel(class_mean=1.0), 16, 2)),
        ("class_keep", lambda: theory.collapsed_norm(FeatureModel(class_keep=0.5), 16, 2)),
        (
            "irrelevant_mean",
            lambda: theory.collapsed_norm(replace(ONE, irrelevant_mean=(1.0,)), 16, 2),
        ),
        (
            "irrelevant_keep",
            lambda: theory.collapsed_norm(replace(ONE, irrelevant_keep=(0.5,)), 16, 2),
        ),
        ("class_change", lambda: theory.collapsed_norm(replace(ONE, class_change=0.5), 16, 2)),
        ("noise_keep", lambda: theory.collapsed_norm(replace(ONE, noise=Basis(1.0, 0.5)), 16, 2)),
        (
            "own_count",
            lambda: theory.collapsed_norm(replace(ONE, irrelevant="own", own_count=4), 16, 2),
        ),
        (
            "class_keep",
            lambda: theory.kept_share(replace(ONE, subclass_mean=0.0, class_keep=0.5), 2),
        ),
        ("noise", lambda: theory.collapsed_norm(FeatureModel(noise=Perturbed()), 16, 2)),
        ("noise", lambda: theory.population_norms(FeatureModel(noise=OneHot()), UCL, 2)),
        ("class_change", lambda: theory.unlearning_rate(FeatureModel(class_change=0.5))),
        ("d", lambda: theory.distinct_probability(3, 0)),
        ("taken", lambda: theory.distinct_probability(3, 10, -1)),
        ("subclass_mean", lambda: theory.kept_share(ONE, 2)),
        ("embed_dim", lambda: theory.kept_share(replace(ONE, subclass_mean=0.0), 0)),
        ("shape of within", lambda: theory.own_unlearning_rate(1.0, np.eye(2), 1.0, 8)),
        ("within", lambda: theory.own_peak(1.0, -1.0, 1.0, 8)),
        ("mean", lambda: theory.peak_balance(1.0, 0.0)),
        ("own", lambda: theory.own_unlearning_rate(1.0, 1.0, 0.0, 8)),
        ("positives", lambda: theory.population_norms(MODEL, "scl", 1)),
        ("strength", lambda: theory.augmentation_norm(-1.0, 1.0, 0.5, 8, 2)),
        ("noise_keep", lambda: theory.augmentation_norm(1.0, 1.0, np.array([0.5, 1.5]), 8, 2)),
        ("m", lambda: theory.augmentation_norm(1.0, 1.0, 0.5, 8, 1.5)),
        ("d", lambda: theory.augmentation_accuracy(1.0, 1.0, 0.5, 8, 2, 0)),
        ("start", lambda: theory.left_behind(0.0, 1.0, 2.0)),
        ("rival", lambda: theory.left_behind(0.1, 1.0, np.nan)),
        ("learning_rate", lambda: theory.early_growth(START, FACTOR, 0.0, np.arange(3))),
        ("steps", lambda: theory.early_growth(START, FACTOR, 0.1, np.arange(-1, 3))),
        ("shape of factor", lambda: theory.early_growth(START, FACTOR[:, :3], 0.1, np.arange(3))),
        ("shape of direction", lambda: theory.learning_step(START, FACTOR, LINE[:3], 0.1)),
        (
            "shape of second",
            lambda: theory.learning_step(START, FACTOR, LINE, 0.1, second=SECOND[:2]),
        ),
        ("size", lambda: theory.learning_step(START, FACTOR, LINE, 0.1, -0.1)),
        ("weight_decay", lambda: theory.learning_step(START, FACTOR, LINE, 0.1, weight_decay=-1.0)),
        ("second", lambda: theory.peak_bound(-SECOND, FACTOR, LINE)),
        ("shape of start", lambda: theory.peak_bound(SECOND, FACTOR, LINE, start=START[0])),
        ("learning_rate", lambda: theory.peak_bound(SECOND, FACTOR, LINE, learning_rate=-0.1)),
        ("class_mean", lambda: theory.unlearning_rate(FeatureModel(class_mean=0.5))),
        ("class_strength", lambda: theory.unlearning_rate(FeatureModel(class_strength=-1.0))),
        ("depth", lambda: theory.escape_time(0.01, 1.0, 1)),
        ("shared", lambda: theory.escape_time(0.01, 0.0, 2)),
        ("second", lambda: theory.one_mode(0.01, 1.0, -1.0, 1.0)),
        ("time", lambda: theory.one_mode(0.01, 1.0, 1.0, -1.0)),
        ("embed_dim", lambda: theory.critical_learning_rate(np.eye(3), np.eye(3), 0)),
        ("weight_decay", lambda: theory.critical_learning_rate(np.eye(3), np.eye(3), 1, -1.0)),
        ("embed_dim", lambda: theory.frame_critical_learning_rate(START, SECOND, FACTOR, 0)),
        (
            "shape of second",
            lambda: theory.frame_critical_learning_rate(START, SECOND[:3], FACTOR, 1),
        ),
        ("second", lambda: theory.commuting_critical_learning_rate(np.zeros(2), np.ones(2), 1)),
        (
            "shape of shared",
            lambda: theory.commuting_critical_learning_rate(np.ones(2), np.ones(3), 1),
        ),
        ("momentum", lambda: theory.stationary_excess(1.0, 0.1, 1.0)),
        ("learning_rate", lambda: theory.stationary_excess(1.0, np.array([0.1, 0.0]))),
        ("noise", lambda: theory.stationary_excess("much", 0.1)),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(name, refused):
    with pytest.raises(ValueError, match=rf"^{name}: .*, allowed is ") as told:
        refused()
    assert "\n" not in str(told.value)


def test_traced_numbers_pass():
    assert jax.jit(theory.stationary_excess)(1.0, -0.1) < 0
    assert np.isfinite(
        jax.vmap(lambda n: theory.augmentation_norm(1.0, 1.0, 0.5, n, 2))(jnp.array([-1, 4]))
    ).all()
    grid = jax.vmap(
        lambda mean, n: theory.collapsed_norm(FeatureModel(subclass_mean=mean), n, 2), (0, None)
    )
    assert np.isfinite(grid(jnp.array([0.5, 1.0]), 64)).all()
    rate = jax.vmap(lambda mean: theory.unlearning_rate(FeatureModel(class_mean=mean)))
    assert np.isfinite(rate(jnp.array([0.0, 0.5]))).all()
