"""A loss of your own: InfoNCE of cosines by hand, its temperature an axis."""

import jax.numpy as jnp

import cldyn


@cldyn.noun
class Contrast:
    """Minus the mean log share of positives among all others."""

    temperature: float = 0.5

    def __call__(self, embeddings, pairs):
        f = embeddings / (1e-6 + jnp.linalg.norm(embeddings, axis=1, keepdims=True))
        others = 1 - jnp.eye(len(f))
        cosines = f @ f.T / self.temperature
        share = cosines - jnp.log(jnp.sum(others * jnp.exp(cosines), axis=1, keepdims=True))
        return -jnp.sum(pairs.positive * others * share)


problem = cldyn.Stored(cldyn.FeatureModel(d=20), n=16, test_size=40)
experiment = cldyn.Experiment(problem).replace(loss=Contrast(), positives=cldyn.Unsupervised())
measured = cldyn.sweep(experiment, [{"temperature": [0.2, 0.5]}], [0, 20], measure=["loss"])
print(measured.loss.sel(step=20).values)
