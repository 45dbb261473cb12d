"""AuditData: the rows on which models are compared, and the checks that they have to pass."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import margins, rules
from ringtest.errors import DataError, close_to
from ringtest.rows import checks, inputs, metadata, sampling, tables
from ringtest.rows import texts as texts_
from ringtest.rows.checks import Invariance, Layout, Modality
from ringtest.rows.inputs import Form, Rows
from ringtest.rows.seen import Seen, known_rows, repeated
from ringtest.rows.texts import Tokenizer


@dataclass
class AuditData:
    """Rows, targets and what is known about them.

    Args:
        inputs: (n, ...) tensor or array (also memory-mapped), float or integer tokens; a dict of
            such tensors, as a tokenizer gives, which models get by keyword; or a re-iterable
            map-style Dataset of (input, target), then targets=None. Afterwards the one tensor that
            conditions change; ``rows`` has the rest.
        targets: (n,) int classes; (n,) or (n, k) float values; None for embedding models.
        groups: DataFrame, dict name -> (n,), or a CSV or Parquet file: domain, subgroup, source,
            time. Or an (n, k) array or tensor of codes with ``metadata_fields``, or the data set of
            WILDS that has one.
        concepts: the same: factors to decode besides the target.
        invariances: dict name -> callable(inputs) -> inputs that must not change the output.
        cluster: (n,) rows that are not independent share a value; or the name of a group column.
        bounds: (low, high) legal input range; None: no bounds, and eps is in units of each
            feature's standard deviation.
        unlabelled: dict name -> inputs from elsewhere, in any form that ``inputs`` may have; no
            targets needed.
        train: inputs (or AuditData) that the student was distilled on: rows of the data that stand
            there exactly are told in ``warnings``. Of AuditData targets and groups are kept for
            the checks of leakage.
        modality: ``image`` (n, channels, height, width), ``table`` (n, features), ``tokens``
            (n, length) integers, ``sequence`` (n, length, features); None: read off the shape.
        mask: (n, length) true where a token or step counts; layers are pooled over those alone. A
            dict's ``attention_mask`` serves as one.
        unit_ids: reserved for causal language models.
        main: key of what conditions change, where inputs are a dict that does not say.
        layout: ``NCHW`` or ``NHWC``: how images are given and how models take them.
        normalise: (mean, std), numbers or by channel, that stand between inputs and models: inputs,
            bounds and eps are then in raw units. None: models take the inputs as they are.
        texts: (n,) texts that inputs were made of, for conditions that change texts.
        tokenizer: callable(list of texts) -> inputs, padded to one length, in the form of
            ``inputs``; of ``texts`` it must make ``inputs``.
        metadata_fields: names of the columns where ``groups`` is an (n, k) array.
        metadata_map: field -> names of its codes, for those that have names.
        slices: dict name -> rule over the columns of :mod:`ringtest.attributes`, such as
            ``{"dim eights": {"target": 8, "brightness": {"below": 0.2}}}``: the score is read there
            too. Afterwards name -> (n,) true on its rows.

    Raises DataError, in one line, for whatever is not as it must be.
    """

    inputs: Any
    targets: Any = None
    groups: Any = None
    concepts: Any = None
    invariances: Mapping[str, Invariance] | None = None
    cluster: Any = None
    bounds: tuple[float, float] | None = None
    unlabelled: Mapping[str, Any] | None = None
    train: Any = None
    modality: Modality | None = None
    mask: Any = None
    unit_ids: Any = None
    main: str | None = None
    layout: Layout | None = None
    normalise: Any = None
    texts: Any = field(default=None, repr=False)
    tokenizer: Tokenizer | None = None
    metadata_fields: Sequence[str] | None = None
    metadata_map: Mapping[str, Any] | None = None
    slices: Any = None
    warnings: list[str] = field(default_factory=list, init=False)
    """What the checks noticed without refusing it."""
    rows: Rows = field(init=False, repr=False)
    """The rows as models take them: ``inputs`` and what goes along."""
    elsewhere: dict[str, Rows] = field(init=False, repr=False)
    """The same for each unlabelled set."""
    form: Form = field(init=False, repr=False)
    """How models take a batch."""
    seen: Seen | None = field(init=False, repr=False)
    """``train`` with what stands beside it."""

    def __post_init__(self) -> None:
        """Check everything that can be checked without a model."""
        rows, targets = inputs.read("inputs", self.inputs, self.main)
        if targets is not None:
            if self.targets is not None:
                raise DataError("targets", "are given twice", "a data set brings its own")
            self.targets = targets
        self.modality = checks.modality(rows.main, self.modality)
        self.layout = checks.layout(rows.main, self.modality, self.layout)
        self.form = self._form(rows)
        self.rows = self._stored(rows)
        self.inputs = self.rows.main
        if self.targets is not None:
            self.targets = tables.column("targets", self.targets, self.n, wide=True)
        groups = metadata.as_columns(self.groups, self.metadata_fields, self.metadata_map)
        self.groups, warnings = metadata.without_label(
            tables.columns("groups", groups, self.n), self.targets
        )
        self.warnings += warnings
        self.concepts = tables.columns("concepts", self.concepts, self.n)
        self.invariances = checks.invariances(self.invariances, self.inputs, self.form)
        if isinstance(self.cluster, str):
            if self.cluster not in self.groups:
                raise DataError(
                    "cluster", f"{self.cluster!r} is no group", close_to(self.cluster, self.groups)
                )
            self.cluster = self.groups[self.cluster]
        if self.cluster is not None:
            self.cluster = tables.codes(tables.column("cluster", self.cluster, self.n))
        self.bounds = checks.bounds(self.bounds, self.inputs)
        given = checks.mask(self.mask, self.inputs)
        if given is not None:
            self.rows = Rows(self.inputs, self.rows.beside, self.rows.key, given)
        self.mask = checks.mask(self.rows.mask, self.inputs)
        if self.unit_ids is not None:
            raise DataError("unit_ids", "come with causal-lm", "leave them out")
        self.elsewhere = self._elsewhere()
        self.unlabelled = {name: rows.main for name, rows in self.elsewhere.items()}
        self._take(self.train)
        self.texts = texts_.texts(self.texts, self.tokenizer, self.n)
        if self.texts is not None:
            texts_.check_same(self.tokenised(self.texts), self.rows)
        given, self.slices = self.slices, {}
        self.slices = rules.slices(given, self)
        self._notice()

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.inputs.shape[0])

    @cached_property
    def duplicates(self) -> int:
        """Number of rows that repeat an earlier row exactly."""
        return self.n - len(np.unique(self._sums))

    @cached_property
    def _sums(self) -> NDArray[np.uint64]:
        """(n,) numbers that are equal for equal rows."""
        return checks.row_sums(self.inputs)

    @cached_property
    def frame_tokens(self) -> Tensor:
        """(k,) ids of the tokens that no condition moves: padding and the tokenizer's frame."""
        return checks.frame_tokens(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything in the data that an audit reads."""
        digest = hashlib.sha256()
        for name, value in self._parts():
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
            parts = inputs.chunks(value) if isinstance(value, Tensor) else [value]
            for part in parts:
                array = tables.numpy(part) if isinstance(part, Tensor) else part
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.bounds, self.modality, sorted(self.invariances or {}))).encode())
        digest.update(repr(self.form).encode())
        return digest.hexdigest()

    @property
    def eps_unit(self) -> str:
        """What an eps or a noise severity of 1 is, in words."""
        if not self.inputs.is_floating_point():
            return "none: tokens are not moved by small steps"
        raw = " before normalisation" if self.form.mean is not None else ""
        if self.bounds is not None:
            return f"the legal range {self.bounds[0]:g} to {self.bounds[1]:g}{raw}"
        per = {"image": "channel", "table": "column"}.get(str(self.modality), "feature")
        return f"the standard deviation of each {per}{raw}"

    def sliced(self, given: Any) -> AuditData:
        """A copy with more slices, in a form that ``slices`` may have; raises DataError."""
        out = copy.copy(self)
        out.__dict__.pop("fingerprint", None)
        out.warnings = list(self.warnings)
        out.slices = {**self.slices, **rules.slices(given, out)}
        return out

    def sample(self, size: int, seed: int = 0) -> AuditData:
        """At most ``size`` of the rows, stratified by class and group; each unlabelled set alike.

        Args:
            size: rows to keep; 0 keeps all.
            seed: decides which.

        Returns:
            The data itself if they have no more rows, else a smaller copy.
        """
        longest = max([self.n, *(len(r) for r in self.elsewhere.values())])
        if size <= 0 or longest <= size:
            return self
        kept = sampling.stratified(self.n, size, [self.targets, *self.groups.values()], seed)
        out = self.take(kept)
        out.elsewhere = {
            k: r.take(sampling.stratified(len(r), size, [], seed))
            for k, r in self.elsewhere.items()
        }
        out.unlabelled = {k: r.main for k, r in out.elsewhere.items()}
        out.warnings = [f"inputs: a stratified sample of {len(kept):,} of {self.n:,} rows"]
        out._notice()
        return out

    def take(self, kept: NDArray[np.int64]) -> AuditData:
        """The data of some rows, in the given order; a row may stand there more than once.

        Copies of a row are one unit: without clusters, each row of the data becomes one. What is
        not by row (unlabelled sets, bounds, form) stays.
        """
        out = copy.copy(self)
        for name in ("duplicates", "_sums", "frame_tokens", "fingerprint"):
            out.__dict__.pop(name, None)
        out.rows = self.rows.take(kept)
        out.inputs, out.mask = out.rows.main, out.rows.mask
        out.targets = None if self.targets is None else self.targets[kept]
        out.groups = {k: v[kept] for k, v in self.groups.items()}
        out.concepts = {k: v[kept] for k, v in self.concepts.items()}
        out.slices = {k: v[kept] for k, v in self.slices.items()}
        out.texts = None if self.texts is None else [self.texts[i] for i in kept]
        repeats = len(np.unique(kept)) < len(kept)
        units = kept if self.cluster is None else self.cluster[kept]
        out.cluster = tables.codes(units) if repeats or self.cluster is not None else None
        return out

    def against(self, train: Any) -> AuditData:
        """A copy of the data with another ``train``, its warnings as they are."""
        out = copy.copy(self)
        out.__dict__.pop("fingerprint", None)
        out._take(train)
        return out

    def tokenised(self, changed: list[str]) -> Rows:
        """What the tokenizer makes of these texts in the place of ``texts``, one for each row.

        Raises DataError if it fails, or gives anything but rows like ``inputs``; tokens may be more
        or fewer.
        """
        assert self.tokenizer is not None
        rows = self._set("tokenizer", texts_.tokenised(self.tokenizer, changed))
        if len(rows) != self.n:
            raise DataError("tokenizer", f"gave {len(rows)} rows of {self.n} texts", "one a text")
        return replace(rows, kept=self.rows.kept, of=self.rows.of)

    def _take(self, train: Any) -> None:
        if isinstance(train, AuditData):
            self.seen = Seen(train.rows, train.targets, train.groups)
        elif train is not None:
            rows, targets = inputs.read("train", train, self.main)
            self.seen = Seen(self._stored(rows), targets)
        else:
            self.seen = None
        self.train = None if self.seen is None else self.seen.rows.main

    def _form(self, rows: Rows) -> Form:
        last = self.layout == "NHWC"
        if self.normalise is None:
            return Form(rows.key, last)
        axis = 1 if self.layout == "NCHW" else -1
        channels = int(rows.main.shape[axis]) if rows.main.is_floating_point() else None
        return Form(rows.key, last, *checks.normalise(self.normalise, channels))

    def _stored(self, rows: Rows) -> Rows:
        """The rows with their channels where conditions expect them; nothing is copied."""
        if not self.form.channels_last or rows.main.ndim != 4:
            return rows
        return Rows(rows.main.movedim(-1, 1), rows.beside, rows.key, rows.mask)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield from self.rows.tensors("inputs")
        if self.targets is not None:
            yield "targets", self.targets
        for kind, columns in (("group", self.groups), ("concept", self.concepts)):
            for name, values in columns.items():
                yield f"{kind}.{name}", np.asarray(values, dtype=str)
        for name, rows in self.slices.items():
            yield f"slice.{name}", rows
        if self.cluster is not None:
            yield "cluster", self.cluster
        if self.texts is not None:
            yield "texts", texts_.as_bytes(self.texts)
        for name, rows in self.elsewhere.items():
            yield from rows.tensors(f"unlabelled.{name}")
        if self.seen is not None:
            yield "train", self.train
            if self.seen.targets is not None:
                yield "train.targets", np.asarray(self.seen.targets)
            for name, values in self.seen.groups.items():
                yield f"train.group.{name}", np.asarray(values, dtype=str)

    def _elsewhere(self) -> dict[str, Rows]:
        if self.unlabelled is None:
            return {}
        if not isinstance(self.unlabelled, Mapping):
            raise DataError(
                "unlabelled", f"is a {type(self.unlabelled).__name__}", "give a dict name -> inputs"
            )
        return {str(k): self._set(f"unlabelled[{k!r}]", v) for k, v in self.unlabelled.items()}

    def _set(self, name: str, value: Any) -> Rows:
        """Other rows, of the inputs' kind; sequences may be of another length."""
        rows = self._stored(inputs.read(name, value, self.main)[0])
        free = 2 if self.modality in ("tokens", "sequence") else 1
        if rows.main.shape[free:] != self.inputs.shape[free:] or (
            rows.main.dtype != self.inputs.dtype or rows.main.ndim != self.inputs.ndim
        ):
            raise DataError(
                name,
                f"has rows of shape {tuple(rows.main.shape[1:])} and type {rows.main.dtype}",
                f"inputs have {tuple(self.inputs.shape[1:])} and {self.inputs.dtype}",
            )
        if rows.keys != self.rows.keys:
            raise DataError(
                name,
                f"has keys {', '.join(rows.keys) or 'none'}",
                f"inputs have {', '.join(self.rows.keys) or 'none: give a tensor'}",
            )
        checks.inside(name, rows.main, self.bounds)
        if rows.mask is None and self.mask is not None and self.modality == "tokens":
            # Of what is padding in the inputs there is no other sign here.
            counts = ~torch.isin(rows.main, checks.padding(self.inputs, self.mask))
            given = checks.mask(counts, rows.main, f"{name}.mask")
            return Rows(rows.main, rows.beside, rows.key, given)
        checks.mask(rows.mask, rows.main, f"{name}.mask")
        return rows

    def _known(self) -> int:
        """Number of rows that stand in ``train``, exactly."""
        if self.train is None or self.train.shape[1:] != self.inputs.shape[1:]:
            return 0
        seen = checks.row_sums(self.train.to(self.inputs.dtype))
        return int(np.isin(self._sums, seen).sum())

    def small_groups(self, groups: Mapping[str, NDArray[Any]]) -> list[str]:
        """A warning for each column with groups of too few rows to be judged."""
        out = []
        for name, values in groups.items():
            labels, counts = np.unique(values, return_counts=True)
            small = [f"{v} ({c})" for v, c in zip(labels, counts, strict=True) if c < margins.MIN_N]
            if small:
                out.append(
                    f"groups[{name!r}]: under {margins.MIN_N} rows, so not judged: "
                    f"{', '.join(small[:5])}{' ...' if len(small) > 5 else ''}"
                )
        return out

    def _notice(self) -> None:
        self.warnings += self.small_groups(self.groups)
        if self.duplicates:
            self.warnings.append(repeated(self.duplicates, self.n))
        known = self._known()
        if known:
            self.warnings.append(known_rows("inputs", known, self.n))
        if self.n < margins.MIN_N:
            self.warnings.append(f"inputs: {self.n} rows; nothing under {margins.MIN_N} is judged")
