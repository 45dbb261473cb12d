"""Planted ensembles: it is known whether there was anything to distil, and where the gain is."""

import copy

import numpy as np
import pytest
import torch
from multi_view import MultiView, Net, multi_view

from ringtest.ensembles import diversity, selection, votes
from ringtest.ensembles.candidates import candidates
from ringtest.ensembles.transfer import transfer
from ringtest.ensembles.waterfall import Waterfall, sentence, waterfall
from ringtest.estimate import row_mean


@pytest.fixture(scope="module")
def toy() -> MultiView:
    return trained(0)


def trained(seed: int) -> MultiView:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return multi_view(seed)
    finally:
        torch.set_num_threads(threads)


def placed(toy: MultiView, members: list[Net], student: Net) -> Waterfall:
    """The student held against the members and their mean."""
    p, y = toy.probabilities([*members, student]).double().numpy(), toy.targets.numpy()
    right = p.argmax(2) == y
    ensemble = p[:-1].mean(0).argmax(1) == y
    return waterfall(row_mean(right[:-1].mean(0)), row_mean(ensemble), row_mean(right[-1]))


def check_multi_view(toy: MultiView) -> None:
    p = toy.probabilities(toy.members).double().numpy()
    found = diversity.of(p, toy.targets.numpy())
    assert found.effective.interval()[0] > 1.5, found.words()
    student = placed(toy, toy.members, toy.student)
    label_only = placed(toy, toy.members, toy.label_only)
    control = placed(toy, toy.members, toy.control)
    rise = student.steps[1]
    assert rise.rise.value == pytest.approx(found.gain.value)
    assert rise.rise_low > 0.02
    assert student.placed[0].low > 0.5, sentence(student)
    assert label_only.placed[0].low <= 0, sentence(label_only)
    assert control.placed[0].low <= 0, sentence(control)
    assert transfer(student, control).answer == "transferred"
    assert transfer(label_only).answer == "not"
    assert transfer(control).answer == "not"


def test_a_student_inherits_what_members_that_saw_other_views_gain(toy: MultiView):
    check_multi_view(toy)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_student_inherits_it_from_any_start(seed: int):
    check_multi_view(trained(seed))


def test_the_gain_is_on_rows_that_show_one_view(toy: MultiView):
    """A member fails where the view it never learnt stands alone; the ensemble and its student
    do not, and no single member of the five knows all views."""
    strength = toy.inputs.reshape(len(toy.targets), -1, 2 * 8)
    own = torch.stack([2 * toy.targets, 2 * toy.targets + 1], 1)
    shown = strength.amax(1).gather(1, own).amin(1) > 0.5
    right = toy.probabilities([*toy.members, toy.student]).argmax(2) == toy.targets
    both, one = right[:, shown].float().mean(1), right[:, ~shown].float().mean(1)
    assert 0.45 < shown.float().mean() < 0.55
    assert both.min() > 0.98
    assert one[:-1].max() < one[-1]
    assert one[:-1].mean() < one[-1] - 0.05


def test_clones_of_a_trained_net_have_nothing_to_distil(toy: MultiView):
    clones = [copy.deepcopy(toy.members[0]) for _ in range(5)]
    p = toy.probabilities(clones).double().numpy()
    found = diversity.of(p, toy.targets.numpy())
    assert found.effective.votes.value == pytest.approx(1.0)
    assert found.words().startswith("one opinion held 5 times: 1.0 effective votes of 5")
    assert found.gain.value == 0.0
    way = placed(toy, clones, toy.student)
    assert way.steps[1].rise.value == 0.0
    assert not way.placed[0].share.measured
    said = transfer(way)
    assert said.answer == "open"
    assert "ensemble - mean member is +0.0 points" in said.words
    assert "which holds 0" in said.words


def test_members_that_err_independently_are_as_many_votes():
    """Logits that are the truth and a noise of each member's own."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(4, (4_000,), generator=g)
    truth = 1.5 * torch.nn.functional.one_hot(y, 4)
    logits = truth + torch.randn(5, 4_000, 4, generator=g)
    p = logits.double().softmax(2).numpy()
    found = diversity.of(p, y.numpy())
    low, high = found.effective.interval()
    assert 4.7 < low < 5 < high < 5.3
    assert found.words().startswith("5 real votes")
    right = p.argmax(2) == y.numpy()
    mean, together = row_mean(right.mean(0)), row_mean(p.mean(0).argmax(1) == y.numpy())
    copied = waterfall(mean, together, together)
    assert transfer(copied).answer == "transferred"
    other = waterfall(mean, together, row_mean(right[0]))
    assert transfer(other).answer == "not"


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Answers of which the right one is no more common than each of three wrong ones."""
    rng = np.random.default_rng(0)
    said = rng.integers(0, 4, (1_000, 8))
    return said == 0, said


def test_an_oracle_verifier_has_the_gain(samples):
    right, said = samples
    found = selection.gains(candidates(right, said, right.astype(float)))
    assert found.source == "selection"
    assert found.selected.value == found.oracle.value == pytest.approx(1 - 0.75**8, abs=0.03)
    assert found.recovery.value == pytest.approx(1.0)
    assert found.missed.value == 0.0
    # A student that only learnt the vote has none of it; one that learnt to select has it all.
    c = candidates(right, said, right.astype(float))
    single, vote = selection.mean_single(c), votes.majority(c).estimate
    way = waterfall(single, vote, vote, selection.best_of(c), selection.oracle(c))
    assert transfer(way, of="selected").answer == "not"
    assert transfer(way).answer == "open"
    way = waterfall(single, vote, selection.best_of(c), selection.best_of(c))
    assert transfer(way, of="selected").answer == "transferred"


@pytest.mark.parametrize("seed", range(5))
def test_a_verifier_of_noise_selects_nothing(samples, seed: int):
    right, said = samples
    scores = np.random.default_rng([seed, 1]).normal(size=right.shape)
    found = selection.gains(candidates(right, said, scores))
    assert found.source == "neither"
    assert abs(found.recovery.value) < 0.06
    assert found.missed.value > 0.5


def test_where_votes_suffice_noise_is_no_verifier():
    rng = np.random.default_rng(2)
    said = np.where(rng.random((1_000, 8)) < 0.55, 0, rng.integers(1, 6, (1_000, 8)))
    noise = rng.normal(size=said.shape)
    assert selection.gains(candidates(said == 0, said, noise)).source == "aggregation"
    truth = (said == 0).astype(float)
    both = selection.gains(candidates(said == 0, said, truth))
    assert both.source == "aggregation and selection"
