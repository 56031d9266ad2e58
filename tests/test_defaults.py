"""What a user gets who never touches a setting of JAX, in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

import cldyn

SCRIPT = """
import itertools, json
import cldyn
from cldyn import Experiment, FeatureModel, Gaussian, Linear, Population, Stored, Training

out = {}
population = Experiment(Population(FeatureModel(d=300, noise=Gaussian(0.15, 1.0))))
population = population.replace(positives=cldyn.Unsupervised(), embed_dim=8)
some = Experiment(Stored(FeatureModel(d=300), n=40))
small = some.replace(weight_decay=0.1, init_scale=0.05, noise_length=1e-3)
for precision in ("float32", "float64"):
    known = cldyn.predict(population.replace(precision=precision))
    out[precision] = [float(known.records["loss"][0]), known.smallest_second]
    known = cldyn.predict(small.replace(precision=precision))
    run = cldyn.run(small.replace(precision=precision), [0, 3000], measure=["loss"])
    ends = known.records["loss"][0], run.records["loss"][-1]
    out["decay " + precision] = [float(end) for end in ends]
    out["type " + precision] = str(run.records["loss"].dtype)
rates = []
numbers = (0.25, 2.0), (0.3, 2.0), (0.3, 1.0)
for strength, mean, keep in itertools.product(*numbers):
    one = some.replace(subclass_strength=strength, subclass_mean=mean, class_keep=keep)
    both = (one.replace(precision=precision) for precision in ("float32", "float64"))
    rates.append([cldyn.predict(one).unlearning_rate for one in both])
out["rates"] = rates
gone = FeatureModel(d=5, class_keep=0.0, noise=Gaussian(0.0))
never = cldyn.predict(Experiment(Population(gone)))
out["never"] = [str(step) for step in never.learning_step]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def out():
    given = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_population_keeps_its_noise_in_single_precision(out):
    np.testing.assert_allclose(out["float32"], out["float64"], rtol=1e-4)
    assert out["float64"][0] == pytest.approx(-8)


def test_minimizer_with_weight_decay_stands_small_noise(out):
    for precision, tolerance in (("float32", 1e-4), ("float64", 1e-6)):
        known, run = out[f"decay {precision}"]
        assert known == pytest.approx(run, rel=tolerance)


def test_unlearning_rates_agree_in_both_precisions(out):
    single, double = np.array(out["rates"]).T
    np.testing.assert_allclose(single, double, rtol=1e-3)


def test_what_never_grows_is_never_learned(out):
    assert out["never"][0] == "inf" and np.isfinite(float(out["never"][1]))


def test_precision_is_the_experiments(out):
    for precision in ("float32", "float64"):
        assert out[f"type {precision}"] == precision
    assert cldyn.Experiment().precision == "float32"
