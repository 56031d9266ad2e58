"""Independent oracles: what several test files hold the package against, from definitions alone.

Loops over pairs, enumerations and autodiff on raw inputs, in float64. Of the package only data are
taken (`cldyn.sample`), never a formula.
"""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
import scipy.spatial

import cldyn
from cldyn import (
    Basis,
    FeatureModel,
    Gaussian,
    Joint,
    OneHot,
    Perturbed,
    Supervised,
    Unsupervised,
)

POSITIVES = (Supervised(), Unsupervised(), Joint(0.3))

# A small experiment in which no two numbers are equal.
MODEL = FeatureModel(
    d=40,
    class_strength=1.1,
    subclass_strength=0.9,
    irrelevant_strength=(1.5,),
    subclass_mean=0.7,
    class_keep=0.8,
    noise=Gaussian(1.0, 0.3),
)
SMALL = cldyn.Experiment(
    cldyn.Stored(MODEL, n=8),
    cldyn.Training(cldyn.Linear(init_scale=1e-2), optimizer=cldyn.Gd(learning_rate=0.02)),
    "float64",
)


def share_of(positives):
    """What part of the positive pairs is supervised."""
    return {Supervised: 1.0, Unsupervised: 0.0}.get(type(positives), getattr(positives, "beta", 0))


def one_hot(code):
    """Groups in ascending order, one-hot [groups, n]."""
    return (np.unique(code)[:, None] == np.asarray(code)[None]).astype(float)


def with_one(x, bias=True):
    """Inputs [..., d] with a 1 appended if there is a bias [..., D]."""
    x = np.asarray(x, float)
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1) if bias else x


# --- pairs -----------------------------------------------------------------------------------


def pair_weights(label, m, positives):
    """Positive and negative weights [N, N] of all ordered pairs of N = n m rows, self-pairs too."""
    label, n = np.asarray(label), len(label)
    positive, negative = np.zeros((n * m, n * m)), np.full((n * m, n * m), 1 / (n * m) ** 2)
    for i, j in product(range(n * m), repeat=2):
        same_class = (label[i // m] == label[j // m]) / (n * (label == label[i // m]).sum() * m**2)
        same_example = (i // m == j // m) / (n * m**2)
        share = share_of(positives)
        positive[i, j] = share * same_class + (1 - share) * same_example
    return positive, negative


def batch_weights(member, within, different, same, positives):
    """`pair_weights` of a batch of b units with inverse inclusion weights, pair by pair.

    member [classes, b]: sqrt(n/n_c). within [m, m]. different, same: weights of two units, and of
    one with itself. An unsupervised pair is a function of one unit, whose mean over the b it is.
    """
    b, m, share = member.shape[1], len(within), share_of(positives)
    positive, negative = np.zeros((b * m, b * m)), np.zeros((b * m, b * m))
    for a, c, u, v in product(range(b), range(b), range(m), range(m)):
        weight = different / m**2 if a != c else same * within[u, v]
        supervised = weight * sum(member[:, a] * member[:, c])
        unsupervised = (a == c) * within[u, v] / b
        positive[a * m + u, c * m + v] = share * supervised + (1 - share) * unsupervised
        negative[a * m + u, c * m + v] = weight
    return positive, negative


def pair_loss(f, positive, negative):
    """The spectral loss of embeddings [N, p], pair by pair."""
    total = 0.0
    for i, j in product(range(len(f)), repeat=2):
        dot = np.dot(f[i], f[j])
        total += -2 * positive[i, j] * dot + negative[i, j] * dot**2
    return total


def info_nce(f, label, m, share, temperature, dot=False, across=False):
    """InfoNCE of embeddings [N, p] of units with these labels and m views each, pair by pair.

    share: of supervised pairs. across: whether rows of one view are not compared. An analytic
    function of f, so that an imaginary step differentiates it.
    """
    length, parts = [1.0 if dot else np.sqrt(np.dot(row, row)) or 1.0 for row in f], []
    for kind in (np.repeat(label, m), np.repeat(range(len(label)), m)):
        rows = []
        for i in range(len(f)):
            others = [k for k in range(len(f)) if (k % m != i % m if across else k != i)]
            score = {k: np.dot(f[i], f[k]) / (length[i] * length[k] * temperature) for k in others}
            top = max(one.real for one in score.values())
            below = top + np.log(sum(np.exp(one - top) for one in score.values()))
            mates = [below - score[k] for k in others if kind[k] == kind[i]]
            rows += [sum(mates) / len(mates)] if mates else []
        parts.append(sum(rows) / max(len(rows), 1))
    return share * parts[0] + (1 - share) * parts[1]


# --- moments ---------------------------------------------------------------------------------


def looped_moments(x, label, positives):
    """M and P [D, D] of views x [n, m, D] over every ordered pair of rows, self-pairs included."""
    x, label = np.asarray(x, float), np.asarray(label)
    n, m, wide = x.shape
    second, supervised, unsupervised = (np.zeros((wide, wide)) for _ in range(3))
    for i, a, j, b in product(range(n), range(m), range(n), range(m)):
        pair = np.outer(x[i, a], x[j, b])
        if i == j:
            unsupervised += pair / (n * m**2)
            second += pair / (n * m) * (a == b)
        if label[i] == label[j]:
            supervised += pair / (n * (label == label[i]).sum() * m**2)
    share = share_of(positives)
    return second, share * supervised + (1 - share) * unsupervised


def originals_of(model):
    """Signs [originals, K] of all originals there are, equally likely; noise left aside."""
    count = model.features - 2
    irrelevant = list(product((-1, 1), repeat=count)) if model.irrelevant == "dense" else None
    irrelevant = irrelevant or [sign * row for sign in (-1, 1) for row in np.eye(count)]
    return np.array([[y, s, *rest] for y in (-1, 1) for s in (-1, 1) for rest in irrelevant])


def model_numbers(model):
    """Strengths, means and keep probabilities [K] of a model, as numpy."""
    count = model.features - 2

    def of(pair, rest, default):
        rest = rest or (default,)
        return np.array([*pair, *(rest * count if len(rest) < count else rest)[:count]], float)

    strength = of((model.class_strength, model.subclass_strength), model.irrelevant_strength, 0.0)
    mean = of((model.class_mean, model.subclass_mean), model.irrelevant_mean, 0.0)
    return strength, mean, of((model.class_keep, model.subclass_keep), model.irrelevant_keep, 1.0)


def enumerated_moments(model, positives, bias):
    """M and P [D, D] by enumeration of all originals, whose views are independent.

    Gaussian parts, which cannot be enumerated, are added as variances.
    """
    phi, mu, keep = model_numbers(model)
    codes, noise, first = originals_of(model), model.noise, 0
    places, seen = np.zeros((1, model.d)), np.zeros((1, model.d))  # noise, and its mean over views
    fresh, kept = np.zeros(model.d + bias), np.zeros(model.d + bias)
    fresh[:2] = model.class_change**2, model.subclass_change**2
    if isinstance(noise, OneHot):
        places = noise.noise_length * np.eye(model.d)
        seen = places if isinstance(noise, Perturbed) else np.tile(places.mean(0), (model.d, 1))
        rank = getattr(noise, "change_rank", 0)
        if rank:
            fresh[model.d - rank : model.d] += noise.change_length**2 / rank
    else:
        first = model.features
        share = noise.noise_keep ** (1 if isinstance(noise, Gaussian) else 2)
        variance = noise.noise_length**2 / (model.d - first)
        fresh[first : model.d] = (1 - share) * variance
        kept[first : model.d] = share * variance

    def rows(z, beside):
        features = np.pad(z, ((0, 0), (0, model.d - model.features)))
        return with_one((features[:, None] + beside).reshape(-1, model.d), bias)

    full, expected = rows(mu + phi * codes, places), rows(mu + phi * keep * codes, seen)
    label = np.repeat(codes[:, 0], len(places))
    centres = np.array([expected[label == y].mean(axis=0) for y in (-1, 1)])
    unsupervised = expected.T @ expected / len(expected) + np.diag(kept)
    share = share_of(positives)
    positive = share * centres.T @ centres / 2 + (1 - share) * unsupervised
    return full.T @ full / len(full) + np.diag(fresh + kept), positive


def random_model(seed, with_means=True):
    """A feature model with two irrelevant features, every number random; kinds take turns."""
    rng = np.random.default_rng(seed)
    strengths, keeps = rng.uniform(0.4, 2, 4), rng.uniform(0.3, 1, 4)
    means, sparse = rng.uniform(-1, 1, 4) * with_means, seed % 3 == 2
    noise = (Gaussian, Basis)[seed % 2](rng.uniform(0.2, 2), rng.uniform(0, 1))
    changes = rng.uniform(0, 1, 2)
    return FeatureModel(
        9,
        *strengths[:2],
        tuple(strengths[2:]),
        *means[:2],
        () if sparse else tuple(means[2:]),
        *keeps[:2],
        tuple(keeps[2:3]) * 2 if sparse else tuple(keeps[2:]),
        *changes,
        "sparse" if sparse else "dense",
        noise=noise,
    )


def paper_model(seed):
    """A random model with the paper's noise, on all directions; its irrelevant features may be own
    ones.
    """
    rng, model = np.random.default_rng(seed), random_model(seed)
    noise = (OneHot(rng.uniform(0.2, 2)), Perturbed(*rng.uniform(0.2, 2, 2), int(rng.integers(4))))
    if seed % 3 == 2:
        one = {"irrelevant_strength": (1.3,), "irrelevant_keep": (rng.uniform(),)}
        model = replace(model, irrelevant="own", own_count=3, **one)
    return replace(model, noise=noise[seed % 2])


def random_moments(seed, d=5, n=6, m=3):
    """M and P of unsupervised pairs [d, d] of a random sample, of full rank."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, d)) * rng.uniform(0.3, 2, d) + 0.7 * rng.normal(size=(n, m, d))
    rows, means = x.reshape(-1, d), x.mean(axis=1)
    return rows.T @ rows / len(rows), means.T @ means / n


def dense_agreements(second, positive):
    """Eigenvalues of M^{-1/2} P M^{-1/2}, descending; M of full rank."""
    return scipy.linalg.eigh(positive, second, eigvals_only=True)[::-1]


def objective(w, second, positive, decay=0.0):
    """-2 tr(W P W^T) + |W M W^T|^2 + decay |W|^2, which JAX can differentiate."""
    quartic = jnp.sum((w @ second @ w.T) ** 2)
    return -2 * jnp.trace(w @ positive @ w.T) + quartic + decay * jnp.sum(w**2)


# --- training on raw inputs ------------------------------------------------------------------


def stored_views(experiment):
    """Views x [n, m, d] and classes [n] of an experiment on stored rows or on one's own arrays."""
    problem = experiment.problem
    if not hasattr(problem, "model"):
        return np.asarray(problem.x, float), np.asarray(problem.label)
    key = jax.random.key(problem.data_seed)
    drawn = cldyn.sample(key, problem.model, problem.n, problem.m, balanced=problem.balanced)
    return np.asarray(drawn.x, float), np.asarray(drawn.label)


def raw_loss(experiment):
    """The spectral loss of a matrix W [p, D] on the raw rows, by pair weights; no weight decay."""
    x, label = stored_views(experiment)
    rows = with_one(x, experiment.training.encoder.bias).reshape(-1, x.shape[2] + _bias(experiment))
    positive, negative = pair_weights(label, x.shape[1], experiment.training.positives)

    def loss(w):
        gram = (rows @ w.T) @ (rows @ w.T).T
        return jnp.sum(negative * gram**2) - 2 * jnp.sum(positive * gram)

    return loss


def _bias(experiment):
    return int(experiment.training.encoder.bias)


def raw_start(experiment):
    """Layers W_1 ... W_L at the start; the balanced ones of a deep encoder by scipy's polar."""
    encoder = experiment.training.encoder
    shape = encoder.embed_dim, experiment.problem.shape[2] + _bias(experiment)
    key = jax.random.key(experiment.training.seed)
    draw = np.asarray(jax.random.normal(key, shape, jnp.float32), float)
    if encoder.depth == 1:
        return [encoder.init_scale * draw]
    rows, _ = scipy.linalg.polar(draw)
    return [encoder.init_scale * one for one in (rows, *[rows @ rows.T] * (encoder.depth - 1))]


def multiplied(layers):
    """W_L ... W_1."""
    w = layers[0]
    for layer in layers[1:]:
        w = layer @ w
    return w


def raw_layers(experiment, steps, optimizer=None, penalty=True):
    """Layers after training on raw inputs by autodiff of the pair-weighted loss, float64.

    Args:
        experiment: linear or deep linear encoder, spectral loss, full batch, stored rows.
        steps: number of steps.
        optimizer: an optax transformation; by default that of gradient descent or heavy ball with
            the numbers of the experiment.
        penalty: whether weight_decay |W|^2 is part of the loss.
    """
    training, loss = experiment.training, raw_loss(experiment)
    if optimizer is None:
        heavy = getattr(training.optimizer, "momentum", None)
        optimizer = optax.sgd(training.optimizer.learning_rate, heavy)
    decay = training.weight_decay if penalty else 0.0

    def whole(layers):
        return loss(multiplied(layers)) + decay * sum(jnp.sum(layer**2) for layer in layers)

    def step(carry, _):
        layers, state = carry
        updates, state = optimizer.update(jax.grad(whole)(layers), state, layers)
        return (optax.apply_updates(layers, updates), state), None

    @jax.jit
    def train(layers):
        return jax.lax.scan(step, (layers, optimizer.init(layers)), None, length=steps)[0][0]

    return [np.asarray(layer) for layer in train([jnp.asarray(w) for w in raw_start(experiment)])]


def raw_training(experiment, steps, optimizer=None, penalty=True):
    """W [p, D] after training on raw inputs; args as `raw_layers`."""
    return multiplied(raw_layers(experiment, steps, optimizer, penalty))


# --- what embeddings tell --------------------------------------------------------------------


def group_means(f, code):
    """Means of the groups of rows, in ascending order of code [groups, p]."""
    return np.array([f[np.asarray(code) == group].mean(axis=0) for group in np.unique(code)])


def mean_gap(f, code):
    """Root mean square distance between the means of every two groups."""
    centres = group_means(f, code)
    pairs = [(i, j) for i in range(len(centres)) for j in range(i)]
    return np.sqrt(np.mean([np.sum((centres[i] - centres[j]) ** 2) for i, j in pairs]))


def variance_within(f, code):
    """Mean squared distance of rows to the mean of their group."""
    centre = dict(zip(np.unique(code), group_means(f, code), strict=True))
    return np.mean([np.sum((x - centre[c]) ** 2) for x, c in zip(f, np.asarray(code), strict=True)])


def knn(train, code, test, test_code, k=10):
    """Accuracy of the k nearest by cosine, row by row, without ties at the last place."""
    groups, right = np.unique(code), 0.0
    length = np.linalg.norm(train, axis=1)
    for row, own in zip(test, np.asarray(test_code), strict=True):
        nearest = np.argsort(-(train @ row) / length)[:k]
        votes = np.array([np.sum(np.asarray(code)[nearest] == group) for group in groups])
        best = groups[votes == votes.max()]
        right += (own in best) / len(best)
    return right / len(test)


def nearest_mean(train, code, test, test_code):
    """Accuracy of the nearest of the group means."""
    groups, means = np.unique(code), group_means(train, code)
    apart = np.linalg.norm(test[:, None] - means, axis=2)
    return np.mean(groups[apart.argmin(axis=1)] == np.asarray(test_code))


def ratio_inside(f, inner, outer):
    """Variance between groups inside larger ones over that within groups, row by row."""
    between = within = 0.0
    for row, one, other in zip(f, inner, outer, strict=True):
        mean = f[np.asarray(inner) == one].mean(axis=0)
        between += np.sum((mean - f[np.asarray(outer) == other].mean(axis=0)) ** 2)
        within += np.sum((row - mean) ** 2)
    return between / within


def participation(f):
    """(sum of eigenvalues)^2 over the sum of their squares."""
    values = np.linalg.eigvalsh(np.cov(f.T, bias=True).reshape(f.shape[1], -1))
    return values.sum() ** 2 / np.sum(values**2)


def potential(f):
    """ln mean exp(-2 |u - v|^2) over pairs of directions."""
    return np.log(np.mean(np.exp(-2 * scipy.spatial.distance.pdist(directions(f)) ** 2)))


def misalignment(views):
    """Mean |u - v|^2 over pairs of directions of views [n, m, p] of one example."""
    return np.mean([scipy.spatial.distance.pdist(directions(f)) ** 2 for f in views])


def directions(f):
    return f / np.linalg.norm(f, axis=1, keepdims=True)


def probe(train, code, test, test_code, ridge=1e-6):
    """Accuracy of a least-squares probe with intercept: numpy's lstsq on rows with ridge rows.

    Ridge in units of the mean variance of the coordinates, all of which are to vary.
    """
    groups, target = np.unique(code), one_hot(code).T
    centre, p = train.mean(axis=0), train.shape[1]
    ridge = np.sqrt(ridge * np.mean(np.var(train, axis=0)) * len(train))
    rows = np.concatenate([train - centre, ridge * np.eye(p)])
    wanted = np.concatenate([target - target.mean(axis=0), np.zeros((p, len(groups)))])
    slope = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    score = (test - centre) @ slope + target.mean(axis=0)
    return np.mean(groups[score.argmax(axis=1)] == np.asarray(test_code))


def entropy_rank(f):
    """exp of the entropy of the shares of squared singular values of the centred rows."""
    values = np.linalg.svd(f - f.mean(axis=0), compute_uv=False) ** 2
    share = values[values > 0] / values.sum()
    return np.exp(-np.sum(share * np.log(share)))
