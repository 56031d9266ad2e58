"""Phase diagrams: closed forms point by point, and the growth that they tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import POSITIVES, SMALL, random_model

import cldyn
from cldyn import moments, theory
from cldyn.sweeps.diagram import _shared

AXES = [
    {"class_strength": [0.5, 1.0, 2.0]},
    {"beta": [0.0, 0.4, 1.0]},
    {"embed_dim": [1, 2, 5]},
    {"noise_keep": [0.0, 0.5]},
]
BOTH = SMALL.replace(positives=cldyn.Joint())


def test_a_diagram_is_its_closed_forms_point_by_point():
    found = cldyn.phase_diagram(BOTH, AXES)
    assert found.feature_norms.dims == (*(next(iter(one)) for one in AXES), "feature")
    for place in np.ndindex(3, 3, 3, 2):
        values = {
            name: axis[name][i]
            for i, axis in zip(place, AXES, strict=True)
            for name in axis
        }  # fmt: skip
        one = BOTH.replace(**values)
        model, p = one.problem.model, values["embed_dim"]
        here = found.sel(values)
        expected = {
            "feature_norms": theory.population_norms(model, one.training.positives, p),
            "joint_threshold": theory.joint_threshold(model, p),
            "class_kept": theory.augmentation_norm(
                model.class_strength, model.noise.noise_length, model.noise.noise_keep,
                one.problem.n, one.problem.m,
            ),
        }  # fmt: skip
        for name, value in expected.items():
            np.testing.assert_allclose(here[name], value, rtol=1e-12, err_msg=name)


@given(st.integers(0, 2**31 - 1), st.sampled_from(POSITIVES), st.booleans())
def test_growth_is_that_of_the_fastest_mode_with_a_part_of_the_feature(seed, positives, bias):
    model = random_model(seed)
    _, positive = moments.population(model, positives, bias=bias)
    values, vectors = np.linalg.eigh(np.asarray(positive))
    for j, found in enumerate(np.asarray(_shared(model, positives, bias))):
        overlaps = [np.linalg.norm(vectors[j, np.abs(values - value) < 1e-9]) for value in values]
        there = values[np.array(overlaps) > 1e-6]
        assert found == pytest.approx(there.max(), abs=1e-9)


def test_a_diagram_says_where_training_on_the_population_ends():
    straight = cldyn.FeatureModel(d=8, subclass_mean=0.0, irrelevant_strength=(1.5,))
    base = cldyn.Experiment(
        cldyn.Population(straight),
        cldyn.Training(cldyn.Linear(embed_dim=2, bias=False), positives=cldyn.Unsupervised()),
        "float64",
    ).replace(learning_rate=0.02)
    axes = [{"class_keep": [0.6, 0.9]}, {"irrelevant_keep": [0.5, 0.8]}]
    found, trained = cldyn.phase_diagram(base, axes), cldyn.sweep(base, axes, [20_000])
    np.testing.assert_allclose(found.feature_norms, trained.feature_norms[..., 0, :], atol=1e-6)
    assert found.feature_norms.attrs["units"] == "1" and "class_kept" not in found


@pytest.mark.parametrize(
    ("experiment", "axes", "named"),
    [
        (BOTH.replace(encoder=cldyn.Mlp()), [], "encoder"),
        (BOTH.replace(bias=False), [], "mean"),
        (BOTH, [{"n": [1, 2]}], "axes"),
        (BOTH.replace(problem=cldyn.views(np.ones((4, 2, 3)), [0, 1, 0, 1])), [], "problem"),
    ],
)
def test_what_has_no_diagram_is_refused(experiment, axes, named):
    with pytest.raises(ValueError, match=named):
        cldyn.phase_diagram(experiment, axes)
