"""Feature suppression by width: a narrow embedding leaves the class to easy irrelevant features, a wider one learns it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.axes import Group
from cldyn.claims.arms import ARM_SEEDS, ends, found_arms, setting, sgd_arms, train_arms
from cldyn.claims.table import Claim, Row, Study, at_least, at_most, close, found, within
from cldyn.data import FeatureModel
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lanes import forecast, sweep

IRRELEVANT = 4
MODEL = FeatureModel(d=1500, irrelevant_strength=(2.0,) * IRRELEVANT, subclass_mean=0.0)
# n = 64 with six features: balanced codes are the full factorial.
SETTING = Experiment(
    Problem(MODEL, n=64, m=4, bias=False, test_size=4000, precision="float64"),
    Training("ucl", learning_rate=0.02),
)
WIDTHS = (1, 2, 3, 4, 5, 6, 8, 16)
STRENGTHS = (0.8, 1.05, 1.2, 1.5, 2.0)
SEEDS, FEW_SEEDS = ({"seed": range(count), "data_seed": range(count)} for count in (8, 2))
STEPS = [0, 50, 100, 200, 400, 1000]
ARM_TIMES = np.array([0.0, 0.5, *np.arange(1, 20.1)])
MEASURES = ("feature_norms", "class_accuracy", "subclass_accuracy")


def study() -> Study:
    """Run every setting of the claim."""
    axes: list[Group] = [{"embed_dim": WIDTHS}, {"irrelevant_strength": STRENGTHS}, SEEDS]
    main = sweep(SETTING, axes, STEPS, measure=MEASURES)
    known = forecast(SETTING, [*axes[:2], FEW_SEEDS], critical=False)
    sparse_rows, sparse = _sparse()
    population_rows, population = _population()
    arms = train_arms(stochastic_arms(), ARM_SEEDS, ARM_TIMES)
    rows = (
        _minimum_norm(known)
        + _trained(main)
        + _left_behind(main, known)
        + sparse_rows
        + population_rows
        + _stochastic(arms)
    )
    return Study(
        rows,
        {"": main, "sparse": sparse, "population": population, "stochastic": arms},
        figure(main, known),
    )


def stochastic_arms() -> dict[str, Experiment]:
    """SGD and other optimizers where the class is crowded out, p = 4, and where it is not."""
    base = setting(SETTING, {"precision": "float32"}, embed_dim=4)
    online = {
        "population": True,
        "data": replace(MODEL, d=200),
    }  # fresh noise in 1500 dimensions would take most of the claim's time
    return {
        "gradient descent, rate 0.01": setting(base, learning_rate=0.01),
        **sgd_arms(base, (8, 32), (0.01, 0.0025), ("stored",)),
        "SGD, online (d = 200), b = 8, rate 0.0025": setting(
            base, online, batch="iid", batch_size=8, learning_rate=0.0025
        ),
        "momentum 0.9, rate 0.001": setting(base, optimizer="momentum", learning_rate=0.001),
        "Adam, rate 0.01": setting(base, optimizer="adam", learning_rate=0.01),
        "p = 6, gradient descent, rate 0.01": setting(base, embed_dim=6, learning_rate=0.01),
        "p = 6, SGD, stored, b = 32, rate 0.01": setting(
            base, embed_dim=6, learning_rate=0.01, batch="epochs"
        ),
        "p = 6, Adam, rate 0.01": setting(base, embed_dim=6, learning_rate=0.01, optimizer="adam"),
    }


def _stochastic(arms: xr.Dataset) -> list[Row]:
    """Every mix of tied directions is a minimizer, and noise moves W among them: what gradient descent left behind comes back."""

    def left(name: str) -> float:
        return float(_class(arms.sel(arm=name)).isel(time=-1).median())

    smaller = left("SGD, stored, b = 32, rate 0.0025") / left("SGD, stored, b = 32, rate 0.01")
    return [
        at_most(
            "SGD, b = 32, p = 4: |W v_1| at rate 0.0025 over that at 0.01, which gradient flow leaves at 0.002, median over seeds",
            1.0,
            smaller,
        ),
        *found_arms(
            arms,
            "|W v_1|, |W v_2| and |W v_3| at flow time 20",
            ends("class", "subclass", "irrelevant_1"),
        ),
    ]


def _class(dataset: xr.Dataset) -> xr.DataArray:
    return dataset.feature_norms.sel(feature="class")


def _at(array: xr.DataArray, strength: float) -> xr.DataArray:
    return array.isel(irrelevant_strength=STRENGTHS.index(strength))


def _minimum_norm(known: xr.Dataset) -> list[Row]:
    norms = _at(_class(known), 2.0)
    shared = (
        _at(known.feature_norms, 2.0).sel(embed_dim=5, feature=["class", "subclass"]) ** 2
    ).sum("feature")
    wide, widest = norms.sel(embed_dim=[6, 8]), norms.sel(embed_dim=16)
    return [
        at_most(
            "minimum norm, irrelevant strength 2: |W v_1|, largest for p = 1 .. 4",
            0.01,
            float(norms.sel(embed_dim=[1, 2, 3, 4]).max()),
        ),
        within(
            "minimum norm, irrelevant strength 2: |W v_1|, least for p = 6, 8",
            0.9955,
            0.9995,
            float(wide.min()),
        ),
        within(
            "minimum norm, irrelevant strength 2: |W v_1|, largest for p = 6, 8",
            0.9955,
            0.9995,
            float(wide.max()),
        ),
        found(
            "minimum norm, irrelevant strength 2: |W v_1| at p = 16",
            f"{float(widest.min()):.4f} to {float(widest.max()):.4f}",
        ),
        close(
            "minimum norm, p = 5: |W v_1|^2 + |W v_2|^2, the one dimension that class and subclass share",
            1.0,
            float(shared.median()),
            0.02,
        ),
    ]


def _trained(main: xr.Dataset) -> list[Row]:
    end = main.isel(step=-1)
    norms, accuracy = _at(_class(end), 2.0), _at(end.class_accuracy, 2.0)
    wide = norms.embed_dim >= 6
    middle = norms.sel(embed_dim=5)
    return [
        at_least(
            "share of lanes that stayed finite", 1.0, float((main.finite_steps == STEPS[-1]).mean())
        ),
        at_most(
            "trained, irrelevant strength 2: |W v_1| at p = 4, largest of the seeds",
            0.01,
            float(norms.sel(embed_dim=4).max()),
        ),
        within(
            "trained, irrelevant strength 2: |W v_1|, least for p >= 6",
            0.99,
            1.0,
            float(norms.where(wide).min()),
        ),
        found(
            "trained, p = 5: |W v_1| depends on the start",
            f"{float(middle.min()):.3f} to {float(middle.max()):.3f} over {middle.size} seeds",
        ),
        at_most(
            "trained, irrelevant strength 2: probe accuracy of the class at p = 4, median",
            0.55,
            float(accuracy.sel(embed_dim=4).median()),
        ),
        at_least(
            "trained, irrelevant strength 2: probe accuracy of the class, p >= 6, least",
            0.99,
            float(accuracy.where(wide).min()),
        ),
    ]


def _left_behind(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """At p = 4 rivals fill the embedding: what is left of the class, by minimum norm and by early growth."""
    rows, from_growth, from_norm = [], [], []
    start = _class(main).sel(embed_dim=4).isel(step=0).median("seed")
    end = _class(main).sel(embed_dim=4).isel(step=-1)
    for i, strength in enumerate(STRENGTHS):
        if strength <= MODEL.class_strength:
            continue
        low, middle, high = (
            float(end.isel(irrelevant_strength=i).quantile(share)) for share in (0.1, 0.5, 0.9)
        )
        order = float(theory.left_behind(float(start[i]), MODEL.class_strength, strength))
        least = float(_class(known).sel(embed_dim=4).isel(irrelevant_strength=i).median())
        from_growth.append(abs(np.log(middle / order)))
        from_norm.append(abs(np.log(middle / least)))
        text = f"{middle:.2g} ({low:.2g} to {high:.2g}); early growth {order:.1g}, minimum norm {least:.0e}"
        rows.append(
            found(
                f"trained, p = 4, irrelevant strength {strength:g}: |W v_1|, median (10-90 %)", text
            )
        )
    growth, norm = float(np.exp(max(from_growth))), float(np.exp(max(from_norm)))
    followed = f"{'early growth' if growth < norm else 'minimum norm'} (off by at most {growth:.2g} times against {norm:.2g})"
    rows.append(
        at_most(
            "|W v_1| left at p = 4 over start^(1 - phi_1^2/phi_k^2) or its inverse, largest",
            10.0,
            growth,
        )
    )
    rows.append(
        found(
            "which boundary gradient descent follows at p = 4: early growth's or minimum norm's",
            followed,
        )
    )
    return rows


def _sparse() -> tuple[list[Row], xr.Dataset]:
    """Four sparse irrelevant features of strength 4 have the variance 4 of dense ones of strength 2."""
    model = replace(MODEL, irrelevant="sparse", irrelevant_strength=(4.0,) * IRRELEVANT)
    experiment = replace(SETTING, problem=replace(SETTING.problem, data=model))
    axes: list[Group] = [{"embed_dim": (3, 4, 6, 8)}, FEW_SEEDS]
    dataset = sweep(experiment, axes, STEPS, measure=("feature_norms",))
    limit, end = _class(forecast(experiment, axes, critical=False)), _class(dataset).isel(step=-1)
    narrow, wide = [3, 4], [6, 8]
    return [
        at_most(
            "sparse irrelevant features of strength 4: |W v_1| by minimum norm, p <= 4, largest",
            0.02,
            float(limit.sel(embed_dim=narrow).max()),
        ),
        at_least(
            "sparse irrelevant features of strength 4: |W v_1| by minimum norm, p >= 6, least",
            0.98,
            float(limit.sel(embed_dim=wide).min()),
        ),
        at_most(
            "sparse irrelevant features of strength 4: |W v_1| trained, p <= 4, largest",
            0.02,
            float(end.sel(embed_dim=narrow).max()),
        ),
        at_least(
            "sparse irrelevant features of strength 4: |W v_1| trained, p >= 6, least",
            0.98,
            float(end.sel(embed_dim=wide).min()),
        ),
    ], dataset


def _population() -> tuple[list[Row], xr.Dataset]:
    """Without a sample's ties the p largest agreements win, whatever their variance: a hard class that views keep beats easy rivals."""
    model = FeatureModel(
        d=20,
        irrelevant_strength=(2.0, 1.5),
        subclass_mean=0.0,
        class_keep=0.95,
        subclass_keep=0.8,
        irrelevant_keep=(0.9, 0.7),
        noise_keep=0.1,
    )
    problem = replace(SETTING.problem, data=model, population=True)
    experiment = Experiment(problem, replace(SETTING.training, init_scale=1e-3))
    widths = (1, 2, 3, 4)
    dataset = sweep(
        experiment,
        [{"embed_dim": widths}, {"seed": range(4)}],
        [0, 500, 20_000],
        measure=("feature_norms",),
    )
    expected = np.stack([theory.population_norms(model, "ucl", p, bias=False) for p in widths])
    end = dataset.feature_norms.isel(step=-1).transpose("embed_dim", "seed", "feature").values
    first = dataset.feature_norms.sel(embed_dim=1, step=500).median("seed")
    return [
        at_most(
            "population: feature norms trained against the p largest agreements, p = 1 .. 4, largest difference",
            1e-3,
            float(np.abs(end - expected[:, None]).max()),
        ),
        found(
            "population, p = 1: largest norm at step 500, before the takeover by agreement",
            str(first.feature[int(np.argmax(first.data))].item()),
        ),
    ], dataset


def figure(main: xr.Dataset, known: xr.Dataset) -> plots.Figure:
    """The picture of the claim."""
    strengths, widths = jnp.linspace(0.5, 2.5, 201), jnp.arange(1, WIDTHS[-1] + 1)

    def norm(strength: jax.Array, p: jax.Array) -> jax.Array:
        model = replace(MODEL, irrelevant_strength=(strength,) * IRRELEVANT)  # type: ignore[arg-type]  # traced
        return theory.population_norms(model, "ucl", p, bias=False)[0]

    predicted = jax.vmap(jax.vmap(norm, (0, None)), (None, 0))(strengths, widths)
    starts = SETTING.training.init_scale * jnp.sqrt(jnp.arange(1, IRRELEVANT + 1))
    left = np.asarray(
        theory.left_behind(starts[:, None], MODEL.class_strength, strengths)
    )  # falls with strength
    edges = [float(np.interp(0.5, one[::-1], strengths[::-1])) for one in left]
    return plots.suppression_width(
        np.asarray(strengths), np.asarray(predicted), edges, main.isel(step=-1), known, STRENGTHS
    )


CLAIM = Claim(
    name="suppression-width",
    says="a narrow embedding suppresses the class for easy irrelevant features; a wider one learns it",
    source="claim 3(a) of Xue et al. (2023); the boundary by early growth derived here",
    cost="over a minute on 2 cores",
    study=study,
)
