"""What modules keep of their inputs is put back, whatever way it was changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization as tq

from ringtest import AuditData, audit, tasks
from ringtest.buffers import restored
from ringtest.model import Model, evaluating
from ringtest.trial import prepare

X = torch.randn(120, 6, generator=torch.Generator().manual_seed(5))


class Keeping(nn.Module):
    """Counts, averages and caches as it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("grown", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.grown.resize_(7).fill_(3)
        self.cache = torch.zeros(len(x))
        return self.net(x)


def test_buffers_are_put_back() -> None:
    net = Keeping()
    before, tensors = copy.deepcopy(net.state_dict()), dict(net.named_buffers())
    with restored(net.modules()):
        net(X)
        assert net.calls == 1
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    # The user's own tensors, not copies; a cache may be tied to what we do not know.
    assert net.calls is tensors["calls"]
    assert net.mean is tensors["mean"]
    assert len(net.cache) == len(X)


def test_buffers_made_under_inference_mode_are_put_back() -> None:
    with torch.inference_mode():
        net = Keeping()
    with restored(net.modules()), torch.inference_mode():
        net(X)
    assert net.calls == 0


def test_an_interrupt_leaves_them_as_they_were() -> None:
    net = Keeping()

    def interrupted() -> None:
        with restored(net.modules()):
            net(X)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert net.calls == 0


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning")
def test_observers_are_held_still_and_switched_on_again() -> None:
    """They would move the scales with every block: another answer at each call."""
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).train()
    net.qconfig = tq.get_default_qat_qconfig(torch.backends.quantized.engine)
    tq.prepare_qat(net, inplace=True)
    net(X)
    before = copy.deepcopy(net.state_dict())
    assert any("observer_enabled" in name for name in before)
    data = AuditData(X, torch.arange(len(X)) % 3)
    model = prepare("s", "student", net, tasks.make("classification", data), data)
    assert isinstance(model, Model)
    with evaluating([model]), torch.no_grad():
        first = net(X * 3)
        assert torch.equal(net(X * 3), first)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_whole_audit_leaves_running_statistics_alone() -> None:
    net = Keeping().eval()
    data = AuditData(X, torch.arange(len(X)) % 3)
    report = audit(nn.Linear(6, 3).eval(), net, data, progress=False)
    assert report.verdict.scope == "full"
    assert net.calls == 0
    assert not net.mean.any()
