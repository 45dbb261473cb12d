"""Training of small networks: one loop for members, students and faults, many side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from benchmarks.validity.specimens import World

BATCH = 128
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class Lesson:
    """What one network learns from: inputs (n, ...), wanted probabilities or values (n, k)."""

    inputs: Tensor
    wanted: Tensor


def rng(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for each purpose, so that no draw depends on another's."""
    salt = int.from_bytes(purpose.encode(), "big") % 2_147_483_647
    return torch.Generator().manual_seed((seed * 2_147_483_647 + salt) % 2**63)


def fresh(world: World, architecture: str, seed: int) -> nn.Module:
    """An untrained network whose first weights depend on the seed alone."""
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(rng(seed, architecture).initial_seed() % 2**31)
        return world.architectures[architecture]()
    finally:
        torch.random.set_rng_state(state)


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """What a network answers, in batches, in eval mode."""
    model.eval()
    return torch.cat([model(part) for part in inputs.split(1024)])


def combined(world: World, members: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The ensemble's output: mean probability (n, classes), or mean value (n, k)."""
    raw = [outputs(m, inputs) for m in members]
    return torch.stack([z.softmax(1) if world.task == "classification" else z for z in raw]).mean(0)


def wanted(world: World, targets: Tensor) -> Tensor:
    """True targets as a lesson's wanted outputs: one-hot rows, or the values."""
    if world.task == "regression":
        return targets.float()
    classes = int(world.train[1].max()) + 1
    return nn.functional.one_hot(targets, classes).float()


def fit(
    world: World,
    models: Sequence[nn.Module],
    lessons: Sequence[Lesson],
    seeds: Sequence[int],
    *,
    steps: int,
    rate: float = LEARNING_RATE,
    decay: float = WEIGHT_DECAY,
    temperature: float = 1.0,
    keep_zeros: bool = False,
    together: bool = True,
) -> list[nn.Module]:
    """Train each model on its own lesson: AdamW, one cycle, cross-entropy or squared error.

    Args:
        world: decides the loss.
        models: of one architecture; they are trained in place.
        lessons: one each; all of as many rows or more as a batch.
        seeds: one each, of the batches.
        steps: updates.
        rate: highest learning rate.
        decay: weight decay.
        temperature: the student's logits are divided by it in the loss, and not when it is used.
        keep_zeros: weights that are zero (pruned) stay so.
        together: stack all models (fast for linear layers, slow for convolutions on CPUs).

    Returns:
        The models, in eval mode.
    """
    if not together and len(models) > 1:
        return [
            fit(
                world, [m], [lesson], [seed],
                steps=steps, rate=rate, decay=decay, temperature=temperature, keep_zeros=keep_zeros,
            )[0]
            for m, lesson, seed in zip(models, lessons, seeds, strict=True)
        ]  # fmt: skip
    draws = [rng(seed, "batches") for seed in seeds]
    parameters, buffers = stack_module_state(list(models))
    trained = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    alive = {name: p.detach() != 0 for name, p in trained.items()} if keep_zeros else {}
    optimiser = torch.optim.AdamW(trained.values(), lr=rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    base = models[0].train()

    def run(state: dict[str, Tensor], held: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(base, (state, held), (batch,))  # type: ignore[no-any-return]

    for _ in range(steps):
        rows = [
            torch.randint(len(lesson.inputs), (BATCH,), generator=draw)
            for lesson, draw in zip(lessons, draws, strict=True)
        ]
        chosen = list(zip(lessons, rows, strict=True))
        batch = torch.stack([lesson.inputs[r] for lesson, r in chosen])
        goal = torch.stack([lesson.wanted[r] for lesson, r in chosen])
        if len(models) == 1:
            single = {name: p[0] for name, p in trained.items()}
            said = run(single, {n: b[0] for n, b in buffers.items()}, batch[0])[None]
        else:
            said = torch.vmap(run, randomness="different")(trained, buffers, batch)
        # Summed over models: none of them feels how many others are trained beside it.
        if world.task == "classification":
            loss = -(goal * (said / temperature).log_softmax(-1)).sum((0, 2)).mean()
        else:
            loss = (goal - said).square().mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if alive:
            with torch.no_grad():
                for name, p in trained.items():
                    p.mul_(alive[name])
    with torch.no_grad():
        for index, model in enumerate(models):
            own = dict(model.named_parameters())
            for name, p in trained.items():
                own[name].copy_(p[index])
            model.eval()
    return list(models)
