"""Contrastive losses: functions of embeddings and pair weights, and the spectral loss of a linear encoder in closed form."""

from typing import Literal

import jax.numpy as jnp
from jax import Array


def spectral(embeddings: Array, positive: Array, negative: Array) -> Array:
    """Spectral contrastive loss.

        L = -2 sum_ij positive_ij f_i.f_j + sum_ij negative_ij (f_i.f_j)^2

    Args:
        embeddings: [N, p]. positive, negative: pair weights [N, N], self-pairs included.

    Returns:
        Scalar.

    Source: HaoChen, Wei, Gaidon and Ma (2021), unclipped, at scale 1, with free pair weights.
    """
    similarity = embeddings @ embeddings.T
    return -2 * jnp.sum(positive * similarity) + jnp.sum(negative * similarity**2)


def pair_weights(label: Array, m: int, loss: Literal["scl", "ucl", "joint"], beta: float | Array = 0.5) -> tuple[Array, Array]:
    """Weights of the V-statistic over all pairs of the N = n m rows, a row with itself included.

        positive_ij = 1[c_i = c_j]/(n n_c m^2) (scl), 1[same example]/(n m^2) (ucl), beta scl + (1 - beta) ucl (joint)
        negative_ij = 1/N^2

    Args:
        label: class of every example [n]. m: views of each; rows are ordered by example. beta: weight of scl in joint.

    Returns:
        positive, negative [N, N].

    Source: supervised and unsupervised positives of Xue et al. (2023); the V-statistic is this project's convention.
    """
    n = label.shape[0]
    same_class = (label[:, None] == label[None]).astype(jnp.result_type(float))
    by_class = same_class / (n * jnp.sum(same_class, axis=1))
    by_example = jnp.eye(n, dtype=same_class.dtype) / n
    share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
    positive = jnp.kron(share * by_class + (1 - share) * by_example, jnp.full((m, m), 1 / m**2, same_class.dtype))
    return positive, jnp.full((n * m, n * m), 1 / (n * m) ** 2, same_class.dtype)


def spectral_in_frame(w: Array, second: Array, factor: Array) -> Array:
    """Spectral loss of a linear encoder from its moments.

        L(w) = -2 |w C^T|^2 + |w M w^T|^2,   M = diag(second), P = C^T C

    Args:
        w: encoder in the frame [p, r]. second: [r]. factor: C [q, r].

    Returns:
        Scalar.

    Source: derived here. With f = W x both sums of `spectral` are moments: E f.f+ = tr W P W^T and, since the two
    negatives are independent, E (f.f-)^2 = |W M W^T|^2.
    """
    return -2 * jnp.sum((w @ factor.T) ** 2) + jnp.sum(((w * second) @ w.T) ** 2)


def spectral_gradient(w: Array, second: Array, factor: Array) -> Array:
    """Gradient of `spectral_in_frame`: 4 ((w M w^T) w M - (w C^T) C).

    Args and source: as there. Returns: [p, r].
    """
    weighted = w * second
    return 4 * ((weighted @ w.T) @ weighted - (w @ factor.T) @ factor)


def spectral_of_batch(
    embeddings: Array, member: Array, within: Array, different: Array | float, same: Array | float, share: Array | float
) -> Array:
    """Spectral loss of a batch of b units with m views each, an unbiased estimate of that of the units it was drawn from.

        L = -2 (share S + (1 - share) U) + R,   w_ab = different where a != b, same where a = b
        S = sum_ab w_ab sum_c member_ca member_cb E f_au.f_bv,   R = sum_ab w_ab E (f_au.f_bv)^2,   U = (1/b) sum_a E f_au.f_av

    E averages over views u, v: over all pairs for a != b, with weights `within` for a = b.

    Args:
        embeddings: [b, m, p]. member: [classes, b], sqrt(n/n_c) for the units of a class, with its share n_c/n among all units, else 0.
        within: [m, m], 1/m^2 where m stored views are all there is, 1/(m (m - 1)) off the diagonal where views are a sample.
        different, same: weights of two units and of a unit with itself: their inverse inclusion probabilities over n^2.
        share: beta of joint, 1 for scl, 0 for ucl.

    Returns:
        Scalar.

    Source: derived here, after Horvitz and Thompson (1952): a term over its inclusion probability is unbiased. Written with sums over
    units, not pairs, it costs b (p^2 + m^2 p).
    """
    m = embeddings.shape[1]
    flat = embeddings.reshape(-1, embeddings.shape[2])
    gram = jnp.einsum("aup,avp->auv", embeddings, embeddings)
    alone = jnp.sum(within * gram, axis=(1, 2))
    mean = embeddings.mean(axis=1)
    classes, weight = member @ mean, jnp.sum(member**2, axis=0)
    supervised = different * (jnp.sum(classes**2) - weight @ jnp.sum(mean**2, axis=1)) + same * (weight @ alone)
    negative = different * (jnp.sum((flat.T @ flat) ** 2) - jnp.sum(gram**2)) / m**2 + same * jnp.sum(within * gram**2)
    return -2 * (share * supervised + (1 - share) * jnp.mean(alone)) + negative
