"""Class collapse by SGD: cldyn beside PyTorch, numpy and plain JAX.

S1: n = 100, m = 2, d = 1000, p = 3, bias, 16 problems x 16 learning rates, 1000 steps on batches of
32 of the 200 stored rows, 20 records of the gaps, float32. S2: the same with 32 fresh examples, of
one view with noise of their own, in every step. All weigh pairs alike, without bias. PyTorch and
numpy, trajectory after trajectory, run two learning rates of the first problem; plain JAX shares a
batch among learning rates, as cldyn does. First the peers train on the same batches and their gaps
are compared: in S1 on those that cldyn draws; in S2 cldyn's are fresh in a moving frame, and its
means over problems are compared with those of plain JAX. In timed rounds everyone draws its own.
"""

import dataclasses
import os
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from class_collapse import DIRECTIONS, LONGER, PROBLEMS, RATES, RECORD_AT, RECORDS, STEPS, inputs
from harness import agree, compare, parser

import cldyn
from cldyn import nouns, trajectory

B, N = 32, 200
STORED = cldyn.Experiment().replace(batch=cldyn.Subset(B))
FRESH = cldyn.Experiment(cldyn.Population(m=1)).replace(batch=cldyn.Iid(B))
_APART = 1 - np.eye(B, dtype=np.float32)
# Inverse inclusion probabilities of pairs of rows: of 200 without replacement, of a population.
PAIRS = {
    STORED: (N - 1) / (N * B * (B - 1)) * _APART + np.eye(B, dtype=np.float32) / (N * B),
    FRESH: _APART / (B * (B - 1)),
}
PAIRS = {job: pairs.astype(np.float32) for job, pairs in PAIRS.items()}


def drawn(job, seed):
    """The batches of cldyn: rows [steps, b, 1001] and signs of the class [steps, b]."""
    job = job.replace(data_seed=seed, seed=seed)
    plan = trajectory.plan_of(job, ())
    plan = dataclasses.replace(plan, in_frame=False)

    @jax.jit
    def every(problem, training):
        given = trajectory.draw(problem, training, plan)
        units = trajectory.prepare(problem, given, training, plan).units

        def one(step):
            batch = units.draw(training, jax.random.fold_in(units.key, step), step)
            x = batch.x[:, 0]
            one = jnp.ones((len(x), 1), x.dtype)
            sign = jnp.where(batch.pairs.member[1] > 0, 1.0, -1.0)
            return jnp.concatenate([x, one], axis=1), sign

        return jax.lax.map(one, jnp.arange(STEPS))

    return jax.device_get(
        every(*(nouns.cast(half, "float32") for half in (job.problem, job.training)))
    )


def by_numpy(job, rows, label, start, given, rates):
    """Closed gradient, a loop over trajectories."""
    rng, pairs, out = np.random.default_rng(0), PAIRS[job], []
    for rate in rates:
        w, gaps = start.copy(), []
        for step in range(STEPS):
            if given is not None:
                x, sign = given[0][step], given[1][step]
            elif job is STORED:
                chosen = rng.permutation(N)[:B]
                x, sign = rows[chosen], label[chosen]
            else:
                x, sign = fresh_numpy(rng)
            f = x @ w.T
            same = 2 * pairs * (sign[:, None] == sign)
            w -= rate * (4 * ((pairs * (f @ f.T)) @ f - same @ f).T @ x)
            if step + 1 in RECORD_AT:
                gaps.append(np.linalg.norm(DIRECTIONS @ w.T, axis=1))
        out.append(gaps)
    return np.array(out)


def fresh_numpy(rng):
    """32 examples of the figure's setting."""
    signs = rng.integers(0, 2, (B, 2)) * 2 - 1
    noise = rng.standard_normal((B, 998), np.float32) / np.float32(998**0.5)
    return np.concatenate([signs + np.array([0, 1]), noise, np.ones((B, 1))], axis=1).astype(
        np.float32
    ), signs[:, 0]


def by_torch(job, rows, label, start, given, rates):
    """Autograd, a loop over trajectories."""
    import torch

    stored, known, probe, pairs = (
        torch.tensor(part) for part in (rows, label, DIRECTIONS, PAIRS[job])
    )
    given = None if given is None else tuple(torch.tensor(part) for part in given)
    shift, one, out = torch.tensor([0.0, 1.0]), torch.ones(B, 1), []
    for rate in rates:
        w = torch.tensor(start, requires_grad=True)
        optimizer, gaps = torch.optim.SGD([w], lr=float(rate)), []
        for step in range(STEPS):
            if given is not None:
                x, sign = given[0][step], given[1][step]
            elif job is STORED:
                chosen = torch.randperm(N)[:B]
                x, sign = stored[chosen], known[chosen]
            else:
                signs = torch.randint(0, 2, (B, 2)) * 2.0 - 1
                x, sign = (
                    torch.cat([signs + shift, torch.randn(B, 998) / 998**0.5, one], dim=1),
                    signs[:, 0],
                )
            f = x @ w.T
            dots = f @ f.T
            same = 2 * pairs * (sign[:, None] == sign)
            loss = (pairs * dots**2 - 2 * same * dots).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step + 1 in RECORD_AT:
                gaps.append((probe @ w.T).norm(dim=1).detach().numpy())
        out.append(gaps)
    return np.array(out)


@partial(jax.jit, static_argnames=("stored", "mine"))
def by_jax(x, label, starts, given, rates, keys, stored, mine):
    """jit(vmap(vmap(scan(grad)))) as a good user would write it.

    mine: draw batches, or take the given ones [problems, steps, ...].
    """
    pairs = PAIRS[STORED if stored else FRESH]

    def trajectory(x, label, start, given, key, rate):
        def loss(w, x, sign):
            f = x @ w.T
            dots = f @ f.T
            same = 2 * pairs * (sign[:, None] == sign)
            return jnp.sum(pairs * dots**2 - 2 * same * dots)

        def batch(t):
            if not mine:
                return given[0][t], given[1][t]
            key_t = jax.random.fold_in(key, t)
            if stored:
                chosen = jax.random.permutation(key_t, N)[:B]
                return x[chosen], label[chosen]
            one, two = jax.random.split(key_t)
            signs = jax.random.rademacher(one, (B, 2), jnp.float32)
            noise = jax.random.normal(two, (B, 998)) / 998**0.5
            return jnp.concatenate(
                [signs + jnp.array([0.0, 1.0]), noise, jnp.ones((B, 1))], axis=1
            ), signs[:, 0]

        def step(w, t):
            return w - rate * jax.grad(loss)(w, *batch(t)), None

        def record(w, times):
            w, _ = jax.lax.scan(step, w, times)
            return w, jnp.linalg.norm(DIRECTIONS @ w.T, axis=1)

        return jax.lax.scan(record, start, jnp.arange(STEPS).reshape(RECORDS, -1))[1]

    return jax.vmap(jax.vmap(trajectory, (None, None, None, None, None, 0)), (0, 0, 0, 0, 0, None))(
        x, label, starts, given, keys, rates
    )


def by_cldyn(job, record_at):
    """A sweep, preparation included."""
    axes = [
        {"seed": range(PROBLEMS), "data_seed": range(PROBLEMS)},
        {"learning_rate": RATES.tolist()},
    ]
    return cldyn.sweep(job, axes, record_at, measure=("class_gap", "subclass_gap"), progress=False)


def bench(title, job, rounds):
    """Compare the numbers of a job, then its times."""
    rows, starts, weights = inputs()
    label = np.where(weights[:, 1] > 0, 1.0, -1.0).astype(np.float32)
    found = by_cldyn(job, RECORD_AT)
    ours = np.stack([found.class_gap, found.subclass_gap], axis=-1)
    given = drawn(job, 0)
    keys = jax.random.split(jax.random.key(0), PROBLEMS)
    one = rows[0], label[0], starts[0]
    first = tuple(part[None] for part in given)
    checked = by_jax(
        rows[:1], label[:1], starts[:1], first, RATES[:2], keys[:1], job is STORED, False
    )
    nothing = (np.zeros((PROBLEMS, 1, 1, 1), np.float32), np.zeros((PROBLEMS, 1, 1), np.float32))
    if job is STORED:
        expected = ours[:1, :2]
        right = agree("plain JAX", np.asarray(checked), expected)
    else:  # cldyn's are fresh in a moving frame, the same in law alone
        expected = np.asarray(checked)
        theirs = by_jax(rows, label, starts, nothing, RATES, keys, False, True)
        right = alike("plain JAX", np.asarray(theirs), ours)
    right &= agree("numpy", by_numpy(job, *one, given, RATES[:2])[None], expected)
    calls = {
        "plain JAX, jit(vmap(vmap(scan(grad))))": (
            lambda: by_jax(rows, label, starts, nothing, RATES, keys, job is STORED, True),
            PROBLEMS * RATES.size * STEPS,
        ),
        "numpy by hand": (lambda: by_numpy(job, *one, None, RATES[:2]), 2 * STEPS),
    }  # fmt: skip
    try:
        import torch

        right &= agree("PyTorch", by_torch(job, *one, given, RATES[:2])[None], expected)
        for threads in sorted({1, os.cpu_count() or 1}):

            def by_threads(threads=threads):
                torch.set_num_threads(threads)
                return by_torch(job, *one, None, RATES[:2])

            calls[f"PyTorch autograd loop, {threads} threads"] = by_threads, 2 * STEPS
    except ImportError:
        print("torch is not installed: skipped", file=sys.stderr)
    longer = np.linspace(STEPS / RECORDS, LONGER * STEPS, LONGER * RECORDS).astype(int)
    both = (lambda: by_cldyn(job, RECORD_AT)), (lambda: by_cldyn(job, longer))
    compare(title, both, LONGER, PROBLEMS * RATES.size * STEPS, calls, rounds)
    return right


def main():
    words = parser(__doc__, rounds=7)
    words.add_argument("--job", choices=("S1", "S2"))
    given = words.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest")
    jobs = {
        "S1": ("S1: SGD on stored rows, b = 32", STORED),
        "S2": ("S2: SGD on fresh examples, b = 32", FRESH),
    }
    chosen = [jobs[name] for name in jobs if given.job in (None, name)]
    return int(not all([bench(*job, given.rounds) for job in chosen]))


def alike(name, theirs, ours):
    """Whether means over problems are the same, to five standard errors."""
    error = np.sqrt((theirs.var(axis=0) + ours.var(axis=0)) / len(ours)) + 1e-5
    apart = float(np.max(np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) / error))
    print(f"{name}: means of gaps apart by {apart:.1f} standard errors at most", file=sys.stderr)
    return apart < 5


if __name__ == "__main__":
    sys.exit(main())
