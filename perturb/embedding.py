"""Projected gradient descent on the embeddings of tokens, which themselves cannot move a little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ringtest.capture import first_tensor
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import SubjectError
from ringtest.model import Index, Model
from ringtest.perturb.ascent import Answering
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.tokenwise import TokenL2


@condition
class EmbeddingPGD(MisleadingGradient):
    """Attack on what a model's embedding layer shows of each token, L2, in 20 steps.

    The tokens stay; what the first ``torch.nn.Embedding`` that is handed them makes of them is
    moved, as often as it is, and the model goes on from there. Severity is eps: how far each token
    may be moved, in standard deviations of the model's own embeddings (the root mean square
    distance of the embeddings of the data's tokens, as often as they occur, from their mean). So
    teacher and student, whose tables have other widths and scales, are each moved by the same share
    of their own scale, from draws of the same seed. The tokenizer's frame and padding (by the mask,
    or as ``padding_idx`` of any model's embeddings) are never moved, and are no part of that scale.
    No text need have such embeddings: it says how smooth a model is around its tokens.
    Classification with integer classes only. Else as ``attack.pgd``.
    """

    kind = "attack.embedding"
    about = "projected gradient descent on token embeddings, each in L2, worst case over two losses"
    source = "Miyato et al. 2017, arXiv:1605.07725; Madry et al. 2018, arXiv:1706.06083"
    ball = TokenL2
    gradients = False  # of the tokens there are none
    layer_gradients = True
    changes_inputs = False  # the tokens stay

    @classmethod
    def movable(cls, x: Tensor) -> bool:
        """Tokens (n, length) have embeddings."""
        return x.ndim == 2 and not x.is_floating_point()

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Keep the frame and padding of all models, and how often all other tokens occur."""
        tables = [t for model in subjects for t in embeddings(model.module)]
        padding = sorted({t.padding_idx for t in tables if t.padding_idx is not None})
        self._frame = torch.cat([data.frame_tokens, torch.tensor(padding, dtype=torch.int64)])
        real = data.inputs if data.mask is None else data.inputs[data.mask]
        tokens, counts = torch.unique(real, return_counts=True)
        moves = ~torch.isin(tokens, self._frame)
        self._tokens, self._counts = tokens[moves], counts[moves]

    def subject(self, model: Model) -> Model:
        """A view of the model, whose weights it shares, that shows the embeddings it is given."""
        if model.module is None:
            return model
        return replace(model, function=Embedder(model.module))

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The tokens as they are; the view will show the worst embeddings found for them.

        Raises DataError without targets and for inputs that are no tokens, SubjectError for a model
        without gradients of its layers, or whose embeddings cannot be moved.
        """
        self._check(model, x, y)
        assert isinstance(model, Model)
        inside = model.function
        if not (isinstance(inside, Embedder) and model.layer_gradients):
            fix = f"leave {self.kind} out for it"
            raise SubjectError("model", "gives no gradients of its layers", fix)
        # For the reasons see Attack.batch.
        with torch.inference_mode(False), torch.no_grad():
            x = x.detach().clone()
            y = None if y is None else y.detach().clone()
            inside.shown = None
            centre, unit = inside.embedded(model, x), self._scale(inside, model)
            outputs = model.logits(x).float()
            free = ~torch.isin(x, self._frame.to(x.device))
            free = free if model.mask is None else free & model.mask.to(x.device)
            real = centre.to(torch.promote_types(centre.dtype, torch.float32))
            ball = self.ball(real, unit * free[:, :, None].to(real), self.eps, None)
            moved = FromEmbeddings(model, inside, x)
            worst = self.worst(moved, ball, centre.dtype, outputs, y, rng)
            inside.tokens, inside.shown = x, worst
        return x

    def _scale(self, inside: Embedder, model: Model) -> float:
        """Standard deviation of the embeddings of the data's tokens."""
        if inside.scale is None:
            rows, counts = inside.embedded(model, self._tokens).double(), self._counts[:, None]
            centre = (counts * rows).sum(0) / counts.sum()
            variance = (counts * (rows - centre).square()).sum() / counts.sum()
            inside.scale = float(variance.sqrt())
        if not inside.scale > 0:
            fix = f"leave {self.kind} out for it"
            raise SubjectError(model.name, "has the same embedding for all tokens", fix)
        return inside.scale


class Embedder:
    """A module of tokens that, called, shows the embeddings that it was given for its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layer: nn.Embedding | None = None
        """Where tokens become embeddings, once it was looked for."""
        self.scale: float | None = None
        """Standard deviation of its embeddings, once it was asked for."""
        self.shown: Tensor | None = None
        """(b, length, d) embeddings to show; None: its own."""
        self.tokens: Tensor | None = None
        """(b, length) tokens for which they are shown."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's answer. Raises SubjectError if it is given other tokens than were moved."""
        if self.layer is None or self.tokens is None or self.shown is None:
            return self.module(*args, **kwargs)
        with showing(self.layer, self.tokens, self.shown) as shown:
            out = self.module(*args, **kwargs)
        if not shown:
            fix = "run it on the rows of the block"
            raise SubjectError("model", "embeds other tokens than those that were moved", fix)
        return out

    def embedded(self, model: Model, x: Tensor) -> Tensor:
        """(..., d) the model's own embeddings of tokens; at first ``x`` is the current block."""
        if self.layer is None:
            self.layer = self._found(model, x)
        # Not called as a module: that would run the hooks of whoever looks at the layer.
        return self.layer.forward(model.placed(x)).to(x.device)

    def _found(self, model: Model, x: Tensor) -> nn.Embedding:
        found: list[nn.Embedding] = []

        def seen(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _out: Any) -> None:
            # Others embed positions, or kinds of token.
            if handed(x, args, kwargs):
                found.append(layer)

        layers = embeddings(self.module)
        handles = [m.register_forward_hook(seen, with_kwargs=True) for m in layers]
        try:
            model.raw(x)
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            raise SubjectError(
                model.name,
                "hands its tokens to no torch.nn.Embedding, whose output could be moved",
                f"leave {EmbeddingPGD.kind} out for it",
            )
        return found[0]


@dataclass(frozen=True)
class FromEmbeddings:
    """A model of the embeddings of a block of tokens."""

    view: Model
    inside: Embedder
    tokens: Tensor

    def logits(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(m, k) outputs from embeddings (m, length, d)."""
        tokens = self.tokens if rows is None else self.tokens[rows]
        self.inside.tokens, self.inside.shown = tokens, x
        return self.view.logits(tokens, rows)


def embeddings(module: nn.Module | None) -> list[nn.Embedding]:
    """All tables of a module."""
    modules = () if module is None else module.modules()
    return [m for m in modules if isinstance(m, nn.Embedding)]


def handed(tokens: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is one on these tokens."""
    given = first_tensor(args or tuple(kwargs.values()))
    return (
        given is not None and given.shape == tokens.shape and torch.equal(given, tokens.to(given))
    )


@contextmanager
def showing(layer: Any, tokens: Tensor, values: Tensor) -> Iterator[list[Tensor]]:
    """A layer gives ``values`` for these tokens for the duration, and its hooks see them.

    Every call on them, and none on others: a model may embed its tokens twice, or a prompt first.
    A hook that replaced them would come after the global ones, by which captures look. Yields what
    was given so far.
    """
    own, instance = layer.forward, vars(layer).get("forward")
    shown: list[Tensor] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        if not handed(tokens, args, kwargs):
            return out
        # A copy: what comes next may work in place.
        shown.append(values.to(out.device, out.dtype, copy=True))
        return shown[-1]

    layer.forward = forward
    try:
        yield shown
    finally:
        del layer.forward
        if instance is not None:
            layer.forward = instance
