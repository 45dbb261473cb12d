"""Wood's identities by direct computation of every KL divergence."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import log_loss

from ringtest.ensembles import kl_diversity
from ringtest.ensembles.diversity import of
from ringtest.errors import DataError


def geometric(p, axis):
    return special.softmax(np.log(p).mean(axis), axis=-1)


@pytest.mark.parametrize(("members", "classes", "alpha"), [(2, 2, 1.0), (5, 10, 0.3), (9, 4, 50.0)])
def test_the_gain_of_the_geometric_mean_is_its_divergence(rng, members, classes, alpha):
    p = rng.dirichlet(np.full(classes, alpha), size=(members, 200)) + 1e-12
    p /= p.sum(2, keepdims=True)
    y = rng.integers(0, classes, 200)
    found = of(p, y).log_loss
    centre, labels = geometric(p, 0), np.arange(classes)
    assert found.member.value == pytest.approx(
        np.mean([log_loss(y, q, labels=labels) for q in p]), rel=1e-12
    )
    assert found.geometric.value == pytest.approx(log_loss(y, centre, labels=labels), rel=1e-12)
    divergence = stats.entropy(centre, p, axis=2).mean()
    assert found.diversity.value == pytest.approx(divergence, abs=1e-12)
    gain = found.member.estimate - found.geometric.estimate
    assert gain.value == pytest.approx(divergence, abs=1e-12)
    np.testing.assert_allclose(gain.influence, found.diversity.estimate.influence, atol=1e-12)
    plain = log_loss(y, p.mean(0), labels=labels)
    assert found.arithmetic.value == pytest.approx(plain, rel=1e-12)
    assert found.jensen_gap.value == pytest.approx(found.member.value - plain, abs=1e-12)
    assert found.jensen_gap.value >= 0


def test_bias_variance_and_diversity_add_up(rng, monkeypatch):
    monkeypatch.setattr(kl_diversity, "_CHUNK", 500)
    trials = rng.dirichlet(np.full(4, 0.8), size=(6, 3, 50)) + 1e-12
    trials /= trials.sum(-1, keepdims=True)
    y = rng.integers(0, 4, 50)
    found = kl_diversity.split(trials, y)
    centroid, ensemble = geometric(trials, 0), geometric(trials, 1)
    items = np.arange(50)
    direct = {
        "loss": -np.log(ensemble[:, items, y]).mean(),
        "bias": -np.log(centroid[:, items, y]).mean(),
        "variance": stats.entropy(centroid, trials, axis=-1).mean(),
        "diversity": stats.entropy(ensemble[:, None], trials, axis=-1).mean(),
    }
    for name, value in direct.items():
        assert getattr(found, name).value == pytest.approx(value, abs=1e-12), name
    total = found.bias.value + found.variance.value - found.diversity.value
    assert total == pytest.approx(found.loss.value, abs=1e-12)


def test_zeros_are_not_measurable_and_say_where():
    a, b = np.full((4, 3), 1 / 3), np.full((4, 3), 1 / 3)
    b[2] = [0, 0.5, 0.5]
    found = of([a, b], [0, 0, 0, 0]).log_loss
    for number in (found.member, found.geometric, found.jensen_gap):
        assert np.isnan(number.value)
        assert "member 1 gives the target of item 2 probability 0" in number.reason
    # The geometric mean still has two classes in its support, the arithmetic all three.
    centre = stats.entropy([0, 0.5, 0.5], np.full(3, 1 / 3)) / 2
    assert found.diversity.value == pytest.approx(centre / 4)
    assert found.arithmetic.value == pytest.approx(-(3 * np.log(1 / 3) + np.log(1 / 6)) / 4)
    a[2] = [1, 0, 0]
    apart = of([a, b], [0, 0, 1, 0]).log_loss
    assert "at item 2 every class" in apart.diversity.reason
    a[3] = b[3] = [0, 0, 1]
    none = of([a, b], [0, 0, 1, 0]).log_loss
    assert "at item 3 all members" in none.arithmetic.reason
    split = kl_diversity.split(np.stack([[a, b], [b, a]]), [0, 0, 1, 0])
    assert "at item 2 " in split.bias.reason


@pytest.mark.parametrize("shape", [(1, 3, 5, 2), (2, 3, 5, 1), (3, 5, 2), (2, 2, 0, 2)])
def test_a_split_needs_trials(shape):
    with pytest.raises(DataError, match="trials"):
        kl_diversity.split(np.full(shape, 1 / shape[-1]), [0] * 5)


def test_trials_of_unequal_shape_are_refused():
    even, odd = np.full((2, 5, 2), 0.5).tolist(), np.full((2, 4, 2), 0.5).tolist()
    with pytest.raises(DataError, match="trials: are no array"):
        kl_diversity.split([even, odd], [0] * 5)
