import jax
import numpy as np
import pytest

from cldyn import encoders


@pytest.mark.parametrize("bias", [True, False])
def test_linear_encoder_is_a_matrix_and_an_offset(bias):
    encoder = encoders.linear(3, bias)
    params = encoder.init(jax.random.key(0), 400, 0.1)
    assert params.shape == (3, 400 + bias)
    np.testing.assert_allclose(np.std(params), 0.1, rtol=0.1)
    x = np.random.default_rng(0).normal(size=(5, 2, 400))
    expected = np.einsum("nmd,pd->nmp", x, params[:, :400]) + (np.asarray(params)[:, 400] if bias else 0)
    np.testing.assert_allclose(encoder.apply(params, x), expected, atol=1e-12)
    np.testing.assert_array_equal(encoders.linear(2, bias).init(jax.random.key(0), 400, 0.1), params[:2])
