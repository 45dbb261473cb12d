"""What attacks cost: PGD and Auto-PGD beside foolbox, torchattacks and the bare loop of passes.

    python benchmarks/speed/attacks.py                 a few minutes on 2 cores
    python benchmarks/speed/attacks.py --rows 64 --steps 10 --rounds 1

A CNN for images of 28 x 28 and synthetic images; their targets are the model's own answers. All
sides attack the same model and the same 256 examples, a block, in Linf with cross-entropy and the
same number of steps, PGD from the clean points and APGD from random ones. How many examples drop
out:

    none            eps is so small that all stay to the last step
    half, at once   the same eps; every second example is wrong from the start
    as they break   at the eps at which ten steps of PGD break half of the examples

Each library's call runs as it comes: all steps on all examples, but that torchattacks' APGD leaves
out what is wrong from the start. The bare loop is what remains where nobody leaves: a forward and a
backward pass to the inputs of the whole block for each step, and nothing else.

Each round runs all sides in turn in one process with the same number of threads; the figures are
medians of the seconds, and of the ratios within a round. ``robust`` is the accuracy that is left,
which says whether sides are equally strong. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ringtest import tasks
from ringtest.blocks import BLOCK
from ringtest.data import AuditData
from ringtest.model import Model
from ringtest.perturb import losses
from ringtest.perturb.apgd import APGD
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.pgd import PGD
from ringtest.trial import prepare

Side = Callable[[], Tensor]
"""Runs one attack and gives the perturbed examples."""


@dataclass(frozen=True)
class Subject:
    """The model and the examples."""

    net: nn.Module
    x: Tensor
    y: Tensor
    model: Model
    data: AuditData

    def robust(self, x: Tensor) -> float:
        """Share of examples that the model still answers as before."""
        with torch.no_grad():
            return float((self.net(x).argmax(1) == self.y).double().mean())


def subject(rows: int, width: int) -> Subject:
    """A CNN with weights at random, and smooth images."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2)),
        *(nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(72 * width, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    net = net.eval().requires_grad_(False)
    x = functional.interpolate(torch.rand(rows, 1, 7, 7), size=(28, 28), mode="bilinear")
    # Logits as large as those of trained networks, whose answers differ between the images.
    with torch.no_grad():
        z = net(x)
        net[-1].weight *= 4 / (z - z.mean(0)).std()
        net[-1].bias -= net(x).mean(0)
        y = net(x).argmax(1)
    data = AuditData(x, y.numpy(), bounds=(0.0, 1.0))
    model = prepare("m", "member", net, tasks.make("classification", data), data)
    return Subject(net, x, y, model, data)


def ours(kind: type[MisleadingGradient], of: Subject, eps: float, steps: int) -> Side:
    """Ringtest's attack with cross-entropy alone."""
    attack: Any = kind(severity=eps)
    attack.losses, attack.steps = {"ce": losses.LOSSES["ce"]}, steps
    attack.random_start, attack.targets = kind is APGD, 0
    attack.fit([], of.data, torch.Generator())
    return lambda: attack.batch(of.model, of.x, of.y, torch.Generator().manual_seed(0))


def bare(of: Subject, steps: int) -> Side:
    """Passes alone."""

    def run() -> Tensor:
        for _ in range(steps):
            leaf = of.x.clone().requires_grad_()
            loss = functional.cross_entropy(of.net(leaf), of.y, reduction="sum")
            torch.autograd.grad(loss, leaf)
        return of.x

    return run


def foolbox(of: Subject, eps: float, steps: int) -> Side | None:
    """Its PGD; it has no APGD."""
    fb = _library("foolbox")
    if fb is None:
        return None
    model = fb.PyTorchModel(of.net, bounds=(0, 1), device="cpu")
    attack = fb.attacks.LinfProjectedGradientDescentAttack(
        rel_stepsize=PGD.rate / steps, steps=steps, random_start=False
    )
    # Its call runs a check of the answers besides: that is left out.
    return lambda: attack.run(model, of.x, of.y, epsilon=eps)


def torchattacks(
    kind: type[MisleadingGradient], of: Subject, eps: float, steps: int
) -> Side | None:
    """Its PGD or APGD."""
    ta = _library("torchattacks")
    if ta is None:
        return None
    if kind is APGD:
        attack = ta.APGD(of.net, eps=eps, steps=steps, loss="ce")
    else:
        attack = ta.PGD(
            of.net, eps=eps, alpha=PGD.rate / steps * eps, steps=steps, random_start=False
        )
    return lambda: attack(of.x, of.y)


def _library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def settings(of: Subject) -> dict[str, tuple[Subject, float]]:
    """What is attacked, and eps, by how many examples drop out."""
    y = of.y.clone()
    y[::2] = (y[::2] + 1) % 10
    wrong = replace(of, y=y, data=replace(of.data, inputs=of.x, targets=y.numpy()))
    low, high = 0.0, 0.5
    for _ in range(8):
        eps = (low + high) / 2
        left = of.robust(ours(PGD, of, eps, 10)())
        low, high = (eps, high) if left > 0.5 else (low, eps)
    tiny = 1e-5
    return {"none": (of, tiny), "half, at once": (wrong, tiny), "as they break": (of, high)}


def compare(name: str, kind: type[MisleadingGradient], of: Subject, options: Any) -> None:
    """Print the lines of the table for one attack."""
    for leaving, (at, eps) in settings(of).items():
        sides: dict[str, Side | None] = {
            "ringtest": ours(kind, at, eps, options.steps),
            "bare loop": bare(at, options.steps),
            "torchattacks": torchattacks(kind, at, eps, options.steps),
            "foolbox": foolbox(at, eps, options.steps) if kind is PGD else None,
        }
        run = {k: v for k, v in sides.items() if v is not None}
        found = {k: side() for k, side in run.items()}  # the first call of a process is slow
        rounds = [{k: _seconds(side) for k, side in run.items()} for _ in range(options.rounds)]
        for other in list(run)[1:]:
            ratio = statistics.median(r[other] / r["ringtest"] for r in rounds)
            seconds = [statistics.median(r[k] for r in rounds) for k in ("ringtest", other)]
            robust = [at.robust(found[k]) for k in ("ringtest", other)]
            print(
                f"| {name} | {leaving} | {eps:.5f} | {other} | {seconds[0]:.3f} | "
                f"{seconds[1]:.3f} | {ratio:.2f}x | {robust[0]:.3f} | {robust[1]:.3f} |",
                flush=True,
            )


def _seconds(side: Side) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=BLOCK)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--width", type=int, default=32, help="channels of the first layers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    of = subject(options.rows, options.width)
    print(
        f"{options.rows} images of 28 x 28, {options.steps} steps, {options.threads} threads, "
        f"median of {options.rounds} rounds; ratio: the other's seconds over ringtest's\n"
    )
    heads = ["attack", "drop out", "eps", "other", "ringtest, s", "its s", "ratio", "robust", "its"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
    for name, kind in {"PGD": PGD, "APGD": APGD}.items():
        compare(name, kind, of, options)


if __name__ == "__main__":
    main()
