"""Feature suppression by width: a narrow embedding leaves the class to easy irrelevant features, a
wider one learns it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import WIDTH, WIDTH_MODEL, seeds
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_least,
    at_most,
    close,
    found,
    highest,
    lowest,
    norm_of,
    showing,
    within,
)
from cldyn.data import FeatureModel, Gaussian
from cldyn.losses import Unsupervised
from cldyn.sources import Population
from cldyn.sweeps import Group, forecast, sweep, with_predictions

# A small run changes SETTING, STRENGTHS (2 is told of), SEEDS, FEW_SEEDS, STEPS, POPULATION_STEPS.
SETTING = WIDTH.replace(test_size=1000)
WIDTHS = (1, 2, 3, 4, 5, 6, 8, 16)
STRENGTHS = (0.8, 1.05, 1.2, 1.5, 2.0)
SEEDS, FEW_SEEDS = 8, 2
STEPS = [0, 50, 100, 200, 400]
POPULATION_STEPS = [0, 500, 20_000]

# Features of unlike variance that views keep to unlike degrees, by their exact moments.
MIXED = SETTING.replace(
    problem=Population(
        FeatureModel(
            d=20,
            irrelevant_strength=(2.0, 1.5),
            subclass_mean=0.0,
            class_keep=0.95,
            subclass_keep=0.8,
            irrelevant_keep=(0.9, 0.7),
            noise=Gaussian(noise_keep=0.1),
        )
    ),
    init_scale=1e-3,
)


def study() -> Study:
    """Run every setting of the claim."""
    axes: list[Group] = [{"embed_dim": WIDTHS}, {"irrelevant_strength": STRENGTHS}]
    main = sweep(SETTING, [*axes, seeds(SEEDS)], STEPS, measure=("feature_norms", "class_accuracy"))
    known = forecast(SETTING, [*axes, seeds(FEW_SEEDS)], critical=False)
    sparse_rows, sparse = _sparse()
    population_rows, population = _population()
    rows = showing("Thm 5.1", _minimum_norm(known)) + _trained(main) + _left_behind(main, known)
    return Study(
        rows + sparse_rows + population_rows,
        {"": with_predictions(main, known), "sparse": sparse, "population": population},
        plots.suppression_width(diagram(), main.isel(step=-1), known),
    )


def diagram() -> xr.DataArray:
    """Predicted |W v_1| of the population, over embed_dim and the strength of its four rivals.

    Coordinate `edge`: the strength at which early growth leaves half of the class behind; none
    where the rivals do not fill the embedding.
    """
    strengths, widths = jnp.linspace(0.5, 2.5, 201), jnp.arange(1, WIDTHS[-1] + 1)
    model, encoder = WIDTH_MODEL, SETTING.training.encoder
    rivals = len(model.irrelevant_strength)

    def norm(width: jax.Array, strength: jax.Array) -> jax.Array:
        one = SETTING.replace(irrelevant_strength=(strength,) * rivals).problem.model
        return theory.population_norms(one, Unsupervised(), width, bias=False)[0]

    predicted = jax.vmap(jax.vmap(norm, (None, 0)), (0, None))(widths, strengths)
    starts = encoder.init_scale * jnp.sqrt(widths)
    left = np.asarray(theory.left_behind(starts[:, None], model.class_strength, strengths))
    edge = [float(np.interp(-0.5, -one, strengths)) for one in left]  # what is left falls
    return xr.DataArray(
        np.asarray(predicted),
        {
            "embed_dim": np.asarray(widths),
            "strength": np.asarray(strengths),
            "edge": ("embed_dim", np.where(widths <= rivals, edge, np.nan)),
        },
        ("embed_dim", "strength"),
    )


def _minimum_norm(known: xr.Dataset) -> list[Row]:
    setting = "minimum norm, irrelevant strength 2"
    norms = norm_of(known, "class").sel(irrelevant_strength=2.0)
    narrow, wide = norms.sel(embed_dim=[1, 2, 3, 4]), norms.sel(embed_dim=[6, 8])
    widest = norms.sel(embed_dim=16)
    five = known.feature_norms.sel(irrelevant_strength=2.0, embed_dim=5)
    # The one dimension that class and subclass share.
    shared = (five.sel(feature=["class", "subclass"]) ** 2).sum("feature")

    def of(statistic: str) -> Subject:
        return Subject(setting, "|W v_1|", statistic)

    return [
        at_most(of("largest, p = 1 .. 4"), 0.01, highest(narrow)),
        within(of("least, p = 6, 8"), 0.9955, 0.9995, lowest(wide)),
        within(of("largest, p = 6, 8"), 0.9955, 0.9995, highest(wide)),
        found(of("p = 16, seeds"), f"{float(widest.min()):.4f} .. {float(widest.max()):.4f}"),
        close(
            Subject(setting, "|W v_1|^2 + |W v_2|^2", "p = 5, median"),
            1.0,
            float(shared.median()),
            0.02,
        ),
    ]


def _trained(main: xr.Dataset) -> list[Row]:
    setting = "trained, irrelevant strength 2"
    norms = norm_of(main, "class").sel(irrelevant_strength=2.0)
    accuracy = main.class_accuracy.isel(step=-1).sel(irrelevant_strength=2.0)
    wide, five = norms.embed_dim >= 6, norms.sel(embed_dim=5)
    probe = "probe accuracy of the class"
    finite = float((main.finite_steps == main.step[-1]).mean())
    return [
        at_least(Subject("trained", "trajectories that stayed finite", "share"), 1.0, finite),
        at_most(
            Subject(setting, "|W v_1|", "largest, p = 4"), 0.01, highest(norms.sel(embed_dim=4))
        ),
        within(
            Subject(setting, "|W v_1|", "least, p >= 6"),
            0.99,
            1.0,
            lowest(norms.where(wide, np.inf)),
        ),
        found(
            Subject(setting, "|W v_1|, which depends on the start", "p = 5, seeds"),
            f"{float(five.min()):.3f} .. {float(five.max()):.3f}",
        ),
        at_most(
            Subject(setting, probe, "median, p = 4"),
            0.55,
            float(accuracy.sel(embed_dim=4).median()),
        ),
        at_least(
            Subject(setting, probe, "least, p >= 6"), 0.99, lowest(accuracy.where(wide, np.inf))
        ),
    ]


def _left_behind(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """At p = 4 rivals fill the embedding: what is left of the class, by minimum norm and by early
    growth.
    """
    phi = WIDTH_MODEL.class_strength
    stronger = [strength for strength in STRENGTHS if strength > phi]
    trained = main.feature_norms.sel(embed_dim=4, feature="class", irrelevant_strength=stronger)
    start, end = trained.isel(step=0).median("seed"), trained.isel(step=-1)
    order = start.copy(data=theory.left_behind(start.values, phi, np.array(stronger)))
    limit = norm_of(known, "class").sel(embed_dim=4, irrelevant_strength=stronger).median("seed")
    off = {
        name: float(np.exp(np.abs(np.log(end.median("seed") / predicted)).max()))
        for name, predicted in (("early growth", order), ("minimum norm", limit))
    }
    low, middle, high = (end.quantile(share, "seed") for share in (0.1, 0.5, 0.9))
    rows = [
        found(
            Subject(f"trained, p = 4, irrelevant strength {strength:g}", "|W v_1|", "10-90 %"),
            {
                "trained": f"{float(middle[i]):.2g} ({float(low[i]):.2g} .. {float(high[i]):.2g})",
                "early growth": float(order[i]),
                "minimum norm": float(limit[i]),
            },
        )
        for i, strength in enumerate(stronger)
    ]
    law = "|W v_1| / start^(1 - phi_1^2/phi_k^2)"
    followed = min(off, key=off.__getitem__)
    return [
        *rows,
        at_most(
            Subject("trained, p = 4", law, "or its inverse, largest"), 10.0, off["early growth"]
        ),
        found(
            Subject("trained, p = 4", "nearer to what is left by", "times off"),
            {followed: off[followed]},
        ),
    ]


def _sparse() -> tuple[list[Row], xr.Dataset]:
    """Sparse irrelevant features of strength 4 have the variance of dense ones of strength 2."""
    rivals = len(WIDTH_MODEL.irrelevant_strength)
    experiment = SETTING.replace(irrelevant="sparse", irrelevant_strength=(4.0,) * rivals)
    axes: list[Group] = [{"embed_dim": (3, 4, 6, 8)}, seeds(FEW_SEEDS)]
    dataset = sweep(experiment, axes, STEPS, measure=("feature_norms",))
    limit = forecast(experiment, axes, critical=False)
    rows = []
    for name, source in (("minimum norm", limit), ("trained", dataset)):
        narrow, wide = (
            norm_of(source, "class").sel(embed_dim=widths) for widths in ([3, 4], [6, 8])
        )
        setting = f"{name}, sparse of strength 4"
        rows += [
            at_most(Subject(setting, "|W v_1|", "largest, p = 3, 4"), 0.02, highest(narrow)),
            at_least(Subject(setting, "|W v_1|", "least, p = 6, 8"), 0.98, lowest(wide)),
        ]
    return rows, dataset


def _population() -> tuple[list[Row], xr.Dataset]:
    """Without a sample's ties the p largest agreements win, whatever their variance: a hard class
    that views keep beats easy rivals.
    """
    widths = (1, 2, 3, 4)
    axes: list[Group] = [{"embed_dim": widths}, {"seed": range(4)}]
    dataset = sweep(MIXED, axes, POPULATION_STEPS, measure=("feature_norms",))
    expected = np.stack(
        [
            theory.population_norms(MIXED.problem.model, Unsupervised(), p, bias=False)
            for p in widths
        ]
    )
    end = dataset.feature_norms.isel(step=-1).transpose("seed", "embed_dim", "feature")
    first = dataset.feature_norms.sel(embed_dim=1).isel(step=1).median("seed")
    setting = "population, unlike agreements"
    return [
        at_most(
            Subject(setting, "|W v_j|, trained less predicted", "largest, p = 1 .. 4"),
            1e-3,
            highest(np.abs(end.values - expected)),
        ),
        found(
            Subject(setting, "largest norm before the takeover", f"p = 1, step {int(first.step)}"),
            str(first.idxmax("feature").item()),
        ),
    ], dataset


CLAIM = Claim(
    name="suppression-width",
    says="a narrow embedding suppresses the class for easy irrelevant features; a wider one learns "
    "it",
    shows=("Thm 5.1",),
    source="theorem 5.1 of Xue et al. (2023); the boundary by early growth derived here",
    cost="under a minute on 2 cores",
    study=study,
)
