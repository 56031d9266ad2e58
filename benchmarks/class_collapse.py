"""Class collapse by full-batch gradient descent: cldyn beside PyTorch, numpy and plain JAX, on the same data and starts.

Job: n = 100, m = 2, d = 1000, p = 3, bias, 16 problems x 16 learning rates, 1000 steps, 20 records of the gaps, float32.
A peer that is too slow for all of it runs the first learning rates of the first problem for fewer steps; the table says how many
lane-steps each ran. Gaps are compared before any time is believed. The steady state of cldyn is a warm sweep less the same
program ended at step 20 (record steps are data, so it is the same compiled program and does the same preparation).
"""

import argparse
import os
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import cldyn
from cldyn import experiment as lab

PROBLEMS, STEPS, RECORDS, P = 16, 1000, 20, 3
RATES = np.linspace(0.01, 0.05, 16, dtype=np.float32)
RECORD_AT = np.linspace(STEPS / RECORDS, STEPS, RECORDS).astype(int)
DIRECTIONS = 2 * np.eye(2, 1001, dtype=np.float32)  # 2 phi_j v_j: gaps are exact expectations


def inputs():
    """Rows [problems, 200, 1001] and W_0 [problems, 3, 1001]; in every class the rows are averaged with these weights [2, 200]."""
    rows, starts, weights = [], [], []
    for seed in range(PROBLEMS):
        views = cldyn.sample(jax.random.key(seed), cldyn.FeatureModel(), 100, 2)
        flat = np.asarray(views.x).reshape(200, 1000)
        rows.append(np.concatenate([flat, np.ones((200, 1), np.float32)], axis=1))
        problem = cldyn.Problem(data_seed=seed)

        def start(problem, training):
            prepared = lab.prepare(problem)
            return lab.weights(prepared, *lab.begin(prepared, training, P))

        starts.append(np.asarray(jax.jit(start)(lab.cast(problem, problem), lab.cast(cldyn.Training(seed=seed), problem))))
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
    """Autograd, a loop over lanes."""
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

    def lane(x, start, mean, rate):
        def loss(w):
            z = x @ w.T
            return -jnp.sum((mean @ z) ** 2) + jnp.sum((z.T @ z / 200) ** 2)

        def step(w, _):
            return w - rate * jax.grad(loss)(w), None

        def record(w, _):
            w, _ = jax.lax.scan(step, w, None, length=STEPS // RECORDS)
            return w, jnp.linalg.norm(DIRECTIONS @ w.T, axis=1)

        return jax.lax.scan(record, start, None, length=RECORDS)[1]

    return jax.vmap(jax.vmap(lane, (None, None, None, 0)), (0, 0, 0, None))(rows, starts, weights, rates)


def by_cldyn(record_at):
    """A sweep: sampling, frame and prediction of the limit included."""
    axes = [{"seed": range(PROBLEMS), "data_seed": range(PROBLEMS)}, {"learning_rate": RATES.tolist()}]
    return cldyn.sweep(cldyn.Experiment(), axes, record_at, measure=("class_gap", "subclass_gap"), progress=False)


def timed(call, repeats):
    """Result of the last call and seconds of each."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return result, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    jax.config.update("jax_default_matmul_precision", "highest")
    rows, starts, weights = inputs()
    lines, failed = [], False

    _, (first,) = timed(lambda: by_cldyn(RECORD_AT), 1)
    ours, whole = timed(lambda: by_cldyn(RECORD_AT), repeats)
    _, short = timed(lambda: by_cldyn(np.arange(1, RECORDS + 1)), repeats)
    expected = np.stack([ours.class_gap, ours.subclass_gap], axis=-1)
    preparation = statistics.median(short)
    steady = [second - preparation for second in whole]
    lane_steps = PROBLEMS * RATES.size * (STEPS - RECORDS)
    best = lane_steps / statistics.median(steady)
    lines.append(("cldyn, steady state with records", lane_steps, steady, lane_steps, preparation, first - statistics.median(whole)))
    total = PROBLEMS * RATES.size * STEPS
    lines.append(("cldyn, whole sweep with sampling and frame", total, whole, total, 0, first - statistics.median(whole)))

    def compare(name, found, part):
        nonlocal failed
        # float32 runs that started alike differ by rounding, most while a feature takes off
        error = np.max(np.abs(found - part) / (1e-3 + np.abs(part)))
        failed |= not error < 1e-2
        print(f"{name}: largest relative difference of gaps {error:.1e}", file=sys.stderr)

    used = 1
    call = lambda: by_jax(rows[:used], starts[:used], weights[:used], RATES)  # noqa: E731
    _, (compiled,) = timed(call, 1)
    found, seconds = timed(call, repeats)
    compare("plain JAX", found, expected[:used])
    count = used * RATES.size * STEPS
    lines.append(("plain JAX, jit(vmap(vmap(scan(grad))))", count, seconds, count, 0, compiled - statistics.median(seconds)))
    found, seconds = timed(lambda: by_numpy(rows[0], starts[0], weights[0], RATES[:2], STEPS), repeats)
    compare("numpy", found, expected[0, :2])
    lines.append(("numpy by hand", 2 * STEPS, seconds, 2 * STEPS, 0, 0))
    try:
        import torch
    except ImportError:
        print("torch is not installed: skipped", file=sys.stderr)
    else:
        for threads in sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            found, seconds = timed(lambda: by_torch(rows[0], starts[0], weights[0], RATES[:2], STEPS), repeats)
            compare(f"torch, {threads} threads", found, expected[0, :2])
            lines.append((f"PyTorch autograd loop, {threads} threads", 2 * STEPS, seconds, 2 * STEPS, 0, 0))

    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__}\n")
    print("| peer | lane-steps run | lane-steps/s median (least-most) | cldyn is faster by | preparation s | compile s |")
    print("|---|---|---|---|---|---|")
    for name, ran, seconds, count, prepared, compiled in lines:
        rates = sorted(count / second for second in seconds)
        middle = statistics.median(rates)
        print(f"| {name} | {ran} | {middle:,.0f} ({rates[0]:,.0f}-{rates[-1]:,.0f}) | {best / middle:.1f} | {prepared:.2f} | {compiled:.2f} |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
