"""What a user gets who never touches a setting of JAX: float32 by default, in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import itertools, json
import numpy as np
import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training

out = {}
model = FeatureModel(d=300, noise=0.15, noise_keep=1.0)
for precision in ("float32", "float64"):
    problem = Problem(model, population=True, precision=precision)
    known = cldyn.predict(Experiment(problem, Training(loss="ucl", embed_dim=8)))
    out[precision] = [float(known.records["loss"][0]), known.smallest_second]
    decay = Problem(FeatureModel(d=300, noise=1e-3), n=40, precision=precision)
    known = cldyn.predict(Experiment(decay, Training(weight_decay=0.1)))
    run = cldyn.run(Experiment(decay, Training(weight_decay=0.1, init_scale=0.05)), [0, 3000])
    out["decay " + precision] = [float(known.records["loss"][0]), float(run.records["loss"][-1])]
rates = []
for strength, mean, keep in itertools.product((0.25, 0.5, 1.0, 2.0), (0.3, 0.5, 1.0, 2.0), (0.3, 0.5, 1.0)):
    numbers = FeatureModel(d=20, subclass_strength=strength, subclass_mean=mean, class_keep=keep)
    rates.append([cldyn.predict(Experiment(Problem(numbers, n=8, precision=p))).unlearning_rate for p in ("float32", "float64")])
out["rates"] = rates
never = cldyn.predict(Experiment(Problem(FeatureModel(d=5, class_keep=0.0, noise=0.0), population=True)))
out["never"] = [str(step) for step in never.learning_step]
tight = Experiment(Problem(FeatureModel(d=40), n=8, precision="float64"), Training())
lanes = cldyn.sweep(tight, [{"seed": [0, 1]}], [0, 100], progress=False)
out["double"] = str(lanes.feature_norms.dtype)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def out():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_population_keeps_its_noise_in_single_precision(out):
    np.testing.assert_allclose(out["float32"], out["float64"], rtol=1e-4)
    assert out["float64"][0] == pytest.approx(-8)


def test_minimizer_with_weight_decay_stands_small_noise(out):
    for precision, tolerance in (("float32", 1e-4), ("float64", 1e-6)):
        assert out[f"decay {precision}"][0] == pytest.approx(out[f"decay {precision}"][1], rel=tolerance)


def test_unlearning_rates_agree_in_both_precisions(out):
    single, double = np.array(out["rates"]).T
    np.testing.assert_allclose(single, double, rtol=1e-3)


def test_what_never_grows_is_never_learned(out):
    assert out["never"][0] == "inf" and np.isfinite(float(out["never"][1]))


def test_precision_is_the_problems(out):
    assert out["double"] == "float64"
