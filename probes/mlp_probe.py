"""A small network as a probe: what a layer holds in a form that no line can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.measure import Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe
from ringtest.probes.training_rows import own, training
from ringtest.representations import standardised

HIDDEN: Final = 64
"""ReLU units of a probe."""
STEPS: Final = 300
PATIENCE: Final = 40
"""Steps without a better answer on the rows kept aside after which training ends."""
ASIDE: Final = 5
"""One in so many training rows is kept aside to say when to stop."""
RATE: Final = 0.01
DECAY: Final = 0.1
"""Weight decay, decoupled: each step shrinks weights by RATE * DECAY."""
AT_ONCE: Final = 2**24
"""Hidden activations of a batch of layers."""


@measure
class Mlp(LayerProbe):
    """Cross-validated score of a probe with one hidden layer of 64 units, by layer and concept.

    Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better. Full-batch Adam,
    seeded; a fifth of the training rows, clusters whole, says when to stop. Features are
    standardised over all sampled rows, which takes no look at an answer. The reference of the
    linear probes: what it finds beyond them the layer holds, but not along a line. Units are put
    into an order of their own, so that a permutation of them changes nothing.

    Source: Hewitt & Liang 2019; Pimentel et al. 2020.
    """

    id = "probe.mlp"
    about = f"score of a probe with one hidden layer of {HIDDEN} units per layer and concept"
    default = False
    source = "Pimentel et al. 2020"

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores out of fold."""
        aside = torch.from_numpy(blocks.folds(len(fold), ASIDE, at.sample_units, seed=2)) == 0
        features = [ordered(x, at.seed) for x in layers]
        found: dict[int, Tensor] = {}
        most = max(1, AT_ONCE // (len(fold) * HIDDEN * int(fold.max() + 1)))
        for width in sorted({x.shape[1] for x in features}):
            same = [i for i, x in enumerate(features) if x.shape[1] == width]
            for low in range(0, len(same), most):
                some = same[low : low + most]
                nets = _Nets(torch.stack([features[i] for i in some]), concept, fold, aside, at)
                found.update(zip(some, own(nets.trained(), fold), strict=True))
        return torch.stack([concept.score(found[i].double()) for i in range(len(layers))])


def ordered(x: Tensor, seed: int) -> Tensor:
    """(m, live) float32 standardised units that vary, in an order that does not hang on theirs.

    Training amplifies rounding, so values are rounded to what float32 holds exactly: the same
    layer in other units of measurement gives the very same numbers.
    """
    live = (x != x[0]).any(0)
    x = standardised(x[:, live])
    key = torch.randn(x.shape[0], dtype=torch.float64, generator=blocks.generator(seed, "order"))
    return ((x[:, (key @ x).argsort()] * 2**16).round() / 2**16).float()


class _Nets:
    """L layers times F folds small networks, trained side by side on the same rows."""

    def __init__(
        self, x: Tensor, concept: Concept, fold: Tensor, aside: Tensor, at: Setting
    ) -> None:
        self.x, self.classes = x, concept.classes
        self.size, self.folds = x.shape[0], int(fold.max()) + 1
        rest = training(fold) > 0
        fit, stop = rest & ~aside, rest & aside
        # With very few clusters a fold may lack one of the two: then all its rows serve as both.
        whole = ~(fit.any(1) & stop.any(1))[:, None]
        self.fit, self.stop = (
            _shares(torch.where(whole, rest, part)).float() for part in (fit, stop)
        )
        y = concept.columns.T
        self.mean = torch.zeros(self.folds, y.shape[0], 1)
        self.sd = torch.ones_like(self.mean)
        if self.classes is None:
            # By the training rows of each fold, as a probe must not know the answers of others.
            weight = _shares(rest)[:, None]
            mean = (y * weight).sum(2, keepdim=True)
            sd = ((y - mean).square() * weight).sum(2, keepdim=True).sqrt()
            self.mean = mean
            self.sd = torch.where(sd > 0, sd, torch.ones_like(sd))
        self.y = ((y - self.mean) / self.sd).float()
        draw = blocks.generator(at.seed, "mlp", concept.name)
        wide, hidden, columns = x.shape[2], self.folds * HIDDEN, y.shape[0]
        # Every layer starts alike, so that it does not matter which others are beside it.
        first = torch.randn(hidden, wide, generator=draw) * (2 / max(wide, 1)) ** 0.5
        last = torch.randn(self.folds, columns, HIDDEN, generator=draw) / HIDDEN**0.5
        self.parameters = [
            first.repeat(self.size, 1, 1),
            torch.zeros(self.size, hidden, 1),
            last.repeat(self.size, 1, 1),
            torch.zeros(self.size * self.folds, columns, 1),
        ]

    def trained(self) -> Tensor:
        """(L, F, q, m) answers of all networks at their best step, in the concept's units."""
        optimiser = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=DECAY)
        best = torch.full((self.size, self.folds), torch.inf)
        answers = torch.zeros(self.size, *self.y.shape[-2:]).unsqueeze(1)
        answers = answers.expand(-1, self.folds, -1, -1)
        since = 0
        with torch.no_grad():
            for _ in range(STEPS):
                hidden, out = self._forward()
                losses, slope = self._loss(out)
                loss = (losses * self.stop).sum(2)
                better = loss < best
                best = torch.where(better, loss, best)
                answers = torch.where(better[:, :, None, None], out, answers)
                since = 0 if bool(better.any()) else since + 1
                if since > PATIENCE:
                    break
                self._backward(hidden, slope)
                optimiser.step()
        return answers * self.sd + self.mean

    def _forward(self) -> tuple[Tensor, Tensor]:
        """(L F, HIDDEN, m) activations and (L, F, q, m) answers."""
        w1, b1, w2, b2 = self.parameters
        hidden = torch.baddbmm(b1, w1, self.x.transpose(1, 2)).relu_()
        hidden = hidden.view(self.size * self.folds, HIDDEN, -1)
        out = torch.baddbmm(b2, w2, hidden)
        return hidden, out.view(self.size, self.folds, *out.shape[1:])

    def _loss(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """(L, F, m) loss of each row, and (L, F, q, m) its slope for training rows."""
        weight = self.fit[:, None]
        if self.classes is None:
            error = out - self.y
            return error.square().mean(2), error * weight * (2 / out.shape[2])
        log = out.log_softmax(2)
        picked = self.classes.expand(*out.shape[:2], 1, -1)
        return -log.gather(2, picked)[:, :, 0], (log.exp() - self.y) * weight

    def _backward(self, hidden: Tensor, slope: Tensor) -> None:
        """Gradients by hand: autograd would keep what one layer does not need."""
        w1, b1, w2, b2 = self.parameters
        slope = slope.flatten(0, 1)
        w2.grad = torch.bmm(slope, hidden.transpose(1, 2))
        b2.grad = slope.sum(2, keepdim=True)
        back = torch.bmm(w2.transpose(1, 2), slope).mul_(hidden > 0)
        back = back.view(self.size, -1, back.shape[2])
        w1.grad = torch.bmm(back, self.x)
        b1.grad = back.sum(2, keepdim=True)


def _shares(rows: Tensor) -> Tensor:
    """(F, m) float64 weights that sum to 1 over the chosen rows of each fold."""
    return rows.double() / rows.sum(1, keepdim=True)
