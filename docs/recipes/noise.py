"""A kind of noise of your own: heavy tails, their breadth an axis."""

import jax

import cldyn


@cldyn.noun
class Laplace(cldyn.Noise):
    """Independent along every direction."""

    breadth: float = 0.1

    def draw(self, key, n, other, dtype):
        return self.breadth * jax.random.laplace(key, (n, other), dtype)


problem = cldyn.Stored(cldyn.FeatureModel(d=20, noise=Laplace()), n=16, test_size=40)
experiment = cldyn.Experiment(problem)
measured = cldyn.sweep(experiment, [{"breadth": [0.05, 0.2]}], [0, 20], measure=["loss"])
print(measured.loss.sel(step=20).values)
