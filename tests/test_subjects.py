"""What a model may be given as, what is refused, and that it is left as it was found."""

from __future__ import annotations

import gc
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ringtest import AuditData, Subject, subjects, tasks
from ringtest.errors import ConfigError, RingtestError, SubjectError
from ringtest.model import Ensemble, Model, evaluating, hooked
from ringtest.sources import loading
from ringtest.trial import prepare

N = 120


@pytest.fixture
def data() -> AuditData:
    x = torch.randn(N, 6, generator=torch.Generator().manual_seed(3))
    return AuditData(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


@pytest.fixture
def task(data: AuditData) -> tasks.AnyTask:
    return tasks.make("classification", data)


def mlp(seed: int = 0, width: int = 8, last: nn.Module | None = None) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)]
        return nn.Sequential(*layers, *([] if last is None else [last])).eval()


def ready(given: Any, task: tasks.AnyTask, data: AuditData) -> Model:
    return prepare("student", "student", given, task, data)


# -- forms --------------------------------------------------------------------------------------


def test_a_module_shows_outputs_layers_and_gradients(data: AuditData, task: tasks.AnyTask) -> None:
    net = mlp()
    model = ready(net, task, data)
    assert model.capabilities == ["outputs", "layers", "gradients"]
    assert model.parameters == sum(p.numel() for p in net.parameters())
    torch.testing.assert_close(model.outputs(data.inputs), net(data.inputs).log_softmax(1))


def test_a_callable_shows_outputs_only(data: AuditData, task: tasks.AnyTask) -> None:
    net = mlp()
    model = ready(lambda x: net(x), task, data)
    assert model.layers is None
    assert model.weights_hash is None
    assert "layers" not in model.capabilities


def test_a_callable_may_return_an_array(data: AuditData, task: tasks.AnyTask) -> None:
    net = mlp()

    def predict_proba(x: Any) -> np.ndarray:
        found = net(torch.as_tensor(np.asarray(x))).softmax(1).detach().double().numpy()
        found.setflags(write=False)
        return found

    model = ready(predict_proba, task, data)
    assert model.capabilities == ["outputs"]
    assert model.probabilities
    torch.testing.assert_close(model.outputs(data.inputs), net(data.inputs).log_softmax(1))


@pytest.mark.parametrize("container", [list, tuple, nn.ModuleList])
def test_an_ensemble_is_its_mean_probability_with_the_gradient_through_it(
    data: AuditData, task: tasks.AnyTask, container: Any
) -> None:
    nets = [mlp(0), mlp(1), mlp(2)]
    members = subjects.teacher(container(nets), task, data)
    assert [m.name for m in members] == ["teacher[0]", "teacher[1]", "teacher[2]"]
    ensemble = Ensemble(members)
    x = data.inputs[:5].clone().requires_grad_(True)
    mean = torch.stack([n(x).softmax(1) for n in nets]).mean(0)
    torch.testing.assert_close(ensemble.outputs(x).exp(), mean)
    (found,) = torch.autograd.grad(ensemble.outputs(x)[:, 0].sum(), x)
    (expected,) = torch.autograd.grad(mean[:, 0].log().sum(), x)
    torch.testing.assert_close(found, expected)
    assert ensemble.gradients


def test_probabilities_are_recognised(data: AuditData, task: tasks.AnyTask) -> None:
    model = ready(mlp(last=nn.Softmax(1)), task, data)
    assert model.probabilities
    torch.testing.assert_close(model.outputs(data.inputs), mlp()(data.inputs).log_softmax(1))
    assert not ready(mlp(), task, data).probabilities
    assert not ready(mlp(last=nn.LogSoftmax(1)), task, data).probabilities


class Answer(nn.Module):
    """Wraps the logits in what real models return."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = mlp(), how

    def forward(self, x: Tensor) -> Any:
        features = self.net[1](self.net[0](x))
        logits = self.net[2](features)
        return {
            "tuple": (logits, features),
            "dict": {"features": features, "logits": logits},
            "object": type("Output", (), {"hidden": features, "logits": logits})(),
            "nested": ([logits], features),
        }[self.how]


@pytest.mark.parametrize("how", ["tuple", "dict", "object", "nested"])
def test_logits_are_found_in_what_a_model_returns(
    data: AuditData, task: tasks.AnyTask, how: str
) -> None:
    model = ready(Answer(how).eval(), task, data)
    torch.testing.assert_close(model.outputs(data.inputs), mlp()(data.inputs).log_softmax(1))
    assert model.layers is not None
    assert model.layers.last.name == "input of net.2"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_another_precision_are_taken(
    data: AuditData, task: tasks.AnyTask, dtype: torch.dtype
) -> None:
    net = mlp(width=64)
    model = ready(mlp(width=64).to(dtype), task, data)
    assert model.capabilities == ["outputs", "layers", "gradients"]
    tolerance = 1e-6 if dtype == torch.float64 else 0.05
    expected = net(data.inputs).log_softmax(1)
    torch.testing.assert_close(model.outputs(data.inputs), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_scripted_module_shows_outputs_only(
    data: AuditData, task: tasks.AnyTask, how: str
) -> None:
    net = mlp()
    scripted = torch.jit.script(net) if how == "script" else torch.jit.trace(net, data.inputs[:2])
    model = ready(scripted, task, data)
    assert model.layers is None
    assert model.weights_hash == ready(net, task, data).weights_hash


def test_students_by_name_and_references(data: AuditData, task: tasks.AnyTask) -> None:
    found = subjects.students({"small": mlp(0), 7: Subject(mlp(1))}, task, data)
    assert list(found) == ["small", "7"]
    assert list(subjects.students(mlp(), task, data)) == ["student"]
    assert subjects.references(None, task, data) == []
    assert [m.name for m in subjects.references([mlp(), mlp(1)], task, data)] == [
        "reference[0]",
        "reference[1]",
    ]
    assert subjects.references(mlp(), task, data)[0].role == "reference"


def test_what_a_subject_says_holds_for_all_that_it_gives(
    data: AuditData, task: tasks.AnyTask
) -> None:
    members = subjects.teacher(Subject([mlp(0), mlp(1)], gradients=False), task, data)
    assert [m.name for m in members] == ["teacher[0]", "teacher[1]"]
    assert [m.gradients for m in members] == [False, False]
    members = subjects.teacher([Subject(mlp(0), gradients=False), mlp(1)], task, data)
    assert [m.gradients for m in members] == [False, True]
    nested = Subject(Subject(lambda x: mlp()(x), version="1"))
    assert subjects.students({"a": nested}, task, data)["a"].weights_hash == "1"
    several = subjects.students(Subject({"a": mlp(0), "b": Subject(mlp(1))}), task, data)
    assert list(several) == ["a", "b"]


# -- what is refused ----------------------------------------------------------------------------


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(nn.functional.dropout(x, 0.2, training=True))


class Batchwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - x.mean(0)) / x.std(0))


class Members(nn.Module):
    """An ensemble in disguise."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([mlp(0), mlp(1)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([m(x) for m in self.members]).mean(0)


def nan_net() -> nn.Module:
    net = mlp()
    net[2].bias.data[1] = torch.nan
    return net


def sampling() -> Any:
    net = mlp()
    return lambda x: net(x) + torch.randn(len(x), 3)


def numpy_sampling() -> Any:
    return lambda x: np.random.rand(len(x), 3)  # noqa: NPY002 - the very fault


class Unlike(nn.Module):
    """Runs, but not on every number of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) != 22, "rows come in other numbers"
        return self.net(x)


REFUSED = {
    "nothing": (lambda: None, "is missing"),
    "a word": (lambda: "resnet18", "is str, no model"),
    "a number": (lambda: 18, "is int, no model"),
    "a class": (lambda: nn.Linear, "is the class Linear, no model"),
    "a state dict": (lambda: [mlp().state_dict()], "is OrderedDict, no model"),
    "dropout left on": (Dropping, "answers the same inputs differently twice"),
    "sampling": (sampling, "answers the same inputs differently twice"),
    "sampling in NumPy": (numpy_sampling, "answers the same inputs differently twice"),
    "batch-wise normalisation": (Batchwise, "depends on the other rows of its batch"),
    "batch norm without statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), mlp()),
        "depends on the other rows of its batch",
    ),
    "NaN": (nan_net, "gives NaN or infinity on the data"),
    "two columns": (lambda: nn.Linear(6, 2), "gives 2 output columns"),
    "one column": (lambda: nn.Linear(6, 1), "gives 1 output columns"),
    "another input width": (lambda: nn.Linear(5, 3), "raised RuntimeError on inputs of shape"),
    "an output a batch": (lambda: lambda x: mlp()(x).mean(0), "for 23 rows"),
    "words out": (lambda: lambda x: ["cat"] * len(x), "for 23 rows"),
    "classes out": (lambda: lambda x: mlp()(x).argmax(1, keepdim=True), "gives torch.int64"),
    "one axis out": (lambda: lambda x: mlp()(x)[:, 0], "gives shape (23,)"),
    "no numbers": (lambda: mlp().to("meta"), "has 0.weight on the meta device"),
    "no shape yet": (lambda: nn.Sequential(nn.LazyLinear(3)), "has no numbers in 0.weight yet"),
    "other batches": (Unlike, "AssertionError on 23 rows with hooks, or on 22 rows (rows come in"),
    "an ensemble in disguise": (Members, "pass a list"),
    "a frozen ensemble in disguise": (lambda: Members().requires_grad_(False), "pass a list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line(data: AuditData, task: tasks.AnyTask, case: str) -> None:
    make, says = REFUSED[case]
    given = make()
    with pytest.raises(SubjectError) as caught:
        subjects.teacher(given, task, data)
    message = str(caught.value)
    assert says in message
    assert message.startswith("teacher")
    assert "\n" not in message


def test_an_auxiliary_head_is_no_ensemble(data: AuditData, task: tasks.AnyTask) -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.aux, self.more = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            early = self.body(x).relu()
            # Called last, but no part of the output.
            return self.head(self.more(early).relu()), self.aux(early)

    model = ready(Auxiliary().eval(), task, data)
    assert model.layers is not None
    assert model.layers.last.name == "input of head"


@pytest.mark.parametrize(
    ("given", "says"),
    [(None, "is missing"), ([mlp()], "is a list"), ({}, "is an empty dict"), ("s", "is str")],
)
def test_students_that_cannot_be(
    data: AuditData, task: tasks.AnyTask, given: Any, says: str
) -> None:
    with pytest.raises(SubjectError, match=says):
        subjects.students(given, task, data)


def test_an_empty_teacher_and_automatic_references(data: AuditData, task: tasks.AnyTask) -> None:
    with pytest.raises(SubjectError, match="is an empty list"):
        subjects.teacher([], task, data)
    for given in ("auto", "siblings"):
        with pytest.raises(ConfigError, match="references"):
            subjects.references(given, task, data)


# -- as it was found ----------------------------------------------------------------------------


def state(net: nn.Module) -> dict[str, Any]:
    """Everything about a module, and about the process, that an audit could leave changed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "training": [m.training for m in net.modules()],
        "hooks": [[len(getattr(m, h)) for h in hooks] for m in net.modules()],
        "requires_grad": [p.requires_grad for p in net.parameters()],
        "grad": [None if p.grad is None else p.grad.tolist() for p in net.parameters()],
        "values": [v.tolist() for v in net.state_dict().values()],
        "devices": [p.device for p in net.parameters()],
        "torch": torch.get_rng_state().tolist(),
        "numpy": [str(v) for v in np.random.get_state()],  # noqa: NPY002 - it is what is checked
        "python": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


class Odd(nn.Module):
    """Mixed flags everywhere, and every generator drawn from."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)
        self.fault = fault
        self.first.weight.requires_grad_(False)
        self.first(torch.ones(1, 6)).sum().backward()
        self.train()
        self.norm.eval()
        self.head.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002 - a rude model
        hidden = self.drop(self.norm(self.first(x)).relu())
        if self.fault == "interrupt":
            raise KeyboardInterrupt
        if self.fault == "raise":
            raise ValueError("broken")
        out = self.head(hidden)
        return out * torch.nan if self.fault == "nan" else out


@pytest.mark.parametrize("fault", ["", "raise", "nan", "interrupt"])
def test_a_model_is_left_as_it_was_found(data: AuditData, task: tasks.AnyTask, fault: str) -> None:
    net = Odd(fault)
    before, inputs = state(net), data.inputs.clone()
    if fault:
        with pytest.raises(KeyboardInterrupt if fault == "interrupt" else SubjectError):
            ready(net, task, data)
    else:
        model = ready(net, task, data)
        with evaluating([model]), hooked(model, model.layers.names):
            assert not any(m.training for m in net.modules())
            model.outputs(data.inputs)
    gc.collect()
    assert state(net) == before
    assert torch.equal(data.inputs, inputs)


def test_a_model_that_works_in_place_changes_no_data(data: AuditData, task: tasks.AnyTask) -> None:
    before = data.inputs.clone()
    model = ready(nn.Sequential(nn.ReLU(inplace=True), mlp()), task, data)
    with torch.no_grad():
        model.outputs(data.inputs)
    assert torch.equal(data.inputs, before)
    assert model.gradients


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_grad_mode_takes_no_capability_away(
    data: AuditData, task: tasks.AnyTask, mode: Any
) -> None:
    net = mlp()
    with mode():
        model = ready(net, task, data)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
    assert model.gradients


# -- hashes -------------------------------------------------------------------------------------


def test_the_weights_hash_is_of_the_weights(data: AuditData, task: tasks.AnyTask) -> None:
    a, b = mlp(), mlp()
    assert ready(a, task, data).weights_hash == ready(b, task, data).weights_hash
    with torch.no_grad():
        b[2].weight[0, 0] += 1e-3
    assert ready(a, task, data).weights_hash != ready(b, task, data).weights_hash


def test_the_weights_hash_sees_buffers(data: AuditData, task: tasks.AnyTask) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(6), mlp()).eval()

    a, b = net(), net()
    b[0].running_mean += 0.5
    assert ready(a, task, data).weights_hash != ready(b, task, data).weights_hash


def test_siblings_share_an_architecture(data: AuditData, task: tasks.AnyTask) -> None:
    digest = [
        ready(net, task, data).architecture
        for net in (mlp(0), mlp(1), mlp(0, width=9), mlp(0, last=nn.Tanh()))
    ]
    assert digest[0] == digest[1]
    assert len(set(digest)) == 3


# -- loading ------------------------------------------------------------------------------------

MODELS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, {width}), nn.ReLU(), nn.Linear({width}, 3)).eval()

def teacher():
    from beside import COUNT
    return [build() for _ in range(COUNT)]

def broken():
    raise ValueError("no weights today")

number = 3
"""


@pytest.fixture
def folders(tmp_path: Path) -> Any:
    """Two config folders, each with a models.py and a helper of its own."""
    known = set(sys.modules)
    for name, width in (("one", 4), ("two", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "models.py").write_text(MODELS.format(width=width))
        (folder / "beside.py").write_text(f"COUNT = {width}")
    yield tmp_path
    for name in set(sys.modules) - known:
        if name in ("models", "beside"):
            del sys.modules[name]


def test_two_configs_with_a_models_file_each(
    data: AuditData, task: tasks.AnyTask, folders: Path
) -> None:
    path = list(sys.path)
    for name, width in (("one", 4), ("two", 5), ("one", 4)):
        given = Subject(load="models:teacher", where=folders / name)
        members = subjects.teacher(given, task, data)
        assert len(members) == width
        assert members[0].layers.last.width == width
    assert sys.path == path


def test_a_factory_with_weights(data: AuditData, task: tasks.AnyTask, folders: Path) -> None:
    source = loading.call("x", "models:build", folders / "one")
    with torch.no_grad():
        source[0].weight.zero_()
    save_file(source.state_dict(), folders / "one" / "student.safetensors")
    given = Subject(factory="models:build", weights="student.safetensors", where=folders / "one")
    model = subjects.students(given, task, data)["student"]
    assert model.weights_hash == ready(source, task, data).weights_hash


LOADING = {
    "no colon": ({"load": "models"}, "is not module:callable"),
    "no module": ({"load": "modles:teacher"}, "module 'modles' is not there"),
    "no function": ({"load": "models:teachr"}, "did you mean teacher"),
    "no callable": ({"load": "models:number"}, "is a int"),
    "an error inside": ({"load": "models:broken"}, "raised ValueError: no weights today"),
    "no weights file": ({"factory": "models:build", "weights": "s.safetensors"}, "is not there"),
    "a pickle": ({"factory": "models:build", "weights": "models.py"}, "is no safetensors file"),
    "other weights": (
        {"factory": "models:build", "weights": "two.safetensors"},
        "the module has (4",
    ),
    "other names": ({"factory": "models:build", "weights": "names.safetensors"}, "does not fit"),
    "no module built": ({"factory": "models:teacher", "weights": "two.safetensors"}, "gave a list"),
}


@pytest.mark.parametrize("case", LOADING)
def test_loading_says_what_is_wrong(folders: Path, case: str) -> None:
    where = folders / "one"
    two = loading.call("x", "models:build", folders / "two").state_dict()
    save_file(two, where / "two.safetensors")
    save_file({f"net.{k}": v for k, v in two.items()}, where / "names.safetensors")
    how, says = LOADING[case]
    with pytest.raises(RingtestError) as caught:
        Subject(**how, where=where).resolve("student")
    assert says in str(caught.value)
    assert caught.value.field.startswith("student.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"model": mlp(), "load": "a:b"},
        {"weights": "w.safetensors", "load": "a:b"},
        {"factory": "a:b"},
        {"hf": "some/where", "exported": "student.pt2"},
        {"hf": "some/where", "weights": "w.safetensors"},
        {"hf": "some/where", "dtype": "float8"},
        {"exported": "student.pt2", "dtype": "float16"},
    ],
)
def test_a_subject_is_named_in_exactly_one_way(how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="subject"):
        Subject(**how)


def test_values_of_another_type_are_refused(tmp_path: Path) -> None:
    for name in ("load", "hf", "exported", "evidence"):
        with pytest.raises(ConfigError, match=f"subject.{name}: is 5"):
            Subject(**{name: 5})
    for more in ({"gradients": "no"}, {"single": 1}, {"version": 3}, {"where": 4}):
        with pytest.raises(ConfigError, match=f"subject.{next(iter(more))}: is "):
            Subject(mlp(), **more)
    with pytest.raises(ConfigError, match=r"subject\.weights: is 5"):
        Subject(factory="a:b", weights=5)
    Subject(exported=tmp_path / "a.pt2", where=str(tmp_path))


# -- models that run only in their own way --------------------------------------------------------


class InferenceOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("inference only")
        return self.net(x)


class PerChannel(nn.Module):
    """Fake quantisation by channels, whose scale can have no gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        weight = self.linear.weight
        scale, zero = weight.abs().amax(1) / 127, torch.zeros(len(weight), dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -128, 127)
        return nn.functional.linear(x, weight, self.linear.bias)


def per_channel() -> nn.Module:
    return nn.Sequential(*(PerChannel(m) if isinstance(m, nn.Linear) else m for m in mlp())).eval()


@pytest.mark.parametrize(
    ("make", "last"), [(InferenceOnly, "input of net.2"), (per_channel, "input of 2")]
)
def test_a_model_that_cannot_run_with_gradients_still_shows_its_layers(
    data: AuditData, task: tasks.AnyTask, make: Any, last: str
) -> None:
    net = make()
    model = ready(net, task, data)
    assert model.capabilities == ["outputs", "layers"]
    assert model.layers.last.name == last
    assert all(p.requires_grad for p in net.parameters())


def compiled() -> nn.Module:
    return torch.compile(mlp(), backend="eager")


@pytest.mark.parametrize("wrap", [compiled, lambda: nn.DataParallel(mlp())])
def test_what_only_runs_a_model_is_taken_off(
    data: AuditData, task: tasks.AnyTask, wrap: Any
) -> None:
    plain, model = ready(mlp(), task, data), ready(wrap(), task, data)
    assert model.layers.names == plain.layers.names
    assert model.weights_hash == plain.weights_hash
    assert model.architecture == plain.architecture
    torch.testing.assert_close(model.outputs(data.inputs), plain.outputs(data.inputs))


def test_a_compiled_part_shows_its_layers(data: AuditData, task: tasks.AnyTask) -> None:
    net = nn.Sequential(torch.compile(mlp(), backend="eager"), nn.Linear(3, 3)).eval()
    for given in (net, mlp()):
        if given is not net:
            given.compile(backend="eager")
        model = ready(given, task, data)
        with evaluating([model]), hooked(model, model.layers.names) as seen, torch.no_grad():
            seen.rows = N
            model.outputs(data.inputs)
            assert set(seen.values) == set(model.layers.names)
            assert len(seen.values) >= 2
