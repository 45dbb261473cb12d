"""What similarity costs: CKA of all layer pairs and nearest neighbours, beside other libraries.

    python benchmarks/speed/similarity.py                  2,048 and 20,000 rows, 2 threads
    python benchmarks/speed/similarity.py --rows 512 --layers 3 --width 32 --rounds 1

1. CKA of every layer of one model with every layer of another (7 x 7 layers of width 384): running
   sums of ringtest in batches of 256 rows, in float64; pytorch-cka, torch-cka and ckatorch on the
   same rows in the same batches, where they are installed (pip install --no-deps pytorch-cka
   torch-cka ckatorch); and Gram matrices of all rows, pair by pair, the plain way to the exact
   value, up to 4,096 rows. The others average HSIC over batches, which is another estimate of the
   same thing; the table shows how far they are from the exact value.
2. Overlap of nearest neighbours (k = 2 % of the rows) with its jackknife over 20 groups, beside
   the brute-force search of scikit-learn, which has neither ties nor an error.

Every figure comes from a process of its own: the rows are made, a small case is run to load what is
loaded once, and then seconds of the clock and of all cores, and the growth of peak memory, are
taken. Medians over rounds. Ratios are of the seconds of all cores: others on the machine change
those less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cost import cost
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ringtest import blocks, margins
from ringtest.moments import Moments, hsic, ratio
from ringtest.probes.neighbourhood import Neighbourhood, neighbourhood_size, overlap

BATCH = blocks.BLOCK
MOST_GRAM = 4_096
"""Rows up to which Gram matrices of all rows are made."""

Matrix = list[list[float]]


def rows_of(n: int, layers: int, width: int) -> Tensor:
    """(n, 2 * layers * width) float32: the layers of a network, and those of a kindred one."""
    g = torch.Generator().manual_seed(0)
    out = torch.empty(n, 2 * layers * width)
    weights = torch.randn(2 * layers, width, width, generator=g) / width**0.5
    for low in range(0, n, BATCH):
        first = torch.randn(min(BATCH, n - low), width, generator=g)
        for model in range(2):
            h = first + 0.3 * model * torch.randn(first.shape, generator=g)
            for i in range(layers):
                place = model * layers + i
                h = torch.tanh(1.5 * h @ (weights[i] + 0.3 * model * weights[place]))
                out[low : low + BATCH, place * width : (place + 1) * width] = h
    return out


def split(x: Tensor, layers: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """The layers of both models, as views."""
    parts = x.split(width, dim=1)
    return list(parts[:layers]), list(parts[layers:])


# -- CKA of all pairs ------------------------------------------------------------------------------


def with_ringtest(x: Tensor, layers: int, width: int) -> Matrix:
    """Running sums, as an audit keeps them."""
    own = [[Moments() for _ in range(layers)] for _ in range(2)]
    cross = [[Moments() for _ in range(layers)] for _ in range(layers)]
    for low in range(0, len(x), BATCH):
        both = split(x[low : low + BATCH].double(), layers, width)
        for model in range(2):
            for moments, values in zip(own[model], both[model], strict=True):
                moments.update(values)
        for i, j in itertools.product(range(layers), repeat=2):
            cross[i][j].update(both[0][i], both[1][j])
    alone = [[m.hsic() for m in of] for of in own]
    return [
        [float(ratio(m.hsic(), alone[0][i], alone[1][j])) for j, m in enumerate(of)]
        for i, of in enumerate(cross)
    ]


def with_grams(x: Tensor, layers: int, width: int) -> Matrix:
    """The definition with n x n matrices, pair by pair, nothing kept: Song et al. 2012, eq. 5."""
    first, second = split(x, layers, width)

    def gram(values: Tensor) -> Tensor:
        values = values.double()
        return (values @ values.T).fill_diagonal_(0.0)

    def of(k: Tensor, m: Tensor) -> Tensor:
        rows_k, rows_m = k.sum(1), m.sum(1)
        sums = (k * m).sum(), rows_k.sum(), rows_m.sum(), rows_k @ rows_m
        return hsic(*sums, float(len(k)))

    def one(a: Tensor, b: Tensor) -> float:
        k, m = gram(a), gram(b)
        return float(ratio(of(k, m), of(k, k), of(m, m)))

    return [[one(a, b) for b in second] for a in first]


class Stored(nn.Module):
    """A model whose layers are columns of its input, for libraries that hook modules.

    ``led``: layers are shown as (1, b, width), as ckatorch wants its rows.
    """

    def __init__(self, first: int, layers: int, width: int, led: bool) -> None:
        super().__init__()
        self.first, self.width, self.led = first, width, led
        self.parts = nn.ModuleList(nn.Identity() for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, all columns) to (b, width)."""
        for i, part in enumerate(self.parts):
            low = (self.first + i) * self.width
            values = x[:, low : low + self.width]
            out = part(values[None] if self.led else values)
        return out


def _hooked(
    x: Tensor, layers: int, width: int, led: bool = False
) -> tuple[Stored, Stored, list[str], DataLoader]:
    names = [f"parts.{i}" for i in range(layers)]
    loader = DataLoader(TensorDataset(x), batch_size=BATCH)
    return Stored(0, layers, width, led), Stored(layers, layers, width, led), names, loader


def with_pytorch_cka(x: Tensor, layers: int, width: int) -> Matrix:
    """PyPI pytorch-cka."""
    from cka import compute_cka

    a, b, names, loader = _hooked(x, layers, width)
    found = compute_cka(a, b, loader, layers=names, device=torch.device("cpu"))
    found = found[0] if isinstance(found, list | tuple) else found
    return torch.as_tensor(found).double().tolist()


def with_torch_cka(x: Tensor, layers: int, width: int) -> Matrix:
    """PyPI torch-cka."""
    from torch_cka import CKA

    a, b, names, loader = _hooked(x, layers, width)
    made = CKA(a, b, "a", "b", model1_layers=names, model2_layers=names, device="cpu")
    made.compare(loader)
    return torch.as_tensor(made.export()["CKA"]).double().tolist()


def with_ckatorch(x: Tensor, layers: int, width: int) -> Matrix:
    """PyPI ckatorch, one pass over the rows; 1.0.3 returns what the last batch gave."""
    from ckatorch import CKA

    a, b, names, loader = _hooked(x, layers, width, led=True)
    found = CKA(a, b, names, names, "a", "b", "cpu")(loader, epochs=1)
    return found.double().tolist()


CKA_BY: dict[str, Callable[[Tensor, int, int], Matrix]] = {
    "ringtest, running sums": with_ringtest,
    "Gram matrices of all rows": with_grams,
    "pytorch-cka": with_pytorch_cka,
    "torch-cka": with_torch_cka,
    "ckatorch": with_ckatorch,
}


# -- neighbours ------------------------------------------------------------------------------------


def near_with_ringtest(x: Tensor, layers: int, width: int) -> Matrix:
    """Overlap of the last layers and the standard error of its logarithm."""
    groups = torch.from_numpy(blocks.folds(len(x), margins.JACKKNIFE_GROUPS))
    k = neighbourhood_size(len(x))
    a, b = (Neighbourhood(of[-1], k, groups) for of in split(x, layers, width))
    whole, without = overlap(a, b)
    logs = np.log(without)
    return [[whole, float(np.sqrt((len(logs) - 1) * logs.var()))]]


def near_with_sklearn(x: Tensor, layers: int, width: int) -> Matrix:
    """Overlap of the lists of scikit-learn's brute-force search."""
    from sklearn.neighbors import NearestNeighbors

    k = neighbourhood_size(len(x))
    lists = []
    for of in split(x, layers, width):
        rows = of[-1].double()
        rows = (rows - rows.mean(0)).numpy()
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows)
        lists.append(np.sort(search.kneighbors(return_distance=False), axis=1))
    shared = [np.intersect1d(a, b, assume_unique=True).size for a, b in zip(*lists, strict=True)]
    return [[float(np.mean(shared)) / k]]


NEAR_BY: dict[str, Callable[[Tensor, int, int], Matrix]] = {
    "ringtest, with ties and jackknife": near_with_ringtest,
    "scikit-learn, lists only": near_with_sklearn,
}


# -- processes -------------------------------------------------------------------------------------


def child(kind: str, name: str, n: int, layers: int, width: int, threads: int) -> dict[str, Any]:
    """Seconds, growth of peak memory in MB, and values of one library."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    run = {"cka": CKA_BY, "near": NEAR_BY}[kind][name]
    x = rows_of(n, layers, width)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            run(x[: min(n, 2 * BATCH)], layers, width)
        except ImportError as error:
            return {"missing": str(error)}
        values, spent = cost(lambda: run(x, layers, width))
    return {**spent, "values": values}


def measured(kind: str, name: str, n: int, options: argparse.Namespace) -> dict[str, Any]:
    """Medians over rounds, each in a process of its own."""
    rounds = []
    for _ in range(options.rounds):
        command = [sys.executable, __file__, "--child", kind, name, str(n)]
        command += [str(v) for v in (options.layers, options.width, options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"missing": (done.stderr.strip().splitlines() or ["it was killed"])[-1]}
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
        if "missing" in rounds[-1]:
            return rounds[-1]
    middle = {key: statistics.median(r[key] for r in rounds) for key in ("seconds", "work", "mb")}
    return {**middle, "values": rounds[-1]["values"]}


def table(kind: str, names: list[str], n: int, options: argparse.Namespace) -> None:
    """Print one Markdown table; ratios are to the first name."""
    first: dict[str, Any] = {}
    last = options.layers - 1
    places = {"cka": [(0, 0), (0, last), (last, last)], "near": [(0, 0)]}[kind]
    shown = [f"layers {i + 1}, {j + 1}" for i, j in places] if kind == "cka" else ["overlap"]
    head = [
        "by",
        "seconds",
        "of all cores",
        "ratio",
        "peak growth, MB",
        *shown,
        "largest difference",
    ]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for name in names:
        found = measured(kind, name, n, options)
        if "missing" in found:
            print(f"| {name} | not measured: {found['missing']} |" + " |" * (len(head) - 2))
            continue
        first = first or found
        values, wanted = np.array(found["values"]), np.array(first["values"])
        if kind == "near":
            values, wanted = values[:, :1], wanted[:, :1]
        cells = [name, *(f"{found[key]:.2f}" for key in ("seconds", "work"))]
        cells += [f"{found['work'] / first['work']:.2f}"]
        cells += [f"{found['mb']:.0f}", *(f"{values[place]:.5f}" for place in places)]
        print(
            "| " + " | ".join([*cells, f"{np.abs(values - wanted).max():.1e}"]) + " |", flush=True
        )
    print()


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_048, 20_000])
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["cka", "neighbours"])
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, name, *sizes = options.child
        print(json.dumps(child(kind, name, *map(int, sizes))))
        return
    for n in options.rows:
        of = f"{n:,} rows, {options.threads} threads, median of {options.rounds}"
        if options.only != "neighbours":
            print(
                f"CKA of {options.layers} x {options.layers} layers, width {options.width}, {of}\n"
            )
            names = [k for k in CKA_BY if n <= MOST_GRAM or CKA_BY[k] is not with_grams]
            table("cka", names, n, options)
        if options.only != "cka":
            print(f"Nearest neighbours, width {options.width}, {of}\n")
            table("near", list(NEAR_BY), n, options)


if __name__ == "__main__":
    main()
