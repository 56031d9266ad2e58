"""Arrays of a reader: their views, or inputs and what makes views of them; and test rows."""

import jax
import numpy as np
import pytest
from oracles import (
    mean_gap,
    pair_loss,
    pair_weights,
    probe,
    raw_training,
    variance_within,
    with_one,
)

import cldyn
from cldyn import Epochs, Experiment, Full, Gd, Iid, Linear, Subset, Training, Unsupervised

LINEAR = Training(Linear(init_scale=0.1), optimizer=Gd(learning_rate=0.02))
MEASURED = ("class_gap", "subclass_gap", "class_variance", "subclass_variance")


def arrays(seed, n=9, d=5, s=14, groups=3):
    """Views, classes, subclasses, directions and test rows, all random; every group occurs."""
    rng = np.random.default_rng(seed)
    label, subclass = np.arange(n) % groups - 1, rng.permutation(np.arange(n) % 2)
    x = rng.normal(size=(n, 2, d)) + rng.normal(size=(groups, d))[label][:, None]
    code, subcode = rng.permutation(np.arange(s) % groups) - 1, rng.permutation(np.arange(s) % 2)
    test = rng.normal(size=(s, d)), code, subcode
    return x, label, subclass, rng.normal(size=(2, d)), test


def noisy(key, x):
    return x + 0.3 * jax.random.normal(key, x.shape)


@pytest.mark.parametrize("encoder", [Linear(init_scale=0.1), cldyn.Mlp(6)], ids=["linear", "mlp"])
@pytest.mark.parametrize("seed", range(2))
def test_measures_of_own_rows_are_those_of_numpy(seed, encoder):
    x, label, subclass, directions, test = arrays(seed)
    source = cldyn.views(x, label, subclass, directions, test=test)
    experiment = Experiment(source, Training(encoder, optimizer=Gd(0.02)), "float64")
    sampled = [f"{rows}_{name}" for rows in ("train", "test") for name in MEASURED]
    exact = ["feature_norms", "class_gap", "subclass_gap", "loss"]
    more = ["class_accuracy", "subclass_accuracy", "embeddings", *exact]
    run = cldyn.run(experiment, [0, 60], measure=[*sampled, *more])

    def embed(rows):
        if isinstance(encoder, Linear):
            return with_one(rows) @ run.weights.T
        return np.asarray(encoder.apply(run.weights, rows))

    f, g = embed(x.reshape(18, 5)), embed(test[0])
    ours = np.repeat(label, 2), np.repeat(subclass, 2)
    expected = {
        "feature_norms": np.linalg.norm(embed(directions) - embed(np.zeros((1, 5))), axis=1),
        "class_accuracy": probe(f, ours[0], g, test[1]),
        "subclass_accuracy": probe(f, ours[1], g, test[2]),
        "embeddings": g,
        "loss": pair_loss(f, *pair_weights(label, 2, cldyn.Supervised())),
    }
    for rows, of, (code, subcode) in (("train", f, ours), ("test", g, test[1:])):
        expected |= {
            f"{rows}_class_gap": mean_gap(of, code),
            f"{rows}_subclass_gap": mean_gap(of, subcode),
            f"{rows}_class_variance": variance_within(of, code),
            f"{rows}_subclass_variance": variance_within(of, 10 * code + subcode),
        }
    # A linear encoder knows the means of the training rows, another one is seen on test rows.
    known = "train" if isinstance(encoder, Linear) else "test"
    expected |= {name: expected[f"{known}_{name}"] for name in ("class_gap", "subclass_gap")}
    assert {*expected} == {*run.records}
    for name, value in expected.items():
        found = run.records[name][-1]
        np.testing.assert_allclose(found, value, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(2))
def test_own_views_are_trained_as_by_autodiff_on_them(seed):
    x, label, subclass, directions, _ = arrays(seed)
    source = cldyn.views(x, label, subclass, directions)
    experiment = Experiment(source, LINEAR, "float64")
    many = cldyn.sweep(experiment, [{"seed": [0, 1]}], [0, 50], progress=False)
    for i in range(2):
        w = raw_training(experiment.replace(seed=i), 50)
        norms = np.linalg.norm(directions @ w[:, :5].T, axis=1)
        np.testing.assert_allclose(many.feature_norms[i, -1], norms, rtol=1e-9)
        rows = with_one(x).reshape(18, 6) @ w.T
        assert float(many.class_gap[i, -1]) == pytest.approx(mean_gap(rows, np.repeat(label, 2)))


@pytest.mark.parametrize("batch", [Subset(9), Epochs(9)])
def test_a_batch_of_all_own_examples_is_gradient_descent(batch):
    x, label, *_ = arrays(2)
    own = Experiment(cldyn.views(x, label), LINEAR, "float64").replace(positives=Unsupervised())
    full = cldyn.run(own, [0, 50]).records["loss"]
    some = cldyn.run(own.replace(batch=batch), [0, 50]).records["loss"]
    np.testing.assert_allclose(some, full, rtol=1e-9)


def test_full_batches_store_augmented_views_once_by_their_seed():
    x, label, subclass, directions, test = arrays(3)
    source = cldyn.augmented(x[:, 0], label, noisy, subclass, directions, m=3, test=test)
    own = Experiment(source, LINEAR, "float64")
    names = ["embeddings", "class_accuracy", "train_class_variance", "loss"]
    run = cldyn.run(own, [0, 50], measure=names)
    drawn = np.asarray(source.draw(np.dtype(float)).x)
    assert drawn.shape == (9, 3, 5) and len(np.unique(drawn)) == drawn.size
    assert 0.2 < np.std(drawn - x[:, :1]) < 0.4
    stored = cldyn.views(drawn, label, subclass, directions, test=test)
    same = cldyn.run(own.replace(problem=stored), [0, 50], measure=names)
    for name in names:
        np.testing.assert_allclose(run.records[name], same.records[name], rtol=1e-9)
    other = cldyn.run(own.replace(data_seed=1), [0, 50], measure=names)
    assert not np.allclose(run.records["loss"], other.records["loss"], rtol=1e-3)
    assert own.replace(data_seed=0).replace(batch=Full()) == own


@pytest.mark.parametrize("batch", [Iid(4), Subset(4), Epochs(4)], ids=["iid", "subset", "epochs"])
def test_every_step_augments_the_inputs_of_its_batch_anew(batch):
    x, label, *_ = arrays(4)
    source = cldyn.augmented(x[:, 0], label, noisy, m=2)
    training = Training(batch=batch, positives=Unsupervised())
    units = source.units(source.draw(np.dtype(float)), training, None)
    seen = []
    for step in range(8):
        key = jax.random.fold_in(units.key, step)
        chosen = np.asarray(batch.choose(units.key, key, step, 9))
        found = np.asarray(units.draw(training, key, step).x)
        assert found.shape == (4, 2, 5) and np.abs(found - x[chosen][:, :1]).max() < 2
        seen.append(found)
    assert len(np.unique(seen)) == np.size(seen)


def test_augmented_batches_are_of_the_seed_and_continue_bit_for_bit():
    x, label, *_ = arrays(5)
    own = Experiment(cldyn.augmented(x[:, 0], label, noisy), LINEAR, "float64")
    own = own.replace(batch=Subset(4), positives=Unsupervised())
    whole, half = cldyn.run(own, [0, 9, 20]), cldyn.run(own, [0, 9])
    rest = cldyn.run(own, [20], state=half.state)
    np.testing.assert_array_equal(whole.weights, rest.weights)
    many = cldyn.sweep(own, [{"seed": [1, 0]}], [0, 9, 20], progress=False)
    np.testing.assert_allclose(many.loss[1], whole.records["loss"], rtol=1e-9)
    assert not np.allclose(many.loss[0], many.loss[1], rtol=1e-3)
