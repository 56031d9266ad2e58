"""Arrays of your own: views [n, m, d], their classes, a direction to track, and test rows."""

import numpy as np

import cldyn

rng = np.random.default_rng(0)
label = np.arange(16) % 2
x = rng.normal(size=(16, 2, 8))
x[..., 0] += 2.0 * label[:, None]  # the classes lie apart along the first coordinate
problem = cldyn.views(x, label, directions=np.eye(8)[:1], test=(x[:, 0], label, None))
rates = [{"learning_rate": [0.01, 0.02]}]
measured = cldyn.sweep(
    cldyn.Experiment(problem), rates, [0, 20], measure=["feature_norms", "test_class_gap"]
)
print(measured.test_class_gap.sel(step=20).values)
