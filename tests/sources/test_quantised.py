"""Quantised students: rounded in training, at run time, or for good; all audited end to end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization as tq

from ringtest import AuditData, Subject, audit

# torch has deprecated all of this, and people still ship it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, :UserWarning"),
]


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.first, self.act = nn.Linear(6, 24), nn.ReLU()
            self.second, self.head = nn.Linear(24, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(self.quant(x)))
        return self.dequant(self.head(self.act(self.second(x))))


def rows() -> Tensor:
    return torch.randn(130, 6, generator=torch.Generator().manual_seed(3))


def fake() -> nn.Module:
    """As after quantisation-aware training: weights and activations pass through FakeQuantize."""
    net = Net().train()
    net.qconfig = tq.get_default_qat_qconfig(torch.backends.quantized.engine)
    tq.prepare_qat(net, inplace=True)
    net(rows())
    net.apply(tq.disable_observer)
    return net.eval()


def dynamic() -> nn.Module:
    return tq.quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8)


def static() -> nn.Module:
    net = Net().eval()
    net.qconfig = tq.get_default_qconfig(torch.backends.quantized.engine)
    tq.prepare(net, inplace=True)
    net(rows())
    tq.convert(net, inplace=True)
    return net


def rounded() -> Any:
    """Weights rounded to 8 bits by hand: whoever knows says that gradients mean nothing."""
    net = Net().eval()
    with torch.no_grad():
        for p in net.parameters():
            step = p.abs().max() / 127
            p.copy_((p / step).round() * step)
    return Subject(net, gradients=False)


QUANTISED: dict[str, Callable[[], Any]] = {
    "fake": fake,
    "dynamic": dynamic,
    "static": static,
    "by hand": rounded,
}


@pytest.mark.usefixtures("asked_alone")
@pytest.mark.parametrize("how", QUANTISED)
def test_a_quantised_student_is_audited_without_its_gradients(how: str) -> None:
    data = AuditData(rows(), (rows()[:, 0] > 0).long())
    student = QUANTISED[how]()
    report = audit(Net().eval(), student, data, progress=False)
    assert report.verdict.scope == "no-gradient"
    described = report.data["subjects"]["student"]
    assert described["capabilities"] == ["outputs", "layers"]
    assert len(described["layers"]) >= 2
    assert described["layers"][-1] == "input of head"
    (cka,) = [
        r.student
        for r in report.rows
        if (r.measure, r.condition, r.statistic) == ("similarity.cka", "clean", "cka")
        and r.teacher_layer == r.student_layer == "input of head"
    ]
    # Eight bits leave the inside as it was.
    assert 0.99 < cka <= 1


def test_nobody_asks_a_quantised_model_for_its_gradient_aloud() -> None:
    data = AuditData(rows(), (rows()[:, 0] > 0).long())
    student = dynamic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        audit(Net().eval(), student, data, progress=False)
    assert not [str(w.message) for w in told if "autograd kernel" in str(w.message)]
