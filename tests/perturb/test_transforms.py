"""Transforms of other libraries: whole blocks, single rows, Pillow's images, curves of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

import ringtest
from ringtest.blocks import derive
from ringtest.cells.keys import Keys
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.measurement import AREA
from ringtest.perturb.transforms import Transform
from ringtest.road import prepare

NO_MODEL: Any = None
N = 40


def images(channels: int = 3, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Values of the 256 levels, so that Pillow's rounding changes none."""
    levels = torch.randint(256, (N, channels, 6, 5), generator=torch.Generator().manual_seed(0))
    return low + levels / 255 * (high - low)


def run(condition: Any, x: Tensor, seed: int = 0, rows: int = N, **more: Any) -> Tensor:
    more.setdefault("bounds", (float(x.min()), float(x.max())))
    condition.fit([], AuditData(x, torch.arange(N) % 2, **more), torch.Generator())
    out: Tensor = condition.batch(NO_MODEL, x[:rows], None, torch.Generator().manual_seed(seed))
    return out


class Flip(nn.Module):
    """As torchvision's: (..., h, w), a batch or one image, drawn from torch's global state."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1) if torch.rand(()) < 0.5 else x


def flipped(made: Tensor, x: Tensor) -> Tensor:
    """(b,) true where a row was flipped."""
    is_flipped = (made == x.flip(-1)).flatten(1).all(1)
    assert (is_flipped | (made == x).flatten(1).all(1)).all()
    return is_flipped


def test_a_batch_is_drawn_for_once_and_rows_by_themselves() -> None:
    x = images()
    whole = [flipped(run(Transform(Flip()), x, seed), x) for seed in range(6)]
    assert all(w.all() or not w.any() for w in whole)
    assert len({bool(w[0]) for w in whole}) == 2
    each = flipped(run(Transform(Flip(), per_row=True), x), x)
    assert 8 < each.sum() < 32
    assert Transform(Flip()).id == "perturb.transform.Flip"


DRAWS = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002
    "python": lambda: random.random(),
}


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("source", DRAWS)
def test_draws_are_seeded_and_leave_no_trace(source: str, per_row: bool) -> None:
    x = images()

    def state() -> list[Any]:
        numpy_state = repr(np.random.get_state())  # noqa: NPY002
        return [torch.get_rng_state().tolist(), numpy_state, random.getstate()]

    def fade(z: Tensor) -> Tensor:
        return z.mul_(DRAWS[source]())

    before, kept = state(), x.clone()
    one, again, other = (run(Transform(fade, per_row=per_row), x, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert state() == before
    assert torch.equal(x, kept)


def test_what_a_row_draws_hangs_on_its_place_alone() -> None:
    x = images()

    def greedy(row: Tensor) -> Tensor:
        """Draws as often as the row says."""
        first = torch.rand(())
        torch.rand(int(row.sum() * 100))
        return row * first

    made = run(Transform(greedy, per_row=True), x)
    assert torch.equal(run(Transform(greedy, per_row=True), x, rows=10), made[:10])
    factors = (made.double().flatten(1).sum(1) / x.double().flatten(1).sum(1)).float()
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(0)))
    expected = [
        float(torch.rand((), generator=torch.Generator().manual_seed(derive(seed, i))))
        for i in range(N)
    ]
    torch.testing.assert_close(factors, torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0)])
def test_pillow_sees_each_image_and_gives_it_back(channels: int, low: float, high: float) -> None:
    x, modes = images(channels, low, high), set()

    def mirrored(image: Image.Image) -> Image.Image:
        modes.add((image.mode, image.size))
        return ImageOps.mirror(image)

    made = run(Transform(mirrored, pil=True), x, bounds=(low, high))
    torch.testing.assert_close(made, x.flip(-1), atol=1e-5 * (high - low), rtol=0)
    assert modes == {({1: "L", 3: "RGB", 4: "RGBA"}[channels], (5, 6))}


def test_pillow_may_give_a_tensor_or_a_grey_image() -> None:
    x = images()
    grey = run(Transform(ImageOps.grayscale, pil=True), x)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    expected = (x * weights).sum(1, keepdim=True).expand(x.shape)
    torch.testing.assert_close(grey, expected, atol=1.01 / 255, rtol=0)

    def to_tensor(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).movedim(-1, 0) / 255

    torch.testing.assert_close(run(Transform(to_tensor, pil=True), x), x)


def test_what_comes_out_is_moved_into_the_bounds() -> None:
    assert run(Transform(lambda row: row + 0.7, "up", per_row=True), images()).max() == 1.0


def test_rows_of_tables_and_tokens_will_do() -> None:
    x = torch.rand(N, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(run(Transform(lambda r: r.flip(0), per_row=True), x), x.flip(1))
    ids = torch.randint(9, (N, 4), generator=torch.Generator().manual_seed(1))
    made = run(Transform(lambda r: r.roll(1), per_row=True), ids, bounds=None)
    assert torch.equal(made, ids.roll(1, 1))


@pytest.mark.parametrize(
    ("function", "more", "says"),
    [
        (
            lambda r: r[:, :2],
            {},
            r"gave \(3, 2, 5\) for a row of shape \(3, 6, 5\); keep the shape",
        ),
        (lambda r: r.numpy(), {}, "gave ndarray for a row"),
        (lambda r: (r * 255).to(torch.uint8), {}, "turned torch.float32 into torch.uint8"),
        (lambda r: r / 0, {}, f"NaN or infinity in {N} rows"),
        (lambda r: r.nothing, {}, "raised AttributeError"),
        (lambda i: i.resize((3, 3)), {"pil": True}, r"gave \(3, 3, 3\) for a row of"),
        (lambda i: i.tobytes(), {"pil": True}, "gave bytes for a row"),
    ],
)
def test_a_wrong_answer_is_one_line(function: Any, more: Any, says: str) -> None:
    x = images().clamp(min=0.01)
    with pytest.raises(DataError, match=says) as caught:
        run(Transform(function, "mine", per_row=True, **more), x)
    assert "\n" not in str(caught.value)
    assert "perturb.transform.mine" in str(caught.value)


def test_what_cannot_be_used_is_told() -> None:
    image = Transform(ImageOps.mirror, "mirror", pil=True)
    for x, more, says in [
        (
            torch.rand(N, 4),
            {},
            r"inputs: are table of shape \(40, 4\); perturb.transform.mirror with",
        ),
        (torch.rand(N, 2, 4, 4), {}, "is for images of 1, 3 or 4 channels"),
        (images(), {"bounds": None}, "bounds: are missing, and perturb.transform.mirror"),
    ]:
        with pytest.raises(DataError, match=says) as caught:
            run(image, x, **more)
        assert "\n" not in str(caught.value)
    for wrong, why in [
        (lambda: Transform(images()), "is Tensor; give a callable"),  # type: ignore[arg-type]
        (lambda: Transform(Flip), "is Flip; give a callable"),
        (
            lambda: Transform(Flip(), severity=0),
            "severity of perturb.transform: is 0; give a number",
        ),
        (lambda: Transform(Flip(), severity=float("nan")), "is nan"),
        (
            lambda: Transform.curve({}, "x"),
            "functions of perturb.transform.x: are none; give a dict",
        ),
        (lambda: Transform.curve([Flip()], "x"), "are list; give a dict severity -> callable"),
        (lambda: Transform.curve({-1: Flip()}, "x"), "is -1; give a number above 0"),
        (lambda: Transform.curve({1: 3}, "x"), "is int; give a callable"),
    ]:
        with pytest.raises(ConfigError, match=why) as said:
            wrong()
        assert "\n" not in str(said.value)


def net(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(90, 16), nn.ReLU(), nn.Linear(16, 2)).eval()


@pytest.mark.usefixtures("asked_alone")
def test_a_curve_has_its_area_and_all_models_see_the_same() -> None:
    x = images()
    data = AuditData(x, net(0)(x).argmax(1), bounds=(0, 1))
    shown: list[Tensor] = []

    def noisy(by: float) -> Any:
        def change(row: Tensor) -> Tensor:
            shown.append((row + by * torch.rand(row.shape)).clamp(0, 1))
            return shown[-1]

        return change

    curve = Transform.curve({2: noisy(1.0), 1: noisy(0.5)}, "speckle", per_row=True)
    assert [c.key for c in curve] == [f"perturb.transform.speckle@{s}" for s in (2, 1)]
    report = ringtest.audit(
        [net(0), net(2)], net(1), data, conditions=curve, progress=False
    )  # fmt: skip
    assert len(shown) == 2 * N, "each row is changed once, for all models"
    rows = [r for r in report.rows if r.condition == "perturb.transform.speckle"]
    scores = {r.severity: r for r in rows if r.measure == "outputs.score"}
    with torch.no_grad():
        for severity, part in ((2, shown[:N]), (1, shown[N:])):
            right = (net(1)(torch.stack(part)).argmax(1).numpy() == data.targets).mean()
            assert scores[severity].student == pytest.approx(right)
        clean = (net(1)(x).argmax(1).numpy() == data.targets).mean()
    area = np.trapezoid([clean, scores[1].student, scores[2].student], [0, 1, 2]) / 2
    assert scores[None].statistic == AREA
    assert scores[None].student == pytest.approx(area)


def test_a_callable_is_computed_anew() -> None:
    at = AuditData(images(), torch.arange(N) % 2, bounds=(0, 1))
    case = prepare(net(0), net(1), at, conditions=[Transform(Flip(), "flip")])
    assert Keys(case)["outputs.score@perturb.transform.flip"] is None
