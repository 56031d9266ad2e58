import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import with_one

from cldyn import DeepLinear, Linear, Mlp, encoders

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("bias", [True, False])
def test_linear_encoder_is_a_matrix_and_an_offset(bias):
    encoder = Linear(3, 0.1, bias)
    params = encoder.init(jax.random.key(0), 400)
    w = np.array(params.first)
    assert w.shape == (3, 400 + bias) and params.head.shape[0] == 0
    np.testing.assert_allclose(np.std(w), 0.1, rtol=0.1)
    x = np.random.default_rng(0).normal(size=(5, 2, 400))
    expected = np.einsum("nmd,pd->nmp", x, w[:, :400]) + (w[:, 400] if bias else 0)
    np.testing.assert_allclose(encoder.apply(params, x), expected, atol=1e-12)


def test_the_start_may_be_told_over_the_root_of_the_input_dimension():
    plain, told = (Linear(3, 0.1, init_scale_unit=unit) for unit in ("absolute", "root_d"))
    plain, told = (np.array(one.init(jax.random.key(0), 400).first) for one in (plain, told))
    np.testing.assert_allclose(told, plain / 20, rtol=1e-6)


@pytest.mark.parametrize("kind", [Linear, DeepLinear])
def test_room_for_more_rows_changes_no_row_and_leaves_the_others_zero(kind):
    plain = kind(embed_dim=2, init_scale=0.3)
    wide, alone = (
        encoders.end_to_end(one.init(jax.random.key(7), 6))
        for one in (encoders.with_rows(plain, 5), plain)
    )
    np.testing.assert_array_equal(wide[2:], 0)
    np.testing.assert_allclose(wide[:2], alone, atol=1e-6)
    assert np.abs(alone).min() > 1e-4


def test_encoders_of_a_fixed_width_get_no_room():
    assert encoders.with_rows(Mlp(), 9) == Mlp()


@given(st.integers(0, 2**31 - 1), st.integers(0, 3))
def test_layers_are_multiplied_from_the_first_on(seed, above):
    rng = np.random.default_rng(seed)
    first, head, x = (
        rng.normal(size=(3, 5)),
        rng.normal(size=(above, 3, 3)),
        rng.normal(size=(2, 4)),
    )
    layers = encoders.Layers(jnp.array(first), jnp.array(head))
    product = np.linalg.multi_dot([*head[::-1], first]) if above else first
    np.testing.assert_allclose(encoders.end_to_end(layers), product, atol=1e-12)
    encoder = DeepLinear(embed_dim=3, depth=above + 1) if above else Linear(3)
    np.testing.assert_allclose(encoder.apply(layers, x), with_one(x) @ product.T, atol=1e-12)
