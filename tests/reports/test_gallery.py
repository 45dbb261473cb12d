"""The rows that were driven furthest apart: kept small, and drawn as they are."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import image as images
from torch import nn

import ringtest
from ringtest.measurement import Measurement
from ringtest.reports import gallery

CELLS = [("outputs.divergence", "attack.discrepancy@0.1"), ("outputs.divergence", "noise.input")]


def decoded(address: str) -> np.ndarray:
    head, _, body = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(images.imread(io.BytesIO(base64.b64decode(body)), format="png"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7)).astype(np.uint8)
    read = decoded(f"data:image/png;base64,{base64.b64encode(gallery.png(pixels)).decode()}")
    want = pixels[0] if channels == 1 else np.moveaxis(pixels, 0, -1)
    np.testing.assert_allclose(read * 255, want, atol=0.01)


def audited(x: torch.Tensor, **more: Any) -> ringtest.Report:
    def net(seed: int) -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Flatten(), nn.Linear(x[0].numel(), 8), nn.Tanh(), nn.Linear(8, 3)
            )

    data = ringtest.AuditData(x, np.arange(len(x)) % 3, **more)
    return ringtest.audit([net(0), net(1)], net(2), data, cells=CELLS, progress=False)


@pytest.mark.parametrize("side", [8, 50])
def test_images_are_kept_small_and_drawn(side: int) -> None:
    x = torch.rand(120, 3, side, side, generator=torch.Generator().manual_seed(0))
    report = audited(x, bounds=(0, 1))
    (row,) = (r for r in report.verdict.rows if "examples" in r.params)
    assert (row.measure, row.condition) == ("outputs.divergence", "attack.discrepancy")
    examples = row.params["examples"]
    assert [e["divergence"] for e in examples] == sorted(
        (e["divergence"] for e in examples), reverse=True
    )
    assert examples[0]["divergence"] >= row.student
    assert len(json.dumps(examples)) < 30_000
    found = gallery.pictures(report.verdict.rows)
    assert len(found) == len(examples) == 3
    for picture, example in zip(found, examples, strict=True):
        before, after, difference = (decoded(a) for a in picture.images)
        if side == 8:
            np.testing.assert_allclose(
                before, x[example["row"]].movedim(0, -1).numpy(), atol=0.5 / 255 + 1e-6
            )
            assert 0.05 < np.abs(after - before).max() <= 0.1 + 1.1 / 255
            moved = np.clip(0.5 + 10 * (after - before) / 2, 0, 1)
            np.testing.assert_allclose(difference, moved, atol=1 / 255)
        else:
            assert before.shape == (32, 32, 3)
    page = ringtest.reports.html(report)
    assert page.count('class="rt-thumb"') == 9
    assert 'id="gallery"' in page


def test_entries_of_a_table_are_told() -> None:
    x = torch.rand(120, 9, generator=torch.Generator().manual_seed(0))
    report = audited(x)
    (row,) = (r for r in report.verdict.rows if "examples" in r.params)
    for example in row.params["examples"]:
        given = x[example["row"]]
        assert len(example["moved"]) == 6
        for place, before, after in example["moved"]:
            assert before == pytest.approx(float(given[place]))
            assert 0 < abs(after - before) <= 0.1 * float(x[:, place].std(correction=0)) + 1e-6
        assert 0 < example["teacher"]["probability"] <= 1
    assert "→" in gallery.pictures(report.verdict.rows)[0].moved


@pytest.mark.parametrize(
    "examples",
    [
        None,
        "no list",
        [None],
        ["x"],
        [{}],
        [{"row": 1, "divergence": 2.0, "image": {"shape": [9]}}],
    ],
)
def test_what_cannot_be_read_is_left_out(examples: Any) -> None:
    row = Measurement("outputs.divergence", "shift", "x", params={"examples": examples})
    assert gallery.pictures([row]) == []
