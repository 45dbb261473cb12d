"""Ensembles in disguise: one module whose heads answer for themselves and are then averaged."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ringtest.capture import first_tensor
from ringtest.errors import SubjectError
from ringtest.trace import Call, depends


def refuse(
    subject: str, head: Call, owners: list[Call], calls: list[Call], out: Tensor | None
) -> None:
    """Raise SubjectError for heads of one shape whose answers are alternatives.

    Answers are alternatives where the output lies between them in every element (a mean, a vote, a
    maximum of values or of probabilities), or is a multiple of their sum and they come from modules
    of one build that are given the same input. What is merely added up is one model: a wide and a
    deep path, a residual branch and its shortcut.
    """
    others = _others(head, owners, out)
    answers = [_plain(c.output) for c in (head, *others)]
    if not others or out is None:
        return
    tried = out.requires_grad  # else equality alone tells whether the others count
    if _between(out, answers, tried) or (_summed(out, answers) and _siblings(head, others, calls)):
        raise SubjectError(
            subject,
            f"has heads of one shape ({others[0].name}, {head.name}): an ensemble in disguise",
            "pass a list of its members as the teacher; a student needs one head "
            "(if it is one model, say so: Subject(model, single=True))",
        )


def _others(head: Call, owners: list[Call], out: Tensor | None) -> list[Call]:
    """Modules like the head, which have a part in the output and none in the head's input."""
    shapes = [tuple(p.shape) for p in head.module.parameters()]
    here = first_tensor(head.output)
    if out is None or here is None or here.shape != out.shape or not shapes:
        return []
    twins = [
        c
        for c in owners
        if c is not head
        and [tuple(p.shape) for p in c.module.parameters()] == shapes
        and (tensor := first_tensor(c.output)) is not None
        and tensor.shape == out.shape
    ]
    tensors = [first_tensor(c.output) for c in twins]
    if not out.requires_grad:
        return twins
    # An auxiliary head that has no part in the output makes no ensemble.
    counted, feeds = depends(out, tensors), depends(first_tensor(head.input), tensors)
    return [c for c, a, b in zip(twins, counted, feeds, strict=True) if a and not b]


def _plain(value: object) -> Tensor:
    tensor = first_tensor(value)
    assert tensor is not None
    tensor = tensor.detach()
    return (tensor.dequantize() if tensor.is_quantized else tensor).double()


def _between(out: Tensor, answers: list[Tensor], counted: bool) -> bool:
    """Whether the output lies between the answers, as values, probabilities or logarithms."""
    for o, views in _views(_plain(out), answers):
        stack = torch.stack(views)
        low, high = stack.amin(0), stack.amax(0)
        slack = 1e-4 * float(stack.abs().max()) + 1e-12
        inside = bool(((o >= low - slack) & (o <= high + slack)).all())
        alone = any(bool(((o - v).abs() <= slack).all()) for v in views)
        if inside and (counted or not alone):
            return True
    return False


def _views(out: Tensor, answers: list[Tensor]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Output and answers side by side, in each form in which answers may have been averaged."""
    yield out, answers
    shares = bool((out >= 0).all()) and bool(((out.sum(-1) - 1).abs() < 1e-3).all())
    yield (out if shares else out.softmax(-1)), [a.softmax(-1) for a in answers]
    if bool(((out >= 0) & (out <= 1)).all()):
        yield out, [a.sigmoid() for a in answers]
    logs = out.clamp_min(1e-30).log() if shares else out
    yield _centred(logs), [_centred(a) for a in answers]


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(-1, keepdim=True)


def _summed(out: Tensor, answers: list[Tensor]) -> bool:
    o, total = _plain(out), torch.stack(answers).sum(0)
    factor = float((o * total).sum() / total.square().sum().clamp_min(1e-30))
    total *= max(factor, 0.0)
    return torch.allclose(o, total, rtol=1e-4, atol=1e-4 * float(o.abs().max()))


def _siblings(head: Call, others: list[Call], calls: list[Call]) -> bool:
    """Whether all heads end modules of one build that are given the same input."""
    by_name = {c.name: c for c in calls}
    for other in others:
        a, b = head.name.split("."), other.name.split(".")
        fork = next((i for i, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), None)
        if fork is None:
            return False
        one, two = (by_name.get(".".join(p[: fork + 1])) for p in (a, b))
        if one is None or two is None or _build(one.module) != _build(two.module):
            return False
        x, z = first_tensor(one.input), first_tensor(two.input)
        if x is None or z is None or not torch.equal(x, z):
            return False
    return True


def _build(module: nn.Module) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [
        (type(m).__name__, [tuple(p.shape) for p in m.parameters(recurse=False)])
        for m in module.modules()
    ]
