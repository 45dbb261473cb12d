"""Transformations at any strength: nothing at 0, more with more, the fixed ones where they meet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.registry import Registry
from ringtest.shift import certified, images, off_support, off_support_images, off_support_tokens
from ringtest.shift.graded import transformations
from ringtest.shift.off_support import OffSupport
from ringtest.shift.off_support_tables import Columns

G = torch.Generator().manual_seed(0)
SMOOTH = images.blurred(torch.rand(40, 3, 12, 16, generator=G), 1.5)
DATA: dict[str, AuditData] = {
    "images": AuditData(SMOOTH, bounds=(0.0, 1.0)),
    "grey": AuditData(SMOOTH[:, :1, :8, :8] * 5 - 2),
    "table": AuditData(torch.randn(60, 5, generator=G) * torch.tensor([1.0, 2, 0, 4, 5])),
    "sequence": AuditData(torch.randn(30, 20, 2, generator=G).cumsum(1)),
    "tokens": AuditData(torch.randint(3, 50, (30, 12), generator=G)),
}
EACH = [(kind, name) for kind, data in DATA.items() for name in transformations(data)]


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def changed(kind: str, name: str, strength: float) -> Tensor:
    x = DATA[kind].inputs
    return transformations(DATA[kind])[name].at(strength)(x, rng())


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_strength_0_changes_nothing_and_more_changes_more(kind: str, name: str) -> None:
    x, graded = DATA[kind].inputs, transformations(DATA[kind])[name]
    if kind != "tokens":  # of which at least one is changed
        torch.testing.assert_close(changed(kind, name, 0.0), x, atol=1e-5, rtol=1e-5)
    moved = []
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2):
        out = changed(kind, name, share * graded.most)
        assert out.shape == x.shape
        assert out.dtype == x.dtype
        assert torch.isfinite(out.double()).all()
        moved.append(
            float((out != x).double().mean() if kind == "tokens" else (out - x).square().mean())
        )
    # A turn or a move beyond the size of what is seen brings no more distance.
    assert all(b >= 0.97 * a for a, b in itertools.pairwise(moved))
    assert moved[-1] > moved[0] >= 0  # a blur narrower than a pixel is none


SAME: dict[str, tuple[str, str, str, float]] = {
    "rotation": ("images", "rotate_minus_15", "rotate_minus", 15.0),
    "scale": ("images", "scale_up", "scale_up", math.log(1.1)),
    "brightness": ("images", "darker", "darker", 0.1),
    "contrast": ("images", "contrast_up", "contrast_up", math.log(1.25)),
    "noise": ("images", "noise", "noise", 0.05),
    "columns": ("table", "shift_down_30", "shift_down", 0.3),
    "stretched": ("table", "scale_down_30", "scale_down", math.log(1.3)),
    "later": ("sequence", "later_15", "later", 0.15),
    "slower": ("sequence", "slower_30", "slower", math.log(1.3)),
    "trend": ("sequence", "trend_down", "trend_down", 0.5),
    "order": ("tokens", "order", "order", 0.1),
    "dropout": ("tokens", "dropout", "dropout", 0.05),
}


@pytest.mark.parametrize("case", SAME)
def test_where_they_meet_they_are_the_fixed_ones_that_are_judged(case: str) -> None:
    kind, fixed, name, strength = SAME[case]
    expected = certified.dictionary(DATA[kind])[fixed](DATA[kind].inputs, rng())
    torch.testing.assert_close(changed(kind, name, strength), expected, atol=1e-5, rtol=1e-5)


def run(condition: OffSupport, data: AuditData) -> Tensor:
    condition.fit([], data, rng())
    return condition.batch(None, data.inputs, None, rng())  # type: ignore[arg-type]


PATCHES = off_support_images.Patches
OFF: list[tuple[type[OffSupport], str, float | None]] = [
    (off_support.Gaussian, "table", 1.0),
    (off_support.Mixed, "table", 0.5),
    (off_support.Noise, "table", None),
    (off_support.Spectrum, "table", 0.5),
    (off_support_images.Patches, "images", 4),
    (off_support_images.Phases, "images", 1.0),
    (off_support_tokens.Shuffled, "tokens", 1.0),
    (off_support_tokens.Random, "tokens", 1.0),
]


@pytest.mark.parametrize(("kind", "data", "whole"), OFF, ids=lambda v: getattr(v, "kind", str(v)))
def test_what_is_judged_is_one_grade_of_many_and_the_others_are_context(
    kind: type[OffSupport], data: str, whole: float | None
) -> None:
    every = list(kind.defaults(DATA[data]))
    judged = [c for c in every if c.role == "off_support"]
    asked = [c for c in every if c.role == "context"]
    assert [c.severity for c in judged] == list(kind.severities)
    assert len(asked) == len(kind.grades) >= 2
    assert [c.role for c in kind.asked(DATA[data], 0.33 if kind is not PATCHES else 3)] == [
        "context"
    ]
    assert not list(kind.asked(DATA[data]))
    assert not any(c.keeps_targets for c in asked)
    if whole is not None:
        assert torch.equal(run(kind(severity=whole), DATA[data]), run(kind(), DATA[data]))
    for condition in asked:
        assert isinstance(condition, OffSupport)
        out = run(condition, DATA[data])
        assert out.shape == DATA[data].inputs.shape
        assert bool((out != DATA[data].inputs).any())


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (off_support.Mixed, 0.6),
        (off_support.Gaussian, 0.0),
        (off_support.Noise, float("nan")),
        (off_support.Spectrum, 1.5),
        (off_support_images.Patches, 2.5),
        (off_support_images.Patches, 1),
        (off_support_images.Phases, -1.0),
        (off_support_tokens.Random, 2.0),
    ],
    ids=lambda v: getattr(v, "kind", str(v)),
)
def test_a_severity_that_means_nothing_is_named(kind: type[OffSupport], severity: float) -> None:
    with pytest.raises(ConfigError, match=f"severity of {kind.kind}") as error:
        kind(severity=severity)
    assert "\n" not in str(error.value)


def test_the_factor_of_a_gaussian_is_that_of_its_deviations() -> None:
    x = torch.randn(4000, 3, generator=G) * torch.tensor([1.0, 2.0, 5.0]) + 7
    out = run(off_support.Gaussian(severity=2.0), AuditData(x))
    np.testing.assert_allclose(out.std(0) / x.std(0), 2.0, rtol=0.06)
    np.testing.assert_allclose(out.mean(0), x.mean(0), atol=0.5)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_share_of_the_features_is_mixed_exactly(share: float) -> None:
    x = torch.arange(200.0).reshape(200, 1).repeat(1, 40)
    out = run(off_support.Mixed(severity=share), AuditData(x))
    own = torch.arange(200.0)[:, None]
    donor = out[out != own].unique()
    assert len(donor) > 50
    count = (out != own).sum(1)
    assert set(count.tolist()) <= {0, int(share * 40)}  # 0: a row met itself


def test_an_exponent_of_1_makes_all_directions_equal() -> None:
    x = torch.randn(600, 4, generator=G) * torch.tensor([1.0, 2.0, 4.0, 8.0])
    condition = off_support.Spectrum(severity=1.0)
    data = AuditData(x)
    condition.fit([], data, rng())
    centred = x - x.mean(0)
    values = np.linalg.svd(centred.numpy() / 600**0.5, compute_uv=False)
    np.testing.assert_allclose(condition._factors.numpy() + 1, values[-1] / values, rtol=1e-3)


def test_turned_phases_keep_all_amplitudes_at_every_share() -> None:
    data = AuditData(SMOOTH)
    for share in (0.25, 0.5, 1.0):
        out = run(off_support_images.Phases(severity=share), data)
        a, b = (torch.fft.rfft2(v).abs() for v in (out, SMOOTH))
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_patches_of_a_finer_grid_keep_the_pixels_of_each_image() -> None:
    x = torch.rand(20, 2, 16, 16, generator=G)
    out = run(off_support_images.Patches(severity=8), AuditData(x, bounds=(0.0, 1.0)))
    assert torch.equal(out.flatten(2).sort(2).values, x.flatten(2).sort(2).values)
    blocks: Callable[[Tensor], Any] = lambda v: v.unfold(2, 2, 2).unfold(3, 2, 2)  # noqa: E731
    first = {tuple(p.tolist()) for p in blocks(x)[0, 0].reshape(64, 4)}
    assert {tuple(p.tolist()) for p in blocks(out)[0, 0].reshape(64, 4)} == first


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_so_many_words_change_their_places_or_are_drawn_anew(share: float) -> None:
    x = torch.arange(3, 43).repeat(50, 1)
    data = AuditData(x, mask=torch.ones_like(x, dtype=torch.bool))
    out = run(off_support_tokens.Shuffled(severity=share), data)
    assert torch.equal(out.sort(1).values, x)
    assert bool(((out != x).sum(1) <= share * 40).all())
    assert float((out != x).double().mean()) == pytest.approx(share, abs=0.05)
    drawn = run(off_support_tokens.Random(severity=share), data)
    assert float((drawn != x).double().mean()) == pytest.approx(share * 39 / 40, abs=0.03)


def test_independent_columns_keep_their_values_and_lose_their_relations() -> None:
    z = torch.randn(3000, 1, generator=G)
    x = torch.cat([z, 2 * z + 1, -z], 1)
    data = AuditData(x)
    out = run(Columns(severity=1.0), data)
    for column in range(3):
        assert np.isin(out[:, column].numpy(), x[:, column].numpy()).all()
    correlations = np.corrcoef(out.numpy(), rowvar=False)
    assert np.abs(correlations - np.eye(3)).max() < 0.08
    np.testing.assert_allclose(out.std(0), x.std(0), rtol=0.1)
    half = run(Columns(severity=0.5), data)
    assert float((half != x).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert {c.role for c in Columns.defaults(data)} == {"context"}
    assert not list(Columns.defaults(DATA["images"]))


def test_the_registry_is_what_is_asked() -> None:
    """Every kind off support can be asked for at a strength of its own."""
    from ringtest.condition import Kind, conditions

    kinds: Registry[Kind] = conditions
    off = [k for k in kinds if k.id.startswith("shift.off_support.")]
    assert len(off) >= 9
    assert all(issubclass(k.make, OffSupport) and len(k.make.grades) >= 2 for k in off)
