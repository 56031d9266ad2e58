"""What can be told of embeddings: norms, gaps, variances, ranks and distances."""

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


def variance_ratio(embeddings: Array, inner: Array, outer: Array) -> Array:
    """Variance between groups inside larger ones, over the variance within groups.

        R = sum_i |f_g(i) - f_G(i)|^2/sum_i |f_i - f_g(i)|^2,   g(i) inside G(i)

    Args:
        embeddings: f [N, p].
        inner: one-hot groups g [groups, N], a group may be empty.
        outer: those that they lie inside, G [larger groups, N]; one row of ones for no such.

    Returns:
        Scalar, whatever the rotation or scale of embeddings. Finite where nothing varies within
        groups, zero where nothing varies at all.

    Source: Fisher's ratio of traces inside every class; its inverse is the within-class variability
    of neural collapse (Papyan, Han and Donoho 2020) of subclasses.
    """
    means = [
        member.T @ (member @ embeddings / jnp.maximum(member.sum(axis=1, keepdims=True), 1))
        for member in (inner, outer)
    ]
    between, within = jnp.sum((means[0] - means[1]) ** 2), jnp.sum((embeddings - means[0]) ** 2)
    return jnp.where(between > 0, ratio(between, within), 0)


def ratio(above: Array, below: Array) -> Array:
    """above/below, finite where below is all but zero: only what diverges is infinite."""
    return jnp.minimum(above / below, jnp.finfo(above.dtype).max)


def _shares(embeddings: Array) -> Array:
    """Covariance [p, p] of embeddings over its trace; zero where nothing varies."""
    apart = embeddings - embeddings.mean(axis=0)
    covariance = apart.T @ apart
    return linalg.over(covariance, jnp.trace(covariance))


def participation_ratio(embeddings: Array) -> Array:
    """Number of dimensions that embeddings fill, by the spread of their variance.

        (tr C)^2/tr C^2,   C their covariance

    Args:
        embeddings: [N, p].

    Returns:
        Scalar in [1, p], at most exp of the entropy that is `effective_rank`; 1 of a constant.

    Source: Rajan, Abbott and Sompolinsky (2010).
    """
    square = jnp.sum(_shares(embeddings) ** 2)
    return jnp.where(square > 0, 1 / jnp.where(square > 0, square, 1), 1)


def uniformity(embeddings: Array) -> Array:
    """How evenly the directions of embeddings cover the sphere; the lower, the more.

        ln mean_(i != j) exp(-2 |u_i - u_j|^2),   u = f/|f|

    Args:
        embeddings: f [s, p]; the direction of zero is zero.

    Returns:
        Scalar in [-8, 0]; 0 of a single row.

    Source: Wang and Isola (2020), equation 3 with t = 2, over all pairs of rows but self-pairs.
    """
    unit = linalg.unit(embeddings)
    size, count = jnp.sum(unit**2, axis=1), unit.shape[0]

    def near(rows: Array, place: Array) -> Array:
        square = jnp.sum(rows**2, axis=1)[:, None] + size - 2 * rows @ unit.T
        others = place[:, None] != jnp.arange(count)
        return jnp.sum(jnp.where(others, jnp.exp(-2 * jnp.maximum(square, 0)), 0), axis=1)

    if count == 1:
        return jnp.zeros((), unit.dtype)
    return jnp.log(jnp.mean(linalg.by_blocks(near, count, unit, jnp.arange(count)) / (count - 1)))


def alignment(views: Array) -> Array:
    """Mean squared distance between the directions of two views of one example.

        mean_i mean_(a != b) |u_ia - u_ib|^2,   u = f/|f|

    Args:
        views: embeddings f [n, m, p], m >= 2; the direction of zero is zero.

    Returns:
        Scalar in [0, 4]; 0 where all views of an example are one.

    Source: Wang and Isola (2020), equation 2 with alpha = 2.
    """
    unit, m = linalg.unit(views), views.shape[1]
    apart = unit - unit.mean(axis=1, keepdims=True)
    return 2 * jnp.mean(jnp.sum(apart**2, axis=(1, 2))) / (m - 1)


def effective_rank(embeddings: Array) -> Array:
    """Effective number of dimensions that embeddings fill.

        exp(-sum_k q_k ln q_k),   q_k = s_k^2/sum s^2, s the singular values of centred embeddings

    Args:
        embeddings: [N, p].

    Returns:
        Scalar in [1, p]; 1 of a constant. Source: Roy and Vetterli (2007), of squared singular
        values.
    """
    share = jnp.maximum(linalg.eigenvalues(_shares(embeddings)), 0)
    share = linalg.over(share, jnp.sum(share))
    return jnp.exp(
        -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0))
    )
