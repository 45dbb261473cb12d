"""What all corruptions promise that are looked under on request: one table drives the tests."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from quick import only_under
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn
from torch.nn import functional

import ringtest
from ringtest.condition import conditions
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.shift import light
from ringtest.shift.corruption import Corruption
from ringtest.shift.light import Light

NO_MODEL: Any = None


@dataclass(frozen=True)
class Kind:
    """A kind of ImageNet-C."""

    name: str
    """There."""
    random: bool = False
    id: str = ""
    """In ringtest, where it is called otherwise."""
    channels: tuple[int, ...] = (1, 3, 4)
    requested: bool = True

    @property
    def make(self) -> Any:
        return conditions[f"shift.corruption.{self.id or self.name}"].make


KINDS = [
    Kind("gaussian_noise", random=True, id="noise", requested=False),
    Kind("shot_noise", random=True),
    Kind("impulse_noise", random=True),
    Kind("defocus_blur"),
    Kind("glass_blur", random=True),
    Kind("motion_blur", random=True),
    Kind("zoom_blur"),
    Kind("snow", random=True),
    Kind("frost", random=True),
    Kind("fog", random=True),
    Kind("brightness", requested=False),
    Kind("contrast", requested=False),
    Kind("elastic_transform", random=True),
    Kind("pixelate"),
    Kind("jpeg_compression"),
    Kind("speckle_noise", random=True),
    Kind("gaussian_blur", id="blur", requested=False),
    Kind("spatter", random=True),
    Kind("saturate", channels=(3,)),
]
"""The 15 kinds of ImageNet-C in the order of the paper, and its 4 further ones."""
REQUESTED = [kind for kind in KINDS if kind.requested]
SIZES = [(8, 8), (9, 13), (32, 32), (40, 24), (2, 5)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(side: int, count: int) -> Tensor:
    """(count, 3, side, side) parts of two photographs, at random."""
    g, parts = rng(7), []
    pictures = [torch.tensor(image) for image in load_sample_images().images]
    for number in range(count):
        size, top, left = (int(torch.randint(*r, (), generator=g)) for r in RANGES)
        part = pictures[number % 2][top : top + size, left : left + size].permute(2, 0, 1)[None]
        parts.append(functional.interpolate(part / 255.0, size=(side, side), mode="area"))
    return torch.cat(parts).clamp(0, 1)


RANGES = ((230, 300), (0, 127), (0, 340))
"""Size, top and left of the parts."""


def digits() -> Tensor:
    """(256, 1, 8, 8) digits."""
    return torch.tensor(load_digits().images[:256] / 16).float()[:, None]


def some(channels: int, size: tuple[int, int], count: int = 6) -> Tensor:
    """Smooth images of any shape, in [0, 1]."""
    coarse = torch.rand(count, channels, 4, 4, generator=rng(3))
    return functional.interpolate(coarse, size=size, mode="bilinear")


def run(condition: Any, data: AuditData, x: Tensor | None = None, seed: int = 1) -> Tensor:
    condition.fit([], data, rng())
    model = condition.subject(NO_MODEL)
    out: Tensor = condition.batch(model, data.inputs if x is None else x, None, rng(seed))
    return out


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_the_catalogue_says_which_kind_of_imagenet_c_it_is(kind: Kind) -> None:
    assert kind.make.source.startswith(f"{kind.name}, Hendrycks")
    assert issubclass(kind.make, Corruption)
    assert issubclass(kind.make, Light) == kind.requested


def test_the_table_has_all_kinds() -> None:
    found = {k.id for k in conditions if issubclass(k.make, Light)}
    assert found == {kind.make.kind for kind in REQUESTED}
    assert (len(KINDS), len(REQUESTED)) == (19, 15)


@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_it_is_there_only_when_asked_for(kind: Kind) -> None:
    data = AuditData(some(3, (8, 8)), bounds=(0, 1))
    assert not kind.make.defaults(data)
    assert [c.severity for c in kind.make.asked(data)] == [1, 2, 3, 4, 5]
    assert [c.key for c in kind.make.asked(data, 3.0)] == [f"{kind.make.kind}@3"]
    assert not kind.make.asked(AuditData(torch.rand(20, 5)))
    for severity in (0.0, 1.5, 6.0):
        with pytest.raises(ConfigError, match="give a whole number from 1 to 5"):
            kind.make.asked(data, severity)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_images_of_any_shape_and_range(kind: Kind, size: tuple[int, int]) -> None:
    for channels in kind.channels:
        x = 3 * some(channels, size) - 2
        data = AuditData(x, bounds=(-2.0, 1.0))
        before, state = x.clone(), torch.get_rng_state()
        for severity in (1, 5):
            changed = run(kind.make(severity=severity), data)
            assert changed.shape == x.shape
            assert changed.dtype == x.dtype
            assert changed.isfinite().all()
            assert changed.min() >= -2
            assert changed.max() <= 1
            assert not torch.equal(changed, x)
            assert torch.equal(run(kind.make(severity=severity), data), changed)
            other = run(kind.make(severity=severity), data, seed=2)
            assert torch.equal(other, changed) != kind.random
        assert torch.equal(x, before)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_the_range_of_values_changes_nothing_else(kind: Kind) -> None:
    x = (255 * some(3, (16, 16))).round() / 255
    plain = run(kind.make(severity=3), AuditData(x, bounds=(0, 1)))
    wide = run(kind.make(severity=3), AuditData(4 * x - 8, bounds=(-8, -4)))
    # What is rounded to levels may fall to another one by the last bit.
    assert ((4 * plain - 8 - wide).abs() > 1e-4).float().mean() < 0.01


@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_half_precision_stays(kind: Kind) -> None:
    data = AuditData(some(3, (8, 8)).half(), bounds=(0, 1))
    assert run(kind.make(severity=2), data).dtype == torch.float16


@pytest.mark.parametrize("part", [2**20, 600], ids=["whole", "in parts"])
@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_a_row_does_not_depend_on_its_company(
    kind: Kind, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "PART", part)
    x = some(3, (9, 11), 10)
    data = AuditData(x, bounds=(0, 1))
    company = torch.cat([x[:4], x[4:].flip(0) * 0.3])
    alone = run(kind.make(severity=4), data)[:4]
    torch.testing.assert_close(
        run(kind.make(severity=4), data, company)[:4], alone, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_memory_is_bounded(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    change = kind.make.change

    def watched(self: Any, x: Tensor, *rest: Any) -> Tensor:
        seen.append(x.numel())
        out: Tensor = change(self, x, *rest)
        return out

    monkeypatch.setattr(kind.make, "change", watched)
    monkeypatch.setattr(light, "PART", 700)
    x = some(3, (10, 11), 9)
    run(kind.make(severity=1), AuditData(x, bounds=(0, 1)))
    assert max(seen) <= 700
    assert sum(seen) == x.numel()


PICTURES = {"8 x 8": lambda: photos(8, 64), "32 x 32": lambda: photos(32, 32)}
PICTURES |= {"digits": digits, "224 x 224": lambda: photos(224, 4)}


@pytest.mark.parametrize("pictures", PICTURES)
def test_a_larger_severity_does_more(pictures: str) -> None:
    x = PICTURES[pictures]()
    data = AuditData(x, bounds=(0, 1))
    for kind in KINDS:
        if x.shape[1] in kind.channels:
            changed = [run(kind.make(severity=s), data) for s in range(1, 6)]
            moved = [float((c - x).square().mean()) for c in changed]
            assert all(a < b for a, b in pairwise(moved)), (kind.name, moved)
            # Neither next to nothing at first nor all of the image at last.
            assert moved[0] > 1e-4 or not kind.requested, (kind.name, moved)
            assert moved[-1] < 0.3, (kind.name, moved)


@pytest.mark.parametrize("kind", REQUESTED, ids=lambda k: k.name)
def test_without_bounds_images_must_lie_between_0_and_1(kind: Kind) -> None:
    x = some(3, (8, 8))
    # Black and white are 0 and 1, not the least and largest value that happen to be there.
    within = run(kind.make(severity=3), AuditData(0.5 * x))
    assert torch.equal(within, run(kind.make(severity=3), AuditData(0.5 * x, bounds=(0, 1))))
    for outside in (2 * x, x - 0.5):
        with pytest.raises(NotMeasurable, match=r"not \[0, 1\].*give AuditData\(..., bounds="):
            run(kind.make(severity=3), AuditData(outside))


def test_grey_images_have_no_saturation() -> None:
    (saturate,) = (kind for kind in KINDS if kind.name == "saturate")
    with pytest.raises(NotMeasurable, match=r"3 channels .*, not of 1$"):
        run(saturate.make(severity=1), AuditData(some(1, (8, 8)), bounds=(0, 1)))


def scores(x: Tensor, bounds: tuple[float, float] | None, *names: str) -> dict[str, Any]:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    data = AuditData(x, np.arange(len(x)) % 3, bounds=bounds)
    cells = [("outputs.score", f"shift.corruption.{name}") for name in names]
    with only_under("shift.corruption.*"):
        report = ringtest.audit(net, other, data, cells=cells, progress=False)
    found = [r for r in report.verdict.rows if r.measure == "outputs.score"]
    kind = [r.condition.removeprefix("shift.corruption.") for r in found]
    levels = ["area" if r.severity is None else f"{r.severity:g}" for r in found]
    return {f"{k}@{s}": r for k, s, r in zip(kind, levels, found, strict=True)}


def test_an_audit_reads_what_a_cell_names() -> None:
    x = some(1, (8, 8), 120)
    found = scores(x, (0, 1), "fog@2", "pixelate", "saturate@1")
    assert np.isfinite([found["fog@2"].teacher, found["fog@2"].student]).all()
    assert found["fog@2"].status == "context"
    assert {name for name in found if name.startswith("pixelate")} == {
        *(f"pixelate@{s}" for s in range(1, 6)),
        "pixelate@area",
    }
    assert "fog@1" not in found
    # The audit goes on where a kind cannot be read, and says why.
    assert found["saturate@1"].status == "not_measurable"
    assert found["noise@1"].status == "context"
    found = scores(4 * x, None, "fog@2")
    assert found["fog@2"].status == "not_measurable"
    assert "not [0, 1]" in found["fog@2"].reason
    assert np.isfinite(found["blur@1"].student)
