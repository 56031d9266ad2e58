"""An optimizer and a schedule of your own, their numbers axes."""

import optax

import cldyn


@cldyn.noun
class Halving:
    """A function of the step."""

    half_life: float = 50.0

    def __call__(self, step):
        return 0.5 ** (step / self.half_life)


@cldyn.noun
class Yogi(cldyn.Optimizer):
    """Any optax transformation."""

    learning_rate: float = 0.01
    schedule: object = cldyn.Constant()

    def transform(self, weight_decay):
        return optax.yogi(lambda step: self.learning_rate * self.schedule(step))


problem = cldyn.Stored(cldyn.FeatureModel(d=20), n=16, test_size=40)
experiment = cldyn.Experiment(problem).replace(optimizer=Yogi(schedule=Halving()))
axes = [{"learning_rate": [0.01, 0.03]}, {"half_life": [10.0, 100.0]}]
measured = cldyn.sweep(experiment, axes, [0, 20], measure=["loss"])
print(measured.loss.sel(step=20).values)
