"""What projection heads leave: closed forms against the differential equations of training."""

import jax
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st

import cldyn
from cldyn import theory
from cldyn.claims import dimensional_collapse, nonlinear_head

starts = st.tuples(st.floats(0, 3), st.floats(0, 1.5), st.floats(0.01, 0.3))
admissible = st.tuples(st.floats(0.05, 1), st.floats(1, 3), st.floats(0.01, 0.3))


def slope_of(power):
    """Gradient flow of z^power, z = relu(w_2 relu(w_1 - b_1) - b_2), in all four numbers."""

    def slope(_, numbers):
        w1, b1, w2, b2 = numbers
        below = max(w1 - b1, 0.0)
        z = max(w2 * below - b2, 0.0)
        pull = power * z ** (power - 1)
        seen = pull * (w1 > b1)
        return [-seen * w2, seen * w2, -pull * below, pull]

    return slope


def flowed(start, power, times):
    w, v, b = start
    solved = scipy.integrate.solve_ivp(
        slope_of(power), (0, times[-1]), [w, b, v, b], t_eval=times, method="LSODA",
        rtol=1e-11, atol=1e-13,
    )  # fmt: skip
    w1, b1, w2, b2 = solved.y
    below = np.maximum(w1 - b1, 0)
    return below, w2, np.maximum(w2 * below - b2, 0)


@given(starts)
def test_diagonal_network_ends_where_flow_does(start):
    below, weight, after = flowed(start, 2, [0, 60])
    end, last = theory.diagonal_end(*start)
    assert float(end) == pytest.approx(below[-1], abs=1e-6)
    assert float(last) == pytest.approx(weight[-1], abs=1e-6)
    assert after[-1] == pytest.approx(0, abs=1e-9)


@given(starts)
def test_spectral_decay_is_a_bound_and_the_end_of_flow(start):
    times = [0, 1, 100, 20_000]
    _, _, after = flowed(start, 4, times)
    predicted = theory.diagonal_decay(*start, np.array(times, float))
    assert (after <= predicted * (1 + 1e-6) + 1e-9).all()
    assert after[-1] == pytest.approx(float(predicted[-1]), rel=0.01, abs=1e-9)


@given(admissible)
def test_squared_error_decays_at_its_rate_and_the_bound_of_the_theorem_holds(drawn):
    share, more, b = drawn
    v = share * b**0.5
    start = b + more * b / v, v, b
    rate = float(theory.diagonal_rate(*start))
    _, _, after = flowed(start, 2, [0, 6 / rate, 8 / rate])
    if after[0] > 1e-6:
        assert np.log(after[1] / after[2]) == pytest.approx(2, rel=0.03)
    assert float(theory.diagonal_end(*start)[0]) >= b**0.5 * (1 - 1e-9)


def test_many_starts_are_one_program_and_large_ones_find_their_root():
    draw = np.random.default_rng(0)
    w, v = draw.uniform(0, 30, (2, 50))
    both = theory.diagonal_end(w, -v, 0.1)
    each = jax.vmap(lambda a, c: theory.diagonal_end(a, c, 0.1))(w, v)
    alone = np.array([theory.diagonal_end(*one, 0.1) for one in zip(w[:5], v[:5], strict=True)]).T
    np.testing.assert_allclose(both, each, rtol=1e-12)
    np.testing.assert_allclose(np.stack(both)[:, :5], alone, rtol=1e-12)
    h, last = (np.asarray(one) for one in both)
    seen = v * (w - 0.1) > 0.1
    start = np.maximum(w - 0.1, 0)
    np.testing.assert_allclose(h**2 - 2 * last**2, start**2 - 2 * v**2, rtol=1e-6, atol=1e-6)
    ratio = (start + 2**0.5 * v) / (h + 2**0.5 * last)  # exp(r s)
    np.testing.assert_allclose((last * h)[seen], 0.1 + np.log(ratio[seen]) / 2**0.5, rtol=1e-6)


def test_a_coordinate_that_the_head_does_not_see_stays_dead():
    experiment = nonlinear_head.DIAGONAL.replace(first=0.2, second=0.3)
    run = cldyn.run(experiment, [0, 200], measure=nonlinear_head.NORMS)
    np.testing.assert_array_equal(run.records["feature_norms"], 0)
    np.testing.assert_allclose(run.records["pre_feature_norms"], 0.1, rtol=1e-12)


@given(st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 5))
def test_linear_head_is_the_least_norm_of_the_moments(seed, noise, p):
    draw = np.random.default_rng(seed)
    phi, keep = draw.uniform(0.3, 2, 4), draw.uniform(0.1, 1, 4)
    m, positive = np.diag(phi**2 + noise**2), np.diag((keep * phi) ** 2)
    root = np.diag(np.diag(m) ** -0.5)
    values, vectors = np.linalg.eigh(root @ positive @ root)
    kept = vectors[:, ::-1][:, :p]
    gram = root @ kept @ np.diag(values[::-1][:p]) @ kept.T @ root  # W^T W
    squares, turn = np.linalg.eigh(gram)
    below = turn @ np.diag(np.sqrt(np.maximum(squares, 0))) @ turn.T  # W_1^T W_1
    expected = np.sqrt([np.maximum(np.diag(one), 0) for one in (below, gram)])
    np.testing.assert_allclose(theory.linear_head(phi, keep, noise, p), expected, atol=1e-6)


@pytest.mark.parametrize("given_", [{"keep": 1.2}, {"noise": -1.0}, {"embed_dim": 0}])
def test_linear_head_refuses_what_makes_no_sense(given_):
    arguments = {"strength": np.ones(2), "keep": 0.5, "noise": 0.1, "embed_dim": 2} | given_
    with pytest.raises(ValueError, match=next(iter(given_))):
        theory.linear_head(**arguments)


def test_squared_error_of_the_claim_is_that_of_a_loop():
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(8, 3))
    label = np.array([1, 1, -1, 1])
    pairs = cldyn.losses.all_pairs(np.array([label == -1, label == 1]).astype(float), 2,
                                   cldyn.Supervised())  # fmt: skip
    expected = np.mean([
        (row[0] - label[i // 2]) ** 2 + (row[1:] ** 2).sum() for i, row in enumerate(embeddings)
    ])  # fmt: skip
    assert float(nonlinear_head.squared_error(embeddings, pairs)) == pytest.approx(expected)


def test_infonce_of_infinite_batches_is_least_at_its_predicted_limit():
    """Minus tr(W P W^T)/tau plus ln E exp(f.f'/tau), each direction by itself, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    tau = dimensional_collapse.TAU
    predicted = np.unique(dimensional_collapse.infinite_batches().round(12))
    for value, variance in zip(predicted, (1 + 1.5**2, 1.0), strict=True):

        def loss(square, variance=variance):
            spread = square * variance  # C of one direction
            scores = spread * np.outer(nodes, nodes) / tau
            return -square / tau + weights @ np.log(np.exp(scores) @ weights)

        grid = value * np.array([0.97, 1.0, 1.03])
        assert loss(grid[1]) < min(loss(grid[0]), loss(grid[2]))
