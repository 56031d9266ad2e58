"""What benchmarks share: every peer runs once in a round, and ratios are taken inside a round."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import jax
import numpy as np


def parser(says: str, rounds: int) -> argparse.ArgumentParser:
    """Of a benchmark: what it says of itself, and how often it runs unless told otherwise."""
    form = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=says, formatter_class=form)
    made.add_argument("--rounds", type=int, default=rounds)
    return made


def timed(call: Callable):
    """Seconds of one call, and its result."""
    begin = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - begin, result


def agree(name: str, found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a peer computes the same gaps, to float32 rounding while a feature takes off."""
    error = float(np.max(np.abs(found - expected) / (1e-3 + np.abs(expected))))
    print(f"{name}: largest relative difference of gaps {error:.1e}", file=sys.stderr)
    return error < 1e-2


def compare(
    title: str,
    ours: tuple[Callable, Callable],
    longer: int,
    trajectory_steps: int,
    peers: dict[str, tuple[Callable, int]],
    rounds: int,
) -> None:
    """Print a table of trajectory-steps per second.

    Args:
        ours: the job as a call, and the job with `longer` times the steps, whose preparation is
            the same: the difference is the steady state.
        trajectory_steps: of the job. peers: {name: (call, trajectory-steps)}.
    """
    whole, long = "cldyn, whole sweep with its preparation", "ten times the steps"
    calls = {whole: ours[0], long: ours[1], **{name: call for name, (call, _) in peers.items()}}
    ran = {whole: trajectory_steps, **{name: count for name, (_, count) in peers.items()}}
    firsts = {name: timed(call)[0] for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):  # what else the machine does falls on all of them
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    steady = [
        trajectory_steps * (longer - 1) / (lasting - job)
        for lasting, job in zip(seconds.pop(long), seconds[whole], strict=True)
    ]
    ready = [
        job - trajectory_steps / speed for job, speed in zip(seconds[whole], steady, strict=True)
    ]
    print(
        f"\n{title}\n{jax.devices()[0].device_kind}, {os.cpu_count()} cores, jax {jax.__version__},"
        f" {rounds} rounds: median (least-most)\n"
    )
    print(
        "| peer | trajectory-steps/s | steady cldyn is faster by | preparation, s |"
        " compilation, s |"
    )
    print("|---|---|---|---|---|")
    print(
        f"| cldyn, steady state with records | {spread(steady, ',.0f')} | 1 |"
        f" {spread(ready, '.2f')} | |"
    )
    for name, taken in seconds.items():
        speed = [ran[name] / second for second in taken]
        ratio = [ours / theirs for ours, theirs in zip(steady, speed, strict=True)]
        compilation = f"{firsts[name] - min(taken):.2f}" if "JAX" in name or name == whole else ""
        print(
            f"| {name} | {spread(speed, ',.0f')} | {spread(ratio, '.1f')} |"
            f" {'included' if name == whole else ''} | {compilation} |"
        )


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"
