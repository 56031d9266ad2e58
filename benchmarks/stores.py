"""A sweep into a store beside the same one in memory: 200 problems x 100 trainings of the
class-collapse setting, 400 steps, 20 records of every exact measure, in turn, and the memory that
each has taken.
"""

import resource
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from harness import parser, spread, timed

import cldyn

PROBLEMS, TRAININGS, STEPS, RECORDS = 200, 100, 400, 20
RECORD_AT = np.linspace(STEPS / RECORDS, STEPS, RECORDS).astype(int)


def job(problems, **where):
    axes = [
        {"seed": range(problems), "data_seed": range(problems)},
        {"learning_rate": np.linspace(0.01, 0.05, TRAININGS).tolist()},
    ]
    return cldyn.sweep(cldyn.Experiment(), axes, RECORD_AT, progress=False, **where)


def taken():
    """Largest resident memory so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    rounds = parser(__doc__, rounds=5).parse_args().rounds
    jax.config.update("jax_default_matmul_precision", "highest")
    stored, memory = [], []
    with tempfile.TemporaryDirectory() as place:
        job(PROBLEMS // 10, store=Path(place, "few"))
        few = taken()
        for i in range(rounds):
            stored.append(timed(lambda i=i: job(PROBLEMS, store=Path(place, str(i))).attrs)[0])
            many = taken()
            memory.append(timed(lambda: job(PROBLEMS).attrs)[0])
    steps = PROBLEMS * TRAININGS * STEPS
    for name, seconds in (("store", stored), ("memory", memory)):
        speed = [steps / second for second in seconds]
        print(f"into {name}: {spread(speed, ',.0f')} trajectory-steps/s")
    ratios = [in_memory / on_disk for in_memory, on_disk in zip(memory, stored, strict=True)]
    print(f"speed with store over without: {spread(ratios, '.2f')}")
    print(f"resident memory, GiB: {few:.2f} of {PROBLEMS * TRAININGS // 10:,} trajectories, "
          f"{many:.2f} of {PROBLEMS * TRAININGS:,}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
