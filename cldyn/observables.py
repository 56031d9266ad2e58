"""What can be told of embeddings: norms, gaps, variances, probes, ranks and distances."""

import jax.numpy as jnp
from jax import Array

from cldyn import linalg


def feature_norms(directions: Array) -> Array:
    """Norms of embedded directions.

        |W v_j|

    Args:
        directions: embeddings of the directions less that of the origin [..., K, p].

    Returns:
        [..., K]. Source: the alignment with a feature of Xue et al. (2023), per feature.
    """
    return jnp.linalg.norm(directions, axis=-1)


def gap(differences: Array) -> Array:
    """Root mean square distance between group means; the plain distance for two groups.

    Args:
        differences: `contrasts` of embeddings, or embeddings of the contrasts of inputs [...,
            pairs, p].

    Returns:
        [...]. NaN where there is one group alone. Source: derived here; 2 phi_j |W v_j| for a
        linear encoder.
    """
    return jnp.sqrt(jnp.mean(jnp.sum(differences**2, axis=-1), axis=-1))


def imbalance(gram: Array, head: Array) -> Array:
    """How far the layers of a deep linear encoder are from balance.

        max_l |W_(l+1)^T W_(l+1) - W_l W_l^T|_F/|W_1 W_1^T|_F

    Args:
        gram: W_1 W_1^T [p, p]. head: W_2 ... W_L [L - 1, p, p].

    Returns:
        Scalar; 0 for one layer, and for layers that are all zero.

    Source: the differences do not change in gradient flow (Arora, Cohen and Hazan 2018).
    """
    below = [gram, *(layer @ layer.T for layer in head[:-1])]
    apart = [
        jnp.linalg.norm(layer.T @ layer - under) for layer, under in zip(head, below, strict=False)
    ]
    return (
        jnp.max(jnp.stack(apart)) / jnp.maximum(jnp.linalg.norm(gram), jnp.finfo(gram.dtype).tiny)
        if apart
        else jnp.zeros((), gram.dtype)
    )


def gradient_balance(w: Array, second: Array, factor: Array) -> Array:
    """How much the part of the gradient that makes W grow outweighs the one that stops it.

        |W P|_F/|W M W^T W M|_F,   M = diag(second), P = C^T C

    Args:
        w: W in the frame [p, r].
        second: M [r].
        factor: C [q, r].

    Returns:
        Scalar, of order 1/|W|^2 while W is small; 1 where the gradient is zero.

    Source: Xue et al. (2023), figure 6.
    """
    weighted = w * second
    grows, stops = (w @ factor.T) @ factor, (weighted @ w.T) @ weighted
    return jnp.linalg.norm(grows) / jnp.linalg.norm(stops)


def gram_distance(w: Array, limit: Array) -> Array:
    """Relative distance between two encoders up to rotations of the embedding.

        |w^T w - l^T l|_F / |l^T l|_F

    Args:
        w: [p, r].
        limit: l [p, r], not zero.

    Returns:
        Scalar, with relative precision far below that of w^T w itself.

    Source: derived here. Let o be the rotation that carries l nearest to w: the polar factor of l
    w^T, by Newton-Schulz iteration (Higham 2008), D = w - o^T l and S = w + o^T l. Then for any o

        w^T w - l^T l = (D^T S + S^T D)/2 + l^T (o o^T - 1) l

    and near the limit every term is small by itself: no squares cancel. Its norm needs only the
    Gram matrix of the rows of D, S and l. Only matrix products occur, since LAPACK calls inside
    lanes can block each other's threads on CPU.
    """
    p = w.shape[0]
    o = linalg.polar(limit @ w.T, 40)
    turned = o.T @ limit
    rows = jnp.concatenate([w - turned, w + turned, limit])
    half, none = jnp.eye(p, dtype=w.dtype) / 2, jnp.zeros((p, p), w.dtype)
    kernel = jnp.block([[none, half, none], [half, none, none], [none, none, o @ o.T - 2 * half]])
    product = kernel @ (rows @ rows.T)
    return jnp.sqrt(jnp.maximum(jnp.sum(product * product.T), 0)) / jnp.linalg.norm(limit @ limit.T)


def within_variance(embeddings: Array, member: Array) -> Array:
    """Mean squared distance to the mean of one's group.

        sum_g sum_{i in g} |f_i - f_g|^2/N

    Args:
        embeddings: [N, p].
        member: one-hot groups [groups, N]; a group may be empty.

    Returns:
        Scalar. Source: the within-class variability of neural collapse (Papyan, Han and Donoho
        2020), not normalized.
    """
    count = member.sum(axis=1, keepdims=True)
    centres = member @ embeddings / jnp.maximum(count, 1)
    return jnp.mean(jnp.sum((embeddings - member.T @ centres) ** 2, axis=1))


def probe_accuracy(train: Array, train_member: Array, test: Array, test_member: Array) -> Array:
    """Share of test rows whose group a linear probe tells.

        A, b = argmin mean |A f + b - group|^2 + 1e-6 v |A|^2,   argmax (A f + b)

    v is the mean variance of the coordinates that vary.

    Args:
        train: embeddings the probe is fitted on [N, p].
        train_member: their groups, one-hot [groups, N].
        test: embeddings it is scored on [s, p].
        test_member: their groups [groups, s].

    Returns:
        Scalar in [0, 1]; groups that tie share a row, so that a constant tells nothing.

    Source: the linear evaluation of Xue et al. (2023), by least squares.
    """
    centre, level = train.mean(axis=0), train_member.mean(axis=1)
    apart = train - centre
    covariance = apart.T @ apart / train.shape[0]
    variance = jnp.diag(covariance)
    ridge = 1e-6 * jnp.sum(variance) / jnp.maximum(jnp.sum(variance > 0), 1)
    ridge = jnp.where(ridge > 0, ridge, 1)
    right = apart.T @ (train_member.T - level) / train.shape[0]
    slope = linalg.solve(covariance + ridge * jnp.eye(variance.size, dtype=train.dtype), right)
    score = (test - centre) @ slope + level
    best = score == score.max(axis=1, keepdims=True)
    return jnp.mean(jnp.sum(best * test_member.T, axis=1) / jnp.sum(best, axis=1))


def effective_rank(embeddings: Array) -> Array:
    """Effective number of dimensions that embeddings fill.

        exp(-sum_k q_k ln q_k),   q_k = s_k^2/sum s^2, s the singular values of centred embeddings

    Args:
        embeddings: [N, p].

    Returns:
        Scalar in [1, p]. Source: Roy and Vetterli (2007), of squared singular values.
    """
    apart = embeddings - embeddings.mean(axis=0)
    share = linalg.eigenvalues(apart.T @ apart)
    share = jnp.maximum(share, 0) / jnp.sum(share)
    return jnp.exp(
        -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0))
    )
