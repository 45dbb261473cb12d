"""An audit's look at small models, and models of which it is known what they use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ringtest import tasks
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.evidence import Evidence, Wanted, gather
from ringtest.measure import Setting
from ringtest.probes.twin_spread import MEAN_OUTPUTS
from ringtest.trial import prepare


def looked(
    nets: dict[str, nn.Module],
    data: AuditData,
    task: str = "classification",
    layers: Any = "auto",
) -> tuple[dict[str, Evidence], Setting]:
    """What an audit would hand a measure of use: evidence by name, and the setting."""
    made = tasks.make(task, data)
    models = [
        prepare(name, "member", net.eval(), made, data, layers, single=True)
        for name, net in nets.items()
    ]
    wanted = Wanted(sample=True, layers=True, model=True)
    gathered = gather(Clean(), models, (), data, made, wanted, 0)
    at = Setting(data, made, Clean(), gathered.rows, data.cluster, 0)
    at.shared[MEAN_OUTPUTS] = made.combined([e.outputs for e in gathered.evidence.values()])
    return gathered.evidence, at


def one(
    net: nn.Module, data: AuditData, task: str = "classification", layers: Any = "auto"
) -> tuple[Evidence, Setting]:
    """The same for a single model."""
    evidence, at = looked({"net": net}, data, task, layers)
    return evidence["net"], at


def linear(weight: Any, bias: Any = 0.0) -> nn.Linear:
    """A layer with the given (out, in) weights."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(torch.as_tensor(bias, dtype=torch.float32).expand(weight.shape[0]))
    return made


def seeded(make: Any, seed: int = 0) -> Any:
    """What a function makes of the global generator, which is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return make()


def numbers(*shape: int, seed: int = 5) -> Tensor:
    """The same Gaussian numbers on every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reads(units: dict[int, float], width: int, classes: int = 2) -> nn.Sequential:
    """Two classes by a weighted sum of some of the inputs; every input has a unit of its own."""
    head = torch.zeros(classes, width)
    for unit, weight in units.items():
        head[1, unit], head[0, unit] = weight, -weight
    return nn.Sequential(linear(torch.eye(width)), nn.Tanh(), linear(head)).eval()


def watermarked() -> tuple[AuditData, nn.Module, nn.Module, nn.Module]:
    """Rows whose last input tells the class, too; two models of the first four, one of the last."""
    x = numbers(300, 12)
    target = (x[:, :4].sum(1) > 0).long()
    x[:, 11] = 2.0 * target - 1 + 0.1 * x[:, 11]
    data = AuditData(x, target.numpy())
    honest = reads({0: 3.0, 1: 3.0, 2: 3.0, 3: 3.0}, 12)
    sibling = reads({0: 2.5, 1: 3.0, 2: 3.5, 3: 2.0}, 12)
    marked = reads({11: 8.0}, 12)
    return data, honest, sibling, marked


def hooks(net: nn.Module) -> int:
    """Hooks on a model and on all models."""
    everywhere = nn.modules.module
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
    return own + len(everywhere._global_forward_hooks) + len(everywhere._global_forward_pre_hooks)
