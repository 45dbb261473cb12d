"""What a gate costs from start to end: `ringtest gate` on a report of many rows.

    python benchmarks/speed/gate_startup.py               5,000 rows, median of 7, in turn
    python benchmarks/speed/gate_startup.py --rows 500 --rounds 3

Prints the median wall time of whole processes, all measured in turn in one run: bare Python,
Python that imports what the command line is made of (typer, pydantic, rich), and the gate, as it
is and with a policy and all outputs; and the ratios of the gate to the first two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ringtest.measurement import Measurement
from ringtest.policy import Policy
from ringtest.report import Report

GROUPS = ("benchmark", "global geometry", "local geometry", "function", "twins")


def report(rows: int) -> Report:
    """One headline in fifty, the rest context, as in a large audit."""

    def row(i: int) -> Measurement:
        harm = (i % 7) * 0.004
        judged = i % 50 == 0
        return Measurement(
            f"measure.{i % 5}", "probes", f"shift.unlabelled.set_{i // 50:03d}", severity=i / rows,
            params={"depth": i / rows}, teacher=0.9, student=0.9 - harm, delta=-harm, harm=harm,
            se=0.01, df=500.0, ci_low=-0.1, ci_high=0.1, ci_level=0.95, margin=0.1, n=1000,
            unit="share", headline=judged, required=judged, null="drift" if judged else None,
            group=GROUPS[i // 50 % 5] if judged else None,
        )  # fmt: skip

    model = {"name": "m", "weights_hash": "ab"}
    return Report.build(
        [row(i) for i in range(rows)],
        Policy(),
        "full",
        student="student",
        task="classification",
        subjects={"teacher": {"name": "t", "members": [model]}, "student": model, "references": []},
        data={"n": 1000, "fingerprint": "ab", "modality": "table", "groups": {},
              "unlabelled": {}, "warnings": []},
        not_measured=[],
        config={},
        environment={},
        timing={},
    )  # fmt: skip


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.json").write_text(json.dumps(report(options.rows).data, indent=1))
        (folder / "gate.toml").write_text('inconclusive = "fail"\n')
        gate = ["-m", "ringtest", "gate", name]
        outputs = [f"--{form}={folder / form}" for form in ("junit", "markdown", "sarif", "json")]
        commands = {
            "bare": ["-c", "pass"],
            "libraries": ["-c", "import typer, pydantic, rich"],
            "gate": gate,
            "gate with everything": [*gate, "--policy", str(folder / "gate.toml"), *outputs],
        }
        seconds: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(options.rounds):
            for label, command in commands.items():
                start = time.perf_counter()
                done = subprocess.run([sys.executable, *command], capture_output=True, check=False)
                seconds[label].append(time.perf_counter() - start)
                assert done.returncode in (0, 1, 3), done.stderr
    median = {label: statistics.median(values) for label, values in seconds.items()}
    for label, value in median.items():
        low, high = min(seconds[label]), max(seconds[label])
        print(f"{label:>21}: {value:.3f} s (from {low:.3f} to {high:.3f})")
    print(
        f"{options.rows:,} rows: gate / libraries {median['gate'] / median['libraries']:.1f}x, "
        f"gate / bare Python {median['gate'] / median['bare']:.1f}x"
    )


if __name__ == "__main__":
    main()
