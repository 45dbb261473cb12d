"""Which measures stand together in a section of the page, in what words and beside what.

A measure that nobody lists here is drawn all the same: in the family whose ids begin like its own,
or in the last one, as lines over depth or as dots. To list it is to give it a place and a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

Form = Literal["auto", "dots", "pairs", "layers"]
"""``auto``: lines over depth where there are several layers, else dots; ``pairs``: a matrix of what
is called "a -> b"; ``layers``: a matrix of what was read at each layer."""


@dataclass(frozen=True)
class Panel:
    """How a measure is drawn."""

    measure: str
    form: Form = "auto"
    better: str = ""
    """Said of it instead of its direction."""
    scale: str = ""
    """Panels of one name have one axis."""
    floor: bool = False
    """Whether its value is drawn in the panels of its scale, as what comes without the model."""
    zero: str = ""
    """What 0 stands for: the area below is shaded."""
    everywhere: bool = False
    """Whether rows of all conditions are drawn, where there are rows on benchmark inputs, too."""
    beside: bool = False
    """Whether lines under several conditions are boxes of one figure, each with an axis of its own;
    else each condition has a figure."""


@dataclass(frozen=True)
class Family:
    """A section of the page."""

    key: str
    """Its id in the page."""
    title: str
    lead: str
    """What it asks."""
    prefix: str
    """Beginning of the ids that it takes although no family lists them; empty: all that is left."""
    panels: tuple[Panel, ...] = ()
    captions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What there is to say of a form: ``lines``, ``dots``, ``pairs``, ``layers``."""

    @property
    def listed(self) -> dict[str, Panel]:
        """Its panels by measure."""
        return {panel.measure: panel for panel in self.panels}


_SCORE: Final = "score"
_NEITHER: Final = "neither is better"
_AS_TEACHER: Final = "best as the teacher"

FAMILIES: Final = (
    Family(
        "probes",
        "Probes and their controls",
        "What can be read from a layer, and how much of it would be there without any training.",
        "probe.",
        (
            Panel("probe.raw_input", scale=_SCORE, floor=True),
            Panel("probe.decodability", scale=_SCORE),
            Panel("probe.logistic", scale=_SCORE),
            Panel("probe.mlp", scale=_SCORE),
            Panel("probe.mean_difference", scale=_SCORE),
            Panel("probe.k_sparse", scale=_SCORE),
            Panel("probe.low_rank", scale=_SCORE),
            Panel("probe.matched_width", scale=_SCORE),
            Panel("probe.shuffled", scale=_SCORE),
            Panel("probe.untrained", zero="untrained network"),
            Panel("probe.selectivity", zero="random labels"),
        ),
        MappingProxyType(
            {
                "lines": "Each box is one way of reading a layer. Shaded grey is what comes for "
                "free: the score of the inputs alone, or at 0 that of an untrained network or of "
                "random labels. Lines above it are what training added."
            }
        ),
    ),
    Family(
        "information",
        "Information",
        "How many bits a layer tells, and how little of the data is needed to learn them.",
        "probe.information",
        (
            Panel("probe.v_information", zero="nothing told"),
            Panel("probe.code_length"),
            Panel("probe.mdl"),
        ),
        MappingProxyType(
            {
                "lines": "A layer that holds its answer in plain sight tells many bits, and has a "
                "short code: few rows are enough to learn it from."
            }
        ),
    ),
    Family(
        "slices",
        "Slices",
        "Does one way of reading serve every part of the data, or has each part its own?",
        "probe.slice",
        (
            Panel("probe.slice_matrix", "pairs"),
            Panel("probe.slice_loss", zero="nothing lost"),
            Panel("probe.condition_matrix", "pairs"),
            Panel("probe.slice_transfer"),
            Panel("probe.split_transfer", zero="nothing lost"),
            Panel("slices.discovered", "dots"),
        ),
        MappingProxyType(
            {
                "dots": "Slices in which the student falls behind, found on half of the rows and "
                "judged on the other: its score there beside that of the mean member.",
                "pairs": "A probe learns in one slice (line) and is tried in another (column). The "
                "stronger the colour, the higher, and higher is better: a layer that serves all "
                "slices alike is as strong off the diagonal as on it.",
                "lines": "The same at every layer: how alike the probes of the slices look, and "
                "what a probe loses in the slices of others.",
            }
        ),
    ),
    Family(
        "structure",
        "Structure",
        "How a layer is laid out: in how many directions, with how many copies, how tangled.",
        "structure.",
        (
            Panel("structure.effective_rank", better=_NEITHER),
            Panel("structure.redundancy", better=_NEITHER),
            Panel("structure.entanglement", "dots", zero="no more than chance"),
            Panel("structure.twin_spread", "dots"),
            Panel("structure.invariance_spread", "dots"),
        ),
        MappingProxyType(
            {
                "lines": "Directions in which a layer varies, and how far its units repeat each "
                "other. Both follow the width of the layer: see whether the student goes with the "
                "teacher.",
                "dots": "Entanglement, a → b: what is lost of b when a is erased, grey: by chance. "
                "Spread: how far rows lie apart that should lie together. Lower is better.",
            }
        ),
    ),
    Family(
        "likeness",
        "Similarity",
        "Is the student's last hidden layer as like the members' as they are like each other?",
        "similarity.",
        (
            Panel("similarity.layer_matching", "dots", scale="similarity"),
            Panel("similarity.cka", "dots", scale="similarity"),
            Panel("similarity.procrustes", "dots", scale="similarity"),
            Panel("similarity.rsa", "dots", scale="similarity"),
            Panel("similarity.distance_correlation", "dots", scale="similarity"),
            Panel("similarity.second_order", "dots", scale="similarity"),
            Panel("similarity.neighbours", "dots", scale="similarity"),
            Panel("similarity.jaccard", "dots", scale="similarity"),
        ),
        MappingProxyType(
            {
                "dots": "Circle: the members to each other, what another training run would give. "
                "Square: the student to the members. 1 is alike, 0 unrelated; higher is better."
            }
        ),
    ),
    Family(
        "usage",
        "Usage",
        "What a model does with what its layers hold: is a concept used, or only there?",
        "usage.",
        (
            Panel("usage.erasure", better=_AS_TEACHER, zero="as a random subspace"),
            Panel("usage.interchange", better=_AS_TEACHER, zero="as a random subspace"),
            Panel("usage.concept_sensitivity", "layers", better=_AS_TEACHER),
            Panel("usage.attribution", "dots"),
            Panel("usage.layer_attribution", "dots"),
            Panel("usage.infidelity", "dots"),
            Panel("usage.sensitivity", "dots"),
        ),
        MappingProxyType(
            {
                "lines": "Above 0, grey, the answers hang on the concept more than on a random "
                "part of the layer. A sound student uses what its teacher uses.",
                "layers": "Concept and class: share of the class's rows whose answer rises along "
                "the concept. 1: it speaks for the class; 0: against it; a dash: chance would do "
                "as much. A sound student shows what its teacher shows.",
                "dots": "Agreement: do student and members answer for the same reasons, in the "
                "inputs or in the last layer (circle: members with each other)? Infidelity and "
                "sensitivity: can these reasons be relied on?",
            }
        ),
    ),
    Family(
        "damage",
        "Damage",
        "How far layers move when inputs, weights or the layers themselves are disturbed.",
        "representation.",
        (
            Panel("representation.displacement", beside=True),
            Panel("representation.guided", "dots"),
            Panel("representation.parted", "dots"),
            Panel("representation.invariance", "dots"),
            Panel("noise.strength", "dots", better="no evidence"),
        ),
        MappingProxyType(
            {
                "lines": "Movement of each layer, over the distance of its clean rows from their "
                "mean: 0 it stays, 1.4 it goes as far as to another row. Lower is better.",
                "dots": "What is left of the way to the code of another class; higher is better. "
                "Codes driven apart: 0 the student's still says what a member's does, 1 nothing. "
                "The noise that moves the outputs equally far says how strong it was, not who is "
                "better: it can rank backwards.",
            }
        ),
    ),
    Family(
        "shifts",
        "Shifts",
        "Was it a shift at all, what did it cost, and where is the student worst?",
        "shift.",
        (
            Panel("shift.size", "dots", better="of the inputs: the same for both"),
            Panel("outputs.consistency", "dots"),
            Panel("shift.strongest_strength", "dots", better="the same for both"),
            Panel("outputs.worst_group", "dots", everywhere=True),
            Panel("outputs.fidelity", "dots", everywhere=True),
            Panel("outputs.kl", "dots", everywhere=True),
            Panel("outputs.agreement_change", "dots"),
            Panel("outputs.corruption_error", "dots"),
            Panel("outputs.calibration", "dots", everywhere=True),
            Panel("outputs.loss", "dots", everywhere=True),
            Panel("outputs.brier", "dots", everywhere=True),
        ),
        MappingProxyType(
            {
                "dots": "Size: AUC .5 and a squared discrepancy of 0 are no shift, and to lose "
                "nothing there is no strength. Worst group: of those with at least 100 rows, with "
                "an interval that minds that it was chosen. Circle: the mean member, square: the "
                "student."
            }
        ),
    ),
    Family(
        "robustness",
        "Robustness",
        "How far inputs may be moved before the answer breaks, and can an attack's failure be "
        "believed?",
        "attack.",
        (
            Panel("attack.minimal", "dots"),
            Panel("attack.minimal_l2", "dots"),
            Panel("certify.smoothing", "dots"),
            Panel("attack.single_runs", "dots"),
            Panel("attack.masking", "dots", zero="as it should be"),
            Panel("attack.masking_search", "dots", zero="as it should be"),
        ),
        MappingProxyType(
            {
                "dots": "Smallest eps: what an attack finds is an upper bound of the true one. "
                "Certified radii are proved, of the model under noise and not of the model itself. "
                "Checks for masked gradients: above 0 is a bad sign."
            }
        ),
    ),
    Family(
        "others",
        "Other measures",
        "What else was asked for.",
        "",
    ),
)
"""In the order of the page."""

ELSEWHERE: Final = ("outputs.", "shift.", "ensemble.")
"""Measures of outputs, shifts and the ensemble that no family lists: other sections show them."""


def of(measure: str) -> Family | None:
    """The family of a measure; None if it is shown elsewhere on the page."""
    for family in FAMILIES:
        if measure in family.listed:
            return family
    if measure.startswith(ELSEWHERE):
        return None
    fitting = [f for f in FAMILIES if measure.startswith(f.prefix)]
    return max(fitting, key=lambda f: len(f.prefix))
