"""An augmentation of your own, its strength an axis: every step sees fresh views of its batch."""

import jax
import numpy as np

import cldyn


@cldyn.noun
class Shake:
    """A function of (key, input [d]) that returns a view [d]."""

    strength: float = 0.1

    def __call__(self, key, x):
        return x + self.strength * jax.random.normal(key, x.shape)


rng = np.random.default_rng(0)
x, label = rng.normal(size=(16, 8)), np.arange(16) % 2
problem = cldyn.augmented(x, label, Shake(), test=(x, label, None))
experiment = cldyn.Experiment(problem).replace(batch=cldyn.Subset(8))
axes = [{"strength": [0.1, 0.5]}]
measured = cldyn.sweep(experiment, axes, [0, 20], measure=["loss", "test_class_gap"])
print(measured.test_class_gap.sel(step=20).values)
