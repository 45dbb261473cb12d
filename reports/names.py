"""What measures and their scales are called in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

MEASURE: Final = {
    "outputs.score": "score",
    "outputs.agreement": "agreement with members",
    "outputs.consistency": "consistency with itself",
    "outputs.divergence": "divergence from the teacher",
    "outputs.kl": "KL divergence, both ways",
    "outputs.betrayal": "another class than the teacher's",
    "outputs.teacher_score": "the teacher's score on it",
    "outputs.loss": "loss of the outputs",
    "outputs.brier": "Brier score",
    "outputs.calibration": "calibration of the top label",
    "outputs.worst_group": "score of the worst group",
    "outputs.corruption_error": "error, by the teacher's",
    "outputs.agreement_change": "change of agreement with members",
    "outputs.fidelity": "the teacher's class, where it is right and wrong",
    "shift.size": "size of the shift",
    "shift.strongest_strength": "strength that the teacher bears",
    "slices.discovered": "slices behind the teacher",
    "similarity.cka": "CKA",
    "similarity.neighbours": "neighbour overlap",
    "similarity.jaccard": "neighbours, Jaccard",
    "similarity.procrustes": "Procrustes",
    "similarity.rsa": "distances of rows (RSA)",
    "similarity.distance_correlation": "distance correlation",
    "similarity.second_order": "second order",
    "similarity.layer_matching": "best layer match",
    "probe.decodability": "decodability (ridge)",
    "probe.selectivity": "selectivity",
    "probe.slice_transfer": "slice transfer",
    "probe.logistic": "logistic probe",
    "probe.mlp": "MLP probe",
    "probe.k_sparse": "probe of a few units",
    "probe.low_rank": "low-rank probe",
    "probe.mean_difference": "mean difference",
    "probe.matched_width": "probe at matched width",
    "probe.shuffled": "shuffled labels",
    "probe.raw_input": "inputs alone",
    "probe.untrained": "gain over untrained",
    "probe.v_information": "V-information",
    "probe.code_length": "code length",
    "probe.mdl": "compression",
    "probe.slice_matrix": "slice by slice",
    "probe.slice_loss": "loss across slices",
    "probe.split_transfer": "loss from outside a split",
    "probe.condition_matrix": "clean and changed",
    "structure.twin_spread": "twin spread",
    "structure.invariance_spread": "invariance spread",
    "structure.entanglement": "entanglement",
    "structure.effective_rank": "effective rank",
    "structure.redundancy": "redundancy",
    "representation.displacement": "movement of layers",
    "representation.invariance": "movement under invariances",
    "representation.parted": "codes driven apart",
    "representation.guided": "distance left to a guide",
    "noise.strength": "noise at equal movement",
    "attack.minimal": "smallest eps that breaks",
    "attack.minimal_l2": "smallest eps that breaks, L2",
    "attack.single_runs": "single runs of an attack",
    "attack.masking": "masked gradients",
    "attack.masking_search": "masked gradients, by search",
    "certify.smoothing": "certified radius under noise",
    "usage.erasure": "erasing a concept",
    "usage.interchange": "swapping a concept in",
    "usage.concept_sensitivity": "concept sensitivity (TCAV)",
    "usage.attribution": "agreement of attributions",
    "usage.layer_attribution": "agreement of contributions, last layer",
    "usage.infidelity": "infidelity of attributions",
    "usage.sensitivity": "sensitivity of attributions",
    "ensemble.diversity": "diversity of the members",
    "ensemble.waterfall": "from a member to the oracle",
    "ensemble.texts": "likeness of the members' texts",
    "ensemble.selection": "selection among samples",
    "ensemble.verifier": "the verifier",
    "ensemble.budget": "more samples",
}
CONDITION: Final = {
    "clean": "benchmark inputs",
    "shift.off_support": "off support",
    "shift.certified": "certified",
    "noise.input": "input noise",
    "noise.weight": "weight noise",
    "noise.activation": "layer noise",
    "noise.weight_matched": "matched weight noise",
    "noise.activation_matched": "matched layer noise",
    "attack.representation": "attack: last layer",
    "attack.representation_middle": "attack: middle layer",
    "ablate.units": "units gone",
    "ablate.directions": "directions gone",
    "ablate.subspace": "subspace gone",
    "attack.disagreement": "where the members disagree",
    "candidates": "recorded samples",
    "answers": "recorded answers",
}
MEANING: Final = {
    "effective votes": "1: one opinion; as many as there are members: each errs by itself",
    "correlation of errors": "0: they err apart, 1: together",
    "error consistency": "0: they are right together as often as chance, 1: always",
    "CAPA": "likeness of what they say beyond their accuracy; 0: none, 1: the same",
    "CAPA of answers": "the same of the classes that they say alone",
    "Q": "0: they err apart, 1: together, -1: never together",
    "disagreement": "share of items on which two give other classes",
    "double fault": "share of items on which two are wrong",
    "Vendi score": "1: they say the same; as many as there are members: nothing in common",
    "mutual information": "nats that an answer tells of who gave it; 0: all say the same",
    "KL(teacher || model)": "nats; large where it rules out what the teacher does not",
    "KL(model || teacher)": "nats; large where it says what the teacher rules out",
    "diversity of log loss": "nats by which their geometric mean is better than the mean member",
    "gain in log loss of the mean probability": "nats by which that is better than the mean member",
    "ambiguity": "squared error by which their mean is better than the mean member",
}
"""What values of a statistic mean, where a table has room for it."""


def statistic(name: str) -> str:
    """The scale of a row in words; as a user's measure gives it, so not yet safe to print."""
    return name.replace("R^2", "R²")


def unscaled(statistic: str) -> Callable[[float], float] | None:
    """From the scale that a statistic's name tells back to what was measured; None if it is none.

    ``atanh(0.9 cka)`` and ``log(overlap)`` are the scales on which similarities are compared.
    """
    found = re.fullmatch(r"atanh\((0\.\d*[1-9]|1) .*\)", statistic)
    if found:
        reliability = float(found.group(1))
        return lambda value: math.tanh(value) / reliability
    if statistic.startswith("log(") and statistic.endswith(")"):
        return lambda value: math.exp(min(value, 700.0))
    return None
