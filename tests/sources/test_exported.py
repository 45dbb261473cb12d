"""torch.export programs: read with their layers, and refused where they hold more than numbers."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ringtest import AuditData, Subject, audit, subjects, tasks
from ringtest.errors import SubjectError
from ringtest.model import evaluating, hooked

pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")


class Net(nn.Module):
    """Convolutions, a container and a head, in a class of the user's own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU())
            self.down = nn.Conv2d(5, 6, 3, stride=2)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(6 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.down(self.stem(x)).relu().flatten(1)))


def exported(module: nn.Module, path: Path, *args: Any, dims: Any = None, **kwargs: Any) -> Path:
    """Save a module as a program whose batch axis is dynamic, unless ``dims`` says otherwise."""
    dynamic = {0: torch.export.Dim("rows", min=1, max=4096)}
    shapes = tuple(dynamic for _ in args) or dict.fromkeys(kwargs, dynamic)
    with torch.no_grad():
        program = torch.export.export(
            module.eval(), args, kwargs, dynamic_shapes=shapes if dims is None else dims
        )
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(130, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def data(images: Tensor) -> AuditData:
    return AuditData(images, (images.mean((1, 2, 3)) > 0).long())


def test_a_program_shows_what_its_module_shows(
    tmp_path: Path, data: AuditData, images: Tensor
) -> None:
    net = Net()
    path = exported(net, tmp_path / "net.pt2", images[:4])
    task = tasks.make("classification", data)
    found = {
        "module": subjects.students(net.eval(), task, data)["student"],
        "program": subjects.students(Subject(exported=path), task, data)["student"],
    }
    seen = {}
    for name, model in found.items():
        assert model.capabilities == ["outputs", "layers", "gradients"]
        with evaluating([model]), hooked(model, model.layers.names) as capture, torch.no_grad():
            capture.rows = 30
            model.at(data.rows, slice(0, 30))
            seen[name] = (model.raw(images[:30]), *capture.values.values())
    assert len(seen["module"]) == len(seen["program"]) == 5
    # Channels are pooled as channels, though the program has no Conv2d any more.
    for ours, theirs in zip(seen["module"], seen["program"], strict=True):
        torch.testing.assert_close(theirs, ours)
    assert found["program"].layers.names == found["module"].layers.names
    assert found["program"].architecture == found["module"].architecture


def test_a_program_has_a_text_form(tmp_path: Path, images: Tensor) -> None:
    path = exported(Net(), tmp_path / "net.pt2", images[:4])
    assert "Conv2d" in repr(Subject(exported=path).resolve("student"))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        weights = attention_mask[..., None].float()
        return self.head((self.embed(input_ids) * weights).sum(1) / weights.sum(1))


@pytest.mark.parametrize("by", ["position", "keyword"])
def test_inputs_by_name_whatever_way_they_were_exported(tmp_path: Path, by: str) -> None:
    net = Tokens().eval()
    ids = torch.arange(40).reshape(8, 5) % 20
    batch = {"input_ids": ids, "attention_mask": (ids > 3).long()}
    path = tmp_path / "net.pt2"
    if by == "position":
        exported(net, path, *batch.values())
    else:
        exported(net, path, **batch)
    module = Subject(exported=path).resolve("student")
    torch.testing.assert_close(module(**batch, token_type_ids=ids), net(**batch))
    with pytest.raises((TypeError, ValueError), match="attention_mask"):
        module(input_ids=ids)


FIXED = {"fixed": ({},), "short": ({0: torch.export.Dim("rows", min=1, max=64)},)}


@pytest.mark.parametrize("how", FIXED)
def test_a_batch_axis_that_holds_no_block_is_refused(
    tmp_path: Path, images: Tensor, how: str
) -> None:
    exported(Net(), tmp_path / "net.pt2", images[:4], dims=FIXED[how])
    with pytest.raises(SubjectError, match="export it with a dynamic batch axis") as caught:
        Subject(exported="net.pt2", where=tmp_path).resolve("student")
    assert caught.value.field == "student.exported"
    assert ("4 rows" if how == "fixed" else "64 rows") in str(caught.value)


def test_a_program_is_audited_end_to_end(tmp_path: Path, data: AuditData, images: Tensor) -> None:
    path = exported(Net(1), tmp_path / "net.pt2", images[:4])
    report = audit(Net(0).eval(), Subject(exported=path), data, progress=False)
    assert report.verdict.scope == "full"
    plain = audit(Net(0).eval(), Net(1).eval(), data, progress=False)
    assert report.verdict.label == plain.verdict.label
    assert report.verdict.strength == pytest.approx(plain.verdict.strength, abs=1e-6)


# -- what is refused -----------------------------------------------------------------------------


class Malice:
    """Pickled, it creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def pickled(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Malice(path), buffer)
    return buffer.getvalue()


def _sample_inputs(files: dict[str, bytes], trace: Path) -> None:
    files["data/sample_inputs/model.pt"] = pickled(trace)


def _weight(files: dict[str, bytes], trace: Path) -> None:
    config = json.loads(files["data/weights/model_weights_config.json"])
    config["config"]["head.bias"]["use_pickle"] = True
    files["data/weights/" + config["config"]["head.bias"]["path_name"]] = pickled(trace)
    files["data/weights/model_weights_config.json"] = json.dumps(config).encode()


def _legacy_weights(files: dict[str, bytes], trace: Path) -> None:
    files["data/weights/model.pt"] = pickled(trace)


def _constant(files: dict[str, bytes], trace: Path) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False}
    config = {"config": {"evil": entry | {"tensor_meta": None}}}
    files["data/constants/opaque_obj_0"] = pickled(trace)
    files["data/constants/model_constants_config.json"] = json.dumps(config).encode()


def _library(files: dict[str, bytes], trace: Path) -> None:
    files["data/aotinductor/model/evil.so"] = b"\x7fELF"


def _call(files: dict[str, bytes], trace: Path) -> None:
    model = json.loads(files["models/model.json"])
    model["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"
    files["models/model.json"] = json.dumps(model).encode()


def _expression(files: dict[str, bytes], trace: Path) -> None:
    text = files["models/model.json"].decode()
    evil = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    expression = json.loads(text)["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]
    name = expression["as_expr"]["expr_str"]
    files["models/model.json"] = text.replace(
        f'"expr_str": "{name}"', f'"expr_str": {json.dumps(evil)}'
    ).encode()


MALICIOUS: dict[str, tuple[Callable[[dict[str, bytes], Path], None], str]] = {
    "sample inputs": (_sample_inputs, "sample inputs that are no plain tensors"),
    "weight": (_weight, "holds 'head.bias' as a pickle"),
    "weights of the old form": (_legacy_weights, "holds pickled weights"),
    "constant": (_constant, "holds 'evil' as a pickle"),
    "library": (_library, "a compiled library"),
    "call": (_call, "calls 'torch.os.system'"),
    "expression": (_expression, "holds the expression"),
}


@pytest.mark.parametrize("where", MALICIOUS)
def test_a_program_that_holds_code_is_refused_before_it_runs(
    tmp_path: Path, images: Tensor, where: str
) -> None:
    plant, says = MALICIOUS[where]
    path, trace = exported(Net(), tmp_path / "net.pt2", images[:4]), tmp_path / "trace"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = names[0].split("/")[0]
        files = {n.split("/", 1)[1]: archive.read(n) for n in names}
    plant(files, trace)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}", content)
    with pytest.raises(SubjectError) as caught:
        Subject(exported=path).resolve("student")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_the_plain_loader_would_have_run_it(tmp_path: Path, images: Tensor) -> None:
    """Why there is a guard at all; if torch closes this, the guard may go."""
    path, trace = exported(Net(), tmp_path / "net.pt2", images[:4]), tmp_path / "trace"
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    name = next(n for n in files if n.endswith("data/sample_inputs/model.pt"))
    files[name] = pickled(trace)
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in files.items():
            archive.writestr(n, content)
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert trace.exists()


@pytest.mark.parametrize("content", [b"", b"not a program", b"PK\x03\x04 truncated"])
def test_a_file_that_is_no_program_is_refused(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(SubjectError, match="is no program that can be loaded"):
        Subject(exported=tmp_path / "net.pt2").resolve("student")
    with pytest.raises(SubjectError, match=r"is not there; did you mean net.pt2"):
        Subject(exported=tmp_path / "nt.pt2").resolve("student")
    assert capfd.readouterr() == ("", "")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x).relu()


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Stack(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


class Text(nn.Module):
    """PyTorch's own encoder, of which a program keeps only the name."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.embed = nn.Embedding(9, 6)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (Deep, torch.arange(360.0).reshape(60, 6) / 100),
        (Text, torch.arange(300).reshape(60, 5) % 9),
    ],
)
def test_the_layers_of_a_stack_are_opened(tmp_path: Path, make: Any, x: Tensor) -> None:
    net = make().eval()
    data = AuditData(x, torch.arange(60) % 3)
    task = tasks.make("classification", data)
    given = Subject(exported=exported(net, tmp_path / "net.pt2", x[:4]))
    program = subjects.students(given, task, data)["student"]
    module = subjects.students(net, task, data)["student"]
    assert program.layers.names == module.layers.names
    assert sum("layer" in name for name in program.layers.names) >= 2


def test_a_decomposed_program_is_loaded_without_a_word(
    tmp_path: Path, images: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    dynamic = ({0: torch.export.Dim("rows", min=1, max=4096)},)
    program = torch.export.export(Net().eval(), (images[:4],), dynamic_shapes=dynamic)
    torch.export.save(program.run_decompositions(), tmp_path / "net.pt2")
    capfd.readouterr()
    Subject(exported=tmp_path / "net.pt2").resolve("student")
    assert capfd.readouterr() == ("", "")
