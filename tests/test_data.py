"""AuditData: what it takes, what it refuses in one line, what it notices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ringtest import AuditData
from ringtest.errors import DataError
from ringtest.rows.checks import row_codes

N = 240


def rows(n: int = N, width: int = 4) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(1))


def classes(n: int = N) -> torch.Tensor:
    return torch.arange(n) % 3


def poisoned(value: float) -> torch.Tensor:
    x = rows()
    x[7, 2] = value
    return x


def broken(x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no such luck\nand a second line")


NAMES = np.array(["a", "b", None] * (N // 3), dtype=object)

REFUSED = {
    "inputs an empty dict": ({"inputs": {}}, "inputs"),
    "inputs a string": ({"inputs": "rows.csv"}, "inputs"),
    "inputs a frame": ({"inputs": pd.DataFrame(rows().numpy())}, "inputs"),
    "inputs of words": ({"inputs": [["a", "b"], ["c", "d"]]}, "inputs"),
    "inputs ragged": ({"inputs": [[1.0, 2.0], [3.0]]}, "inputs"),
    "inputs of one axis": ({"inputs": rows()[:, 0]}, "inputs"),
    "inputs without rows": ({"inputs": rows()[:0]}, "inputs"),
    "inputs without columns": ({"inputs": rows()[:, :0]}, "inputs"),
    "inputs boolean": ({"inputs": rows() > 0}, "inputs"),
    "inputs complex": ({"inputs": rows() * 1j}, "inputs"),
    "inputs NaN": ({"inputs": poisoned(np.nan)}, "inputs"),
    "inputs infinite": ({"inputs": poisoned(-np.inf)}, "inputs"),
    "targets short": ({"targets": classes()[:-1]}, "targets"),
    "targets NaN": ({"targets": np.where(np.arange(N) == 5, np.nan, 1.0)}, "targets"),
    "targets 3-D": ({"targets": np.zeros((N, 1, 1))}, "targets"),
    "groups a list": ({"groups": [1] * N}, "groups"),
    "groups short": ({"groups": {"site": np.zeros(3)}}, "groups['site']"),
    "groups NaN": ({"groups": {"age": np.full(N, np.nan)}}, "groups['age']"),
    "groups None": ({"groups": {"site": NAMES}}, "groups['site']"),
    "groups NA": (
        {"groups": pd.DataFrame({"k": pd.array([1, None] * (N // 2), dtype="Int64")})},
        "groups['k']",
    ),
    "groups missing in a frame": ({"groups": pd.DataFrame({"site": NAMES})}, "groups['site']"),
    "concepts 2-D": ({"concepts": {"c": np.zeros((N, 2))}}, "concepts['c']"),
    "concepts a tensor": ({"concepts": rows()}, "concepts"),
    "cluster short": ({"cluster": [1, 2]}, "cluster"),
    "cluster 2-D": ({"cluster": np.zeros((N, 2))}, "cluster"),
    "cluster None": ({"cluster": NAMES}, "cluster"),
    "bounds one number": ({"bounds": 3}, "bounds"),
    "bounds of three": ({"bounds": (0, 1, 2)}, "bounds"),
    "bounds words": ({"bounds": ("low", "high")}, "bounds"),
    "bounds turned round": ({"bounds": (5, -5)}, "bounds"),
    "bounds NaN": ({"bounds": (np.nan, 5)}, "bounds"),
    "bounds violated": ({"bounds": (-0.5, 0.5)}, "bounds"),
    "invariances a list": ({"invariances": [torch.neg]}, "invariances"),
    "invariances no callable": ({"invariances": {"m": 3}}, "invariances['m']"),
    "invariances raise": ({"invariances": {"m": broken}}, "invariances['m']"),
    "invariances change shape": ({"invariances": {"m": lambda x: x[:, :2]}}, "invariances['m']"),
    "invariances give arrays": ({"invariances": {"m": lambda x: x.numpy()}}, "invariances['m']"),
    "unlabelled a tensor": ({"unlabelled": rows()}, "unlabelled"),
    "unlabelled of another shape": ({"unlabelled": {"web": rows(9, 5)}}, "unlabelled['web']"),
    "unlabelled of another type": (
        {"unlabelled": {"web": torch.ones(9, 4, dtype=torch.int64)}},
        "unlabelled['web']",
    ),
    "unlabelled NaN": ({"unlabelled": {"web": poisoned(np.nan)}}, "unlabelled['web']"),
    "train NaN": ({"train": poisoned(np.nan)}, "train"),
    "modality unknown": ({"modality": "pictures"}, "modality"),
    "modality no word": ({"modality": 3}, "modality"),
    "modality of another shape": ({"modality": "image"}, "modality"),
    "modality tokens of floats": ({"modality": "tokens"}, "modality"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_line_that_names_the_field(case: str) -> None:
    changed, field = REFUSED[case]
    with pytest.raises(DataError) as caught:
        AuditData(**{"inputs": rows(), "targets": classes(), **changed})
    assert caught.value.field == field
    message = str(caught.value)
    assert message.startswith(f"{field}: ")
    assert "\n" not in message


def test_names_the_first_bad_row() -> None:
    with pytest.raises(DataError, match="1 rows hold NaN or infinity, the first is row 7"):
        AuditData(poisoned(np.inf), classes())


@pytest.mark.parametrize(
    "inputs",
    [
        rows().numpy(),
        rows().double(),
        rows().double().numpy(),
        rows().numpy().tolist(),
        np.asfortranarray(rows().numpy()),
        rows().numpy()[::-1][::-1],
        rows().requires_grad_(True),
    ],
    ids=["array", "float64", "float64 array", "list", "Fortran", "reversed", "with gradient"],
)
def test_inputs_become_a_float32_tensor(inputs: object) -> None:
    data = AuditData(inputs, classes())
    assert data.inputs.dtype == torch.float32
    assert not data.inputs.requires_grad
    torch.testing.assert_close(data.inputs, rows())


def test_read_only_arrays_are_taken_without_a_warning() -> None:
    inputs = rows().numpy().copy()
    targets = np.arange(N, dtype=np.float64)
    for array in (inputs, targets):
        array.setflags(write=False)
    data = AuditData(inputs, targets, groups={"g": targets})
    assert data.n == N


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(dtype: torch.dtype) -> None:
    data = AuditData(rows().to(dtype), classes())
    assert data.inputs.dtype == dtype
    assert len(data.fingerprint) == 64


@pytest.mark.parametrize(
    ("inputs", "modality"),
    [
        (rows(), "table"),
        (rows().reshape(N, 1, 2, 2), "image"),
        (rows().reshape(N, 2, 2), "sequence"),
        (rows().reshape(N, 1, 1, 2, 2), "sequence"),
        (torch.ones(N, 6, dtype=torch.int32), "tokens"),
    ],
)
def test_modality_is_read_off_the_shape(inputs: torch.Tensor, modality: str) -> None:
    assert AuditData(inputs, classes()).modality == modality


def test_groups_of_a_frame_and_of_a_dict_are_alike() -> None:
    site = np.array(["north", "south"] * (N // 2))
    age = np.arange(N)
    frame = pd.DataFrame({"site": pd.Categorical(site), "age": age}, index=np.arange(N)[::-1])
    a, b = AuditData(rows(), groups=frame), AuditData(rows(), groups={"site": site, "age": age})
    assert list(a.groups) == ["site", "age"]
    for name in a.groups:
        np.testing.assert_array_equal(a.groups[name], b.groups[name])
    assert a.fingerprint == b.fingerprint


def test_values_of_several_types_in_a_column_can_be_counted() -> None:
    data = AuditData(rows(), groups={"site": np.array([1, "b", True] * (N // 3), dtype=object)})
    assert set(data.groups["site"]) == {"1", "b", "True"}


def test_cluster_becomes_codes_from_zero() -> None:
    data = AuditData(rows(), cluster=[f"patient {i // 4}" for i in range(N)])
    assert data.cluster.dtype == np.int64
    assert set(data.cluster) == set(range(N // 4))
    assert len({int(c) for c in data.cluster[:4]}) == 1


def test_train_may_be_audit_data() -> None:
    assert torch.equal(AuditData(rows(), train=AuditData(rows(9))).train, rows(9))


def test_invariances_get_a_copy() -> None:
    def mirrored(x: torch.Tensor) -> torch.Tensor:
        return x.neg_()

    data = AuditData(rows(), invariances={"mirror": mirrored})
    assert torch.equal(data.inputs, rows())


# -- what is noticed ----------------------------------------------------------------------------


def test_small_groups_are_noticed() -> None:
    site = np.where(np.arange(N) < 30, "small", "large")
    (warning,) = AuditData(rows(), groups={"site": site}).warnings
    assert "groups['site']" in warning
    assert "small (30)" in warning
    assert "large" not in warning


def test_duplicates_are_counted() -> None:
    data = AuditData(torch.cat([rows()[:200], rows()[:40]]))
    assert data.duplicates == 40
    assert any("40 of 240 rows repeat" in w for w in data.warnings)
    assert AuditData(rows()).warnings == []


def test_few_rows_are_noticed() -> None:
    assert any("99 rows" in w for w in AuditData(rows(99)).warnings)
    assert AuditData(rows(100)).warnings == []


# -- fingerprint --------------------------------------------------------------------------------


def full(**changed: object) -> AuditData:
    parts: dict[str, object] = {
        "inputs": rows(),
        "targets": classes(),
        "groups": {"site": np.arange(N) % 2},
        "concepts": {"size": np.arange(N) % 5},
        "invariances": {"mirror": torch.neg},
        "cluster": np.arange(N) // 2,
        "bounds": (-9.0, 9.0),
        "unlabelled": {"web": rows(120)},
    }
    return AuditData(**{**parts, **changed})  # type: ignore[arg-type]


CHANGES = {
    "inputs": poisoned(0.0),
    "targets": (classes() + 1) % 3,
    "groups": {"site": np.arange(N) % 3},
    "concepts": {"size": np.arange(N) % 6},
    "invariances": {"flip": torch.neg},
    "cluster": np.arange(N) // 3,
    "bounds": (-9.0, 10.0),
    "unlabelled": {"web": rows(121)},
}


def test_fingerprint_is_of_the_content() -> None:
    assert full().fingerprint == full(inputs=rows().numpy(), targets=classes().numpy()).fingerprint


@pytest.mark.parametrize("part", CHANGES)
@pytest.mark.parametrize("how", ["changed", "left out"])
def test_fingerprint_changes_with_every_part(part: str, how: str) -> None:
    if how == "left out" and part == "inputs":
        pytest.skip("there are always inputs")
    other = full(**{part: CHANGES[part] if how == "changed" else None})
    assert other.fingerprint != full().fingerprint


@pytest.mark.parametrize("part", ["groups", "concepts", "unlabelled"])
def test_fingerprint_changes_with_names(part: str) -> None:
    (name, values), *_ = getattr(full(), part).items()
    assert full(**{part: {f"{name} too": values}}).fingerprint != full().fingerprint


def test_copies_have_one_code_and_bytes_images_are_refused():
    """Rows are told apart exactly; uint8 images would be taken for tokens."""
    x = torch.randn(50, 7)
    codes = row_codes(torch.cat([x, x[:3]]))
    assert len(set(codes.tolist())) == 50
    assert codes[50:].tolist() == codes[:3].tolist()
    with pytest.raises(DataError, match="uint8 images"):
        AuditData(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
