"""A measure of your own, beside ours."""

import jax.numpy as jnp

import cldyn


def largest(seen):
    """The largest number in a test embedding."""
    return jnp.abs(seen.embed("test")).max()


LARGEST = cldyn.Measure("largest", "largest test embedding", largest, needs=("test",))

problem = cldyn.Stored(cldyn.FeatureModel(d=20), n=16, test_size=40)
experiment = cldyn.Experiment(problem)
rates = [{"learning_rate": [0.02, 0.05]}]
measured = cldyn.sweep(experiment, rates, [0, 20], measure=["loss", LARGEST])
print(measured.largest.sel(step=20).values)
