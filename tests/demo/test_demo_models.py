"""The demo's models are what their table says, by construction and by accuracy under shift."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ringtest.demo import Demo, build, digits, training
from ringtest.demo.students import STUDENTS, side_property

SOUND = [student.name for student in STUDENTS if student.truth == "sound"]
FRACTURED = [student.name for student in STUDENTS if student.truth == "fractured"]
SHIFTS = {
    "rotated": digits.rotated,
    "translated": digits.translated,
    "rescaled": digits.rescaled,
}


@pytest.fixture(scope="module")
def built() -> tuple[Demo, list[tuple[str, float]], bool]:
    """The demo, the progress it reported, and whether the global generator stood still."""
    seen: list[tuple[str, float]] = []
    before = torch.random.get_rng_state()
    demo = build(0, progress=lambda stage, fraction: seen.append((stage, fraction)))
    return demo, seen, torch.equal(before, torch.random.get_rng_state())


@pytest.fixture(scope="module")
def demo(built: tuple[Demo, list[tuple[str, float]], bool]) -> Demo:
    """The demo alone."""
    return built[0]


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    """The split that the demo was built on, with the labels that the audit never sees."""
    return digits.load(0)


@torch.no_grad()
def classes(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's answers, (n,)."""
    answers: Tensor = model(inputs).argmax(dim=1)
    return answers


def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Share of right answers."""
    return (classes(model, inputs) == targets).double().mean().item()


def member_accuracy(demo: Demo, inputs: Tensor, targets: Tensor) -> float:
    """Accuracy of the mean member."""
    return sum(accuracy(member, inputs, targets) for member in demo.teacher) / len(demo.teacher)


def excess_fall(demo: Demo, data: digits.Digits, name: str, shift: str) -> float:
    """How much further a student falls from the benchmark to unseen digits than the members do."""
    shifted = SHIFTS[shift](data.elsewhere_images, digits.generator(7, "test"))
    targets = data.elsewhere_targets
    student = demo.students[name]
    fall = accuracy(student, demo.inputs, demo.targets) - accuracy(student, shifted, targets)
    members = member_accuracy(demo, demo.inputs, demo.targets) - member_accuracy(
        demo, shifted, targets
    )
    return fall - members


def test_sets_have_the_promised_shapes_ranges_and_no_row_in_common(
    demo: Demo, data: digits.Digits
) -> None:
    assert demo.inputs.shape == (700, 1, 8, 8)
    assert demo.targets.shape == (700,)
    assert len(data.train_images) == 577
    for images in (demo.inputs, data.train_images, *demo.production.values()):
        assert images.dtype == torch.float32
        assert demo.bounds[0] <= images.min() <= images.max() <= demo.bounds[1]
    assert {name: len(images) for name, images in demo.production.items()} == {
        "rotated": 520,
        "translated": 520,
    }
    together = torch.cat((data.train_images, data.benchmark_images, data.elsewhere_images))
    assert len(together.unique(dim=0)) == 1797


def test_tables_name_the_same_students(demo: Demo) -> None:
    assert len(demo.teacher) == 3
    assert len(demo.students) >= 6
    assert list(demo.students) == list(demo.truth) == list(demo.about)
    for model in (*demo.teacher, *demo.students.values()):
        assert not any(module.training for module in model.modules())
        assert model(demo.inputs[:5]).shape == (5, 10)


def test_progress_rises_to_one_in_each_stage(
    built: tuple[Demo, list[tuple[str, float]], bool],
) -> None:
    for stage in ("teacher", "students"):
        fractions = [fraction for name, fraction in built[1] if name == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_global_random_state_is_untouched(
    built: tuple[Demo, list[tuple[str, float]], bool],
) -> None:
    assert built[2]


@pytest.mark.parametrize("name", SOUND + FRACTURED)
def test_students_are_matched_on_the_benchmark(demo: Demo, name: str) -> None:
    members = member_accuracy(demo, demo.inputs, demo.targets)
    assert accuracy(demo.students[name], demo.inputs, demo.targets) > members - 0.02


@pytest.mark.parametrize("name", SOUND)
def test_sound_students_fall_no_further_than_members(
    demo: Demo, data: digits.Digits, name: str
) -> None:
    """By the mean over shifts, as truth is defined: of one shift a point more is chance."""
    falls = [excess_fall(demo, data, name, shift) for shift in SHIFTS]
    assert sum(falls) / len(falls) < 0.05
    assert max(falls) < 0.08


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", ["clean-only", "watermark"])
def test_students_with_a_shortcut_fall_much_further(
    demo: Demo, data: digits.Digits, name: str, shift: str
) -> None:
    assert excess_fall(demo, data, name, shift) > 0.12


def test_watermark_matters_to_the_student_that_learned_it_alone(
    demo: Demo, data: digits.Digits
) -> None:
    def gain(model: nn.Module) -> float:
        without = accuracy(model, data.benchmark_images, data.benchmark_targets)
        return accuracy(model, demo.inputs, demo.targets) - without

    assert gain(demo.students["watermark"]) > 0.10
    others = [model for name, model in demo.students.items() if name != "watermark"]
    assert all(abs(gain(model)) < 0.02 for model in (*demo.teacher, *others))


def test_split_student_has_a_members_shape_and_the_teachers_outputs(demo: Demo) -> None:
    split, member = demo.students["split"], demo.teacher[0]
    assert [type(module) for module in split.modules()] == [
        type(module) for module in member.modules()
    ]
    assert [(name, value.shape) for name, value in split.named_parameters()] == [
        (name, value.shape) for name, value in member.named_parameters()
    ]
    teacher = training.mean_probability(demo.teacher, demo.inputs).argmax(dim=1)
    assert (classes(split, demo.inputs) == teacher).double().mean() >= 0.96


@torch.no_grad()
def test_split_students_sub_networks_share_no_unit_and_no_class_gives_them_away(
    demo: Demo, data: digits.Digits
) -> None:
    split = demo.students["split"]
    assert isinstance(split, nn.Sequential)
    half = training.WIDTHS[-1] // 2
    active = split[:-1](demo.inputs) > 0.0
    first, second = active[:, :half].any(dim=1), active[:, half:].any(dim=1)
    direction, centre = side_property(data)
    side = demo.inputs.flatten(1) @ direction > centre
    # Rows within a thousandth part of the property's scale of the threshold may wake both.
    assert ((first == side) & (second != side)).double().mean() > 0.99
    shares = [side[demo.targets == label].double().mean().item() for label in range(10)]
    assert min(shares) > 0.2
    assert max(shares) < 0.8
    # Between the layers no weight leads from one sub-network to the other.
    weight = training.linears(split)[1].weight
    assert weight[:half, half - 1 : -2].count_nonzero() == 0
    assert weight[half:, : half - 1].count_nonzero() == 0


def test_training_repeats_itself_and_does_not_feel_its_neighbours(data: digits.Digits) -> None:
    lesson = training.member_lesson(data, 3)

    def logits(seeds: list[int]) -> Tensor:
        model = training.fit([lesson] * len(seeds), seeds, steps=100)[0]
        with torch.no_grad():
            answer: Tensor = model(data.benchmark_images)
        return answer

    alone = logits([3])
    assert torch.equal(alone, logits([3]))
    torch.testing.assert_close(alone, logits([3, 4]), rtol=1e-2, atol=1e-2)


def test_data_depend_on_the_seed_alone() -> None:
    first, again, other = digits.load(1), digits.load(1), digits.load(2)
    assert torch.equal(first.train_images, again.train_images)
    assert not torch.equal(first.train_images, other.train_images)
    for name, images in digits.production(first, 1).items():
        assert torch.equal(images, digits.production(again, 1)[name])


def test_the_control_is_a_distilled_student_whose_teacher_had_not_learnt(demo: Demo) -> None:
    assert demo.control is not None
    shapes = [p.shape for p in demo.students["distilled"].parameters()]
    assert [p.shape for p in demo.control.parameters()] == shapes
    # Ten classes, and nobody told it any.
    assert accuracy(demo.control, demo.inputs, demo.targets) < 0.4
    assert not demo.control.training


def test_untrained_members_are_those_that_training_begins_with(data: digits.Digits) -> None:
    lesson = training.labelled(data.train_images, data.train_targets)
    begun = training.fit([lesson, lesson], [0, 1], steps=4)
    for first, after in zip(training.untrained([0, 1]), begun, strict=True):
        for a, b in zip(first.parameters(), after.parameters(), strict=True):
            assert (a - b).abs().max() < 0.02
            assert not a.requires_grad or not torch.equal(a, b)
