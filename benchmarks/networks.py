"""Networks on images: cldyn beside PyTorch, torch.func.vmap and plain JAX.

N1: RandBit on 1200 digits of scikit-learn with 8 bits, batches of 256, two views each (crops of
30-100 % of the area, a quarter of the pixels dropped), a perceptron 72 -> 128 -> 16, InfoNCE of
cosines across views at four temperatures and four seeds, Adam; 1 and 16 trajectories. Everyone
draws its own batches and views when timed; before, cldyn, plain JAX and the PyTorch loop train on
the same, and their losses are compared. Plain JAX and the PyTorch loop train one trajectory after
the other.

Convolutions: three of 3 x 3 and stride 2 (32, 64, 64 channels) and a dense layer of 128, the same
loss and optimizer, on two stored views of 1024 images of 8 x 8 and of 28 x 28; four temperatures.
"""

import os
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import agree, compare, parser

import cldyn
from cldyn.data import images
from cldyn.sources import Digits

STEPS, LONGER, CHECKED = 200, 4, 20
CHANNELS, IMAGES = (32, 64, 64), 1024
B, BITS, HIDDEN, P, RATE = 256, 8, 128, 16, 1e-3
TEMPERATURES, SEEDS = (0.1, 0.2, 0.5, 1.0), 4


def inputs():
    """Digits with their bits [1200, 72], float32."""
    x = images.load("digits")[0].x.reshape(-1, 64).astype(np.float32)
    bits = np.random.default_rng(0).integers(0, 2, (len(x), BITS)) - 0.5
    return np.concatenate([x, bits], axis=1).astype(np.float32)


def starts(count):
    """W_1, b_1, W_2, b_2 of every trajectory."""
    rng = np.random.default_rng(1)
    shapes = ((64 + BITS, HIDDEN), (HIDDEN,), (HIDDEN, P), (P,))
    made = []
    for shape in shapes:
        scale = (2 / shape[0]) ** 0.5 if len(shape) == 2 else 0
        made.append((scale * rng.standard_normal((count, *shape))).astype(np.float32))
    return made


# --- plain JAX -------------------------------------------------------------------------------


def views_jax(key, rows):
    """A view of each row [b, 72]."""
    one, two, three = jax.random.split(key, 3)
    area, place = jax.random.uniform(one, (len(rows),)), jax.random.uniform(two, (2, len(rows)))
    length = 8 * jnp.sqrt(0.3 + 0.7 * area)
    at = (jnp.arange(8) + 0.5) / 8

    def hat(start):
        x = jnp.clip(start[:, None] + at * length[:, None] - 0.5, 0, 7)
        return jnp.maximum(0, 1 - jnp.abs(x[:, :, None] - jnp.arange(8)))

    top, left = place * (8 - length)
    picture = hat(top) @ rows[:, :64].reshape(-1, 8, 8) @ hat(left).mT
    kept = jax.random.bernoulli(three, 0.75, picture.shape)
    return jnp.concatenate([(kept * picture).reshape(-1, 64), rows[:, 64:]], axis=1)


def loss_jax(params, first, second, temperature):
    """InfoNCE across views, both directions."""

    def embed(x):
        f = jax.nn.relu(x @ params[0] + params[1]) @ params[2] + params[3]
        return f / jnp.linalg.norm(f, axis=1, keepdims=True)

    scores = embed(first) @ embed(second).T / temperature
    right = jnp.arange(len(scores))
    one = optax.softmax_cross_entropy_with_integer_labels(scores, right)
    return (one + optax.softmax_cross_entropy_with_integer_labels(scores.T, right)).mean() / 2


@partial(jax.jit, static_argnames=("steps",))
def by_jax(x, start, temperature, key, steps, given=None):
    """One trajectory: jit of scan."""
    optimizer = optax.adam(RATE)

    def step(state, t):
        params, memory = state
        if given is None:
            key_t = jax.random.fold_in(key, t)
            chosen = jax.random.choice(key_t, len(x), (B,), replace=False)
            one, two = (views_jax(k, x[chosen]) for k in jax.random.split(key_t))
        else:
            one, two = given[0][t], given[1][t]
        loss, grads = jax.value_and_grad(loss_jax)(params, one, two, temperature)
        updates, memory = optimizer.update(grads, memory)
        return (optax.apply_updates(params, updates), memory), loss

    return jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(steps))[1]


# --- PyTorch ---------------------------------------------------------------------------------


def views_torch(torch, rows):
    """A view of each row [b, 72]."""
    count = len(rows)
    length = 8 * torch.sqrt(0.3 + 0.7 * torch.rand(count))
    at, pixel = (torch.arange(8) + 0.5) / 8, torch.arange(8)

    def hat(start):
        x = (start[:, None] + at * length[:, None] - 0.5).clamp(0, 7)
        return (1 - (x[:, :, None] - pixel).abs()).clamp(min=0)

    top, left = torch.rand(2, count) * (8 - length)
    picture = hat(top) @ rows[:, :64].reshape(-1, 8, 8) @ hat(left).mT
    picture = picture * (torch.rand(picture.shape) < 0.75)
    return torch.cat([picture.reshape(-1, 64), rows[:, 64:]], dim=1)


def loss_torch(torch, params, first, second, temperature):
    """InfoNCE across views, both directions."""
    F = torch.nn.functional

    def embed(x):
        return F.normalize(torch.relu(x @ params[0] + params[1]) @ params[2] + params[3], dim=1)

    scores, right = embed(first) @ embed(second).T / temperature, torch.arange(len(first))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


def by_torch(torch, x, start, temperatures, steps, given=None):
    """Autograd, a loop over trajectories."""
    out = []
    for i, temperature in enumerate(temperatures):
        params = [torch.tensor(one[i], requires_grad=True) for one in start]
        optimizer, losses = torch.optim.Adam(params, RATE), []
        for t in range(steps):
            if given is None:
                rows = x[torch.randperm(len(x))[:B]]
                one, two = views_torch(torch, rows), views_torch(torch, rows)
            else:
                one, two = given[0][t], given[1][t]
            loss = loss_torch(torch, params, one, two, temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        out.append([float(loss) for loss in losses])
    return np.array(out)


def by_func(torch, x, start, temperatures, steps):
    """torch.func.vmap over all trajectories, which share batches and views."""
    params = [torch.tensor(one, requires_grad=True) for one in start]
    temperatures = torch.tensor(temperatures)
    optimizer = torch.optim.Adam(params, RATE)
    slope = torch.func.grad(lambda *given: loss_torch(torch, *given))
    slopes = torch.func.vmap(slope, in_dims=(0, None, None, 0))
    for _ in range(steps):
        rows = x[torch.randperm(len(x))[:B]]
        one, two = views_torch(torch, rows), views_torch(torch, rows)
        for param, grad in zip(params, slopes(params, one, two, temperatures), strict=True):
            param.grad = grad
        optimizer.step()
    return params


def network_torch(torch, side):
    """Convolutions as `cldyn.Conv` has them."""
    nn, width = torch.nn, (side + 7) // 8
    layers, before = [], 1
    for channels in CHANNELS:
        layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.ReLU()]
        before = channels
    dense = nn.Linear(before * width**2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, P)
    return nn.Sequential(*layers, nn.Flatten(), *dense).to(memory_format=torch.channels_last)


def convolved_torch(torch, x, side, temperatures, steps):
    """Autograd, a loop over trajectories. x: [n, 2, side^2]."""
    F = torch.nn.functional
    for temperature in temperatures:
        network = network_torch(torch, side)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        for _ in range(steps):
            rows = x[torch.randperm(len(x))[:B]].transpose(0, 1).reshape(-1, 1, side, side)
            z = F.normalize(network(rows.contiguous(memory_format=torch.channels_last)), dim=1)
            scores, right = z[:B] @ z[B:].T / temperature, torch.arange(B)
            loss = (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return 0


# --- cldyn -----------------------------------------------------------------------------------

EXPERIMENT = cldyn.Experiment(
    Digits(bits=BITS, most_bits=BITS),
    cldyn.Training(
        cldyn.Mlp(HIDDEN, P),
        cldyn.InfoNce(negatives="cross_view"),
        cldyn.Unsupervised(),
        cldyn.Adam(RATE),
        cldyn.Subset(B),
    ),
)


def by_cldyn(seeds, temperatures, record_at):
    """A sweep, preparation included."""
    axes = [{"seed": range(seeds)}, {"temperature": temperatures}]
    return cldyn.sweep(EXPERIMENT, axes, record_at, measure=("uniformity",), progress=False)


def checked(torch, x):
    """Whether peers and cldyn's encoder and loss train alike on the same views."""
    start, key = starts(1), jax.random.key(0)
    keys = jax.random.split(key, (CHECKED, 2))
    given = [np.stack([views_jax(k, x[:B]) for k in keys[:, view]]) for view in (0, 1)]
    first = [one[0] for one in start]
    ours = []
    encoder, loss = EXPERIMENT.training.encoder, cldyn.InfoNce(0.5, negatives="cross_view")
    shape = jax.eval_shape(lambda: encoder.init(key, x.shape[1]))
    params = jax.tree.unflatten(jax.tree.structure(shape), sorted_like(shape, first))
    member = jnp.ones((1, B), jnp.float32)
    pairs = cldyn.losses.all_pairs(member, 2, cldyn.Unsupervised())
    optimizer = optax.adam(RATE)
    memory = optimizer.init(params)
    for one, two in zip(*given, strict=True):
        rows = np.stack([one, two], axis=1).reshape(2 * B, -1)  # by unit
        value, grads = jax.value_and_grad(lambda p, rows=rows: loss(encoder.apply(p, rows), pairs))(
            params
        )
        updates, memory = optimizer.update(grads, memory)
        params = optax.apply_updates(params, updates)
        ours.append(float(value))
    ours = np.array(ours)
    right = agree("plain JAX", np.asarray(by_jax(x, first, 0.5, key, CHECKED, given)), ours)
    if torch:
        told = [torch.tensor(one) for one in given]
        right &= agree("PyTorch", by_torch(torch, None, start, [0.5], CHECKED, told)[0], ours)
    return right


def sorted_like(shape, layers):
    """Kernels and offsets in the order of an encoder's leaves."""
    waiting = list(layers)
    return [
        waiting.pop(next(i for i, one in enumerate(waiting) if one.shape == leaf.shape))
        for leaf in jax.tree.leaves(shape)
    ]


def bench(title, seeds, temperatures, x, torch, rounds):
    """Compare times."""
    every = [tau for _ in range(seeds) for tau in temperatures]
    start, count = starts(len(every)), len(every)

    def plain():
        keys = jax.random.split(jax.random.key(0), count)
        return [
            by_jax(x, [one[i] for one in start], tau, keys[i], STEPS) for i, tau in enumerate(every)
        ]

    calls = {"plain JAX, jit(scan(grad)), one after the other": (plain, count * STEPS)}
    if torch:
        rows = torch.tensor(x)
        few = min(count, 2)  # the loop's speed does not depend on how many there are

        def loop(threads):
            torch.set_num_threads(threads)
            return by_torch(torch, rows, start, every[:few], STEPS)

        def func():
            torch.set_num_threads(os.cpu_count() or 1)
            by_func(torch, rows, start, every, STEPS)
            return 0

        for threads in sorted({1, os.cpu_count() or 1}):
            calls[f"PyTorch loop, {threads} threads"] = partial(loop, threads), few * STEPS
        calls["PyTorch, torch.func.vmap"] = func, count * STEPS
    both = [partial(by_cldyn, seeds, temperatures, [0, times * STEPS]) for times in (1, LONGER)]
    compare(title, tuple(both), LONGER, count * STEPS, calls, rounds)


def bench_convolutions(side, steps, torch, rounds):
    """Compare times of convolutions."""
    x = np.random.default_rng(side).random((IMAGES, 2, side**2), np.float32)
    problem = cldyn.views(x, np.arange(IMAGES) % 2)
    encoder = cldyn.Conv((side, side, 1), CHANNELS, (HIDDEN,), embed_dim=P)
    experiment = EXPERIMENT.replace(problem=problem, encoder=encoder)
    axes, count = [{"temperature": TEMPERATURES}], len(TEMPERATURES)

    def sweep(times):
        record_at = [0, times * steps]
        cldyn.sweep(experiment, axes, record_at, measure=("participation_ratio",), progress=False)

    calls = {}
    if torch:
        rows = torch.tensor(x)

        def loop(threads):
            torch.set_num_threads(threads)
            return convolved_torch(torch, rows, side, TEMPERATURES[:1], steps)

        for threads in sorted({1, os.cpu_count() or 1}):
            calls[f"PyTorch loop, {threads} threads"] = partial(loop, threads), steps
    both = [partial(sweep, times) for times in (1, LONGER)]
    title = f"Convolutions, {side} x {side}, {count} trajectories"
    compare(title, tuple(both), LONGER, count * steps, calls, rounds)


def main():
    given = parser(__doc__, rounds=5).parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    x = inputs()
    try:
        import torch
    except ImportError:
        torch = None
        print("torch is not installed: skipped", file=sys.stderr)
    right = checked(torch, x)
    bench("N1: RandBit, 1 trajectory", 1, TEMPERATURES[2:3], x, torch, given.rounds)
    bench("N1: RandBit, 16 trajectories", SEEDS, TEMPERATURES, x, torch, given.rounds)
    bench_convolutions(8, 40, torch, given.rounds)
    bench_convolutions(28, 8, torch, given.rounds)
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
