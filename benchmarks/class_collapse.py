"""Class collapse by full-batch gradient descent: cldyn beside PyTorch, numpy and plain JAX, on the
same data and starts.

Job: n = 100, m = 2, d = 1000, p = 3, bias, 16 problems x 16 learning rates, 1000 steps, 20 records
of the gaps, float32. numpy and PyTorch, trajectory after trajectory, run the first two learning
rates of the first problem. Peers average embeddings over a class and square their p x p moments,
where a textbook implementation writes N x N pair weights. Gaps are compared before any time is
believed. The steady state of cldyn is a warm sweep of ten times the steps and records less the one
of the job, whose preparation is the same.
"""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
from harness import agree, compare, parser

import cldyn

PROBLEMS, STEPS, RECORDS, P = 16, 1000, 20, 3
LONGER = 10
RATES = np.linspace(0.01, 0.05, 16, dtype=np.float32)
RECORD_AT = np.linspace(STEPS / RECORDS, STEPS, RECORDS).astype(int)
DIRECTIONS = 2 * np.eye(2, 1001, dtype=np.float32)  # 2 phi_j v_j: gaps are exact expectations


def inputs():
    """Rows [problems, 200, 1001], W_0 [problems, 3, 1001], and weights that average a class."""
    rows, starts, weights = [], [], []
    for seed in range(PROBLEMS):
        views = cldyn.sample(jax.random.key(seed), cldyn.FeatureModel(), 100, 2)
        flat = np.asarray(views.x).reshape(200, 1000)
        rows.append(np.concatenate([flat, np.ones((200, 1), np.float32)], axis=1))
        experiment = cldyn.Experiment().replace(data_seed=seed, seed=seed)
        starts.append(cldyn.run(experiment, [0]).weights)
        label = np.repeat(np.asarray(views.label), 2)
        weights.append(np.stack([label == -1, label == 1]).astype(np.float32) / 100)
    return np.stack(rows), np.stack(starts), np.stack(weights)


def by_numpy(rows, start, weights, rates, steps):
    """Closed gradient on raw rows."""
    means, out = weights @ rows, []
    for rate in rates:
        w, gaps = start.copy(), []
        for step in range(1, steps + 1):
            z = rows @ w.T
            w -= rate * (4 * (z.T @ z / 200) @ (z.T @ rows / 200) - 2 * (w @ means.T) @ means)
            if step in RECORD_AT:
                gaps.append(np.linalg.norm(DIRECTIONS @ w.T, axis=1))
        out.append(gaps)
    return np.array(out)


def by_torch(rows, start, weights, rates, steps):
    """Autograd, a loop over trajectories."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, mean, probe = (torch.tensor(part, device=device) for part in (rows, weights, DIRECTIONS))
    out = []
    for rate in rates:
        w = torch.tensor(start, device=device, requires_grad=True)
        optimizer, gaps = torch.optim.SGD([w], lr=float(rate)), []
        for step in range(1, steps + 1):
            z = x @ w.T
            loss = -((mean @ z) ** 2).sum() + ((z.T @ z / 200) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in RECORD_AT:
                gaps.append((probe @ w.T).norm(dim=1).detach().cpu().numpy())
        out.append(gaps)
    return np.array(out)


@jax.jit
def by_jax(rows, starts, weights, rates):
    """jit(vmap(vmap(scan(grad)))) as a good user would write it."""

    def trajectory(x, start, mean, rate):
        def loss(w):
            z = x @ w.T
            return -jnp.sum((mean @ z) ** 2) + jnp.sum((z.T @ z / 200) ** 2)

        def step(w, _):
            return w - rate * jax.grad(loss)(w), None

        def record(w, _):
            w, _ = jax.lax.scan(step, w, None, length=STEPS // RECORDS)
            return w, jnp.linalg.norm(DIRECTIONS @ w.T, axis=1)

        return jax.lax.scan(record, start, None, length=RECORDS)[1]

    return jax.vmap(jax.vmap(trajectory, (None, None, None, 0)), (0, 0, 0, None))(
        rows, starts, weights, rates
    )


def by_cldyn(record_at):
    """A sweep: sampling, frame and prediction of the limit included."""
    axes = [
        {"seed": range(PROBLEMS), "data_seed": range(PROBLEMS)},
        {"learning_rate": RATES.tolist()},
    ]
    return cldyn.sweep(
        cldyn.Experiment(), axes, record_at, measure=("class_gap", "subclass_gap"), progress=False
    )


def peers():
    """Name, job as a call, and its trajectories among [problems, learning rates]."""
    rows, starts, weights = inputs()
    one = rows[0], starts[0], weights[0], RATES[:2], STEPS
    yield (
        "plain JAX, jit(vmap(vmap(scan(grad))))",
        lambda: by_jax(rows, starts, weights, RATES),
        np.s_[:, :],
    )
    yield "numpy by hand", lambda: by_numpy(*one), np.s_[0, :2]
    try:
        import torch
    except ImportError:
        print("torch is not installed: skipped", file=sys.stderr)
        return
    for threads in sorted({1, os.cpu_count() or 1}):

        def by_threads(threads=threads):
            torch.set_num_threads(threads)
            return by_torch(*one)

        yield f"PyTorch autograd loop, {threads} threads", by_threads, np.s_[0, :2]


def main():
    rounds = parser(__doc__, rounds=7).parse_args().rounds
    jax.config.update("jax_default_matmul_precision", "highest")
    ours = by_cldyn(RECORD_AT)
    expected = np.stack([ours.class_gap, ours.subclass_gap], axis=-1)
    longer = np.linspace(STEPS / RECORDS, LONGER * STEPS, LONGER * RECORDS).astype(int)
    calls, right = {}, True
    for name, call, trajectories in peers():
        found = np.asarray(call())
        right &= agree(name, found, expected[trajectories])
        calls[name] = call, found[..., 0, 0].size * STEPS
    both = (lambda: by_cldyn(RECORD_AT)), (lambda: by_cldyn(longer))
    compare("G1: gradient descent", both, LONGER, PROBLEMS * RATES.size * STEPS, calls, rounds)
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
