"""Images of your own with random bits beside them, how many an axis."""

import numpy as np

import cldyn
from cldyn.data.images import Augment

pictures = np.random.default_rng(1).random((40, 8, 8))
bright = (pictures.mean(axis=(1, 2)) > 0.5).astype(int)
problem = cldyn.images(
    pictures,
    bright,
    bits=2,
    most_bits=4,
    augmentation=Augment(crop=0.5, dropout=0.1),
    test=(pictures[:20], bright[:20], None),
)
experiment = cldyn.Experiment(problem).replace(
    encoder=cldyn.Mlp(hidden=16, embed_dim=4),
    loss=cldyn.InfoNce(),
    positives=cldyn.Unsupervised(),
    optimizer=cldyn.Adam(),
    batch=cldyn.Subset(16),
)
measured = cldyn.sweep(
    experiment, [{"bits": [0, 4]}], [0, 10], measure=["class_accuracy", "input_class_accuracy"]
)
print(measured.class_accuracy.sel(step=10).values)
