"""An encoder of your own: two layers of flax, the scale of their start an axis."""

import flax.linen as nn
import jax
import jax.numpy as jnp

import cldyn


class Net(nn.Module):
    """Any module; here the hidden layer is given, too."""

    width: int

    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(3)(hidden), hidden


@cldyn.noun
class TwoLayers:
    """One hidden layer."""

    init_scale: float = 0.3
    width: int = cldyn.static(16)

    layers = ("hidden",)

    def init(self, key, d):
        params = Net(self.width).init(key, jnp.zeros((1, d)))
        return jax.tree.map(lambda leaf: self.init_scale * leaf, params)

    def apply(self, params, x):
        return Net(self.width).apply(params, x)[0]

    def through(self, params, x):
        return {"hidden": Net(self.width).apply(params, x)[1]}


problem = cldyn.Stored(cldyn.FeatureModel(d=20), n=16, test_size=40)
experiment = cldyn.Experiment(problem).replace(encoder=TwoLayers())
measured = cldyn.sweep(
    experiment,
    [{"init_scale": [0.3, 1.0]}],
    [0, 20],
    measure=["loss", "class_accuracy", "hidden_class_accuracy"],
)
print(measured.hidden_class_accuracy.sel(step=20).values)
