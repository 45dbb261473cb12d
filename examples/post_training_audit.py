"""Train a teacher, distil a student, audit it, and let the verdict decide whether it ships.

    python examples/post_training_audit.py --out audit

The exit code is the gate's: 0 pass, 1 fail, 2 error, 3 inconclusive. An interrupted audit goes on
where it ended when the same command is given again. ``--careless`` distils on images as they are.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import ringtest


def network(seed):
    torch.manual_seed(seed)
    hidden = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def varied(images, rng):
    """Moved by up to one pixel each way, and a little noisy."""
    down, right = torch.randint(-1, 2, (2,), generator=rng).tolist()
    noise = 0.1 * torch.randn(images.shape, generator=rng)
    return (images.roll((down, right), (2, 3)) + noise).clamp(0, 1)


def train(model, images, wanted, seed, vary=True, steps=1500):
    """Fit a model to ``wanted(batch, rows)``, the class probabilities of a batch."""
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,), generator=rng)
        batch = varied(images[rows], rng) if vary else images[rows]
        optimiser.zero_grad()
        cross_entropy(model(batch), wanted(batch, rows)).backward()
        optimiser.step()
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="audit", help="folder of cells and reports")
    parser.add_argument("--careless", action="store_true", help="distil on images as they are")
    asked = parser.parse_args()

    images, targets = map(torch.tensor, load_digits(return_X_y=True))
    images = images.float().reshape(-1, 1, 8, 8) / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    learn, benchmark, elsewhere = order.split((597, 700, 500))
    labels = one_hot(targets[learn], 10).float()
    seeds = (1, 2, 3)
    teacher = [train(network(s), images[learn], lambda _, rows: labels[rows], s) for s in seeds]

    @torch.no_grad()
    def taught(batch, _rows):
        return torch.stack([m(batch).softmax(1) for m in teacher]).mean(0)

    student = train(network(4), images[learn], taught, 4, vary=not asked.careless)
    moved = images[elsewhere].roll((1, 1), (2, 3))
    data = ringtest.AuditData(
        images[benchmark], targets[benchmark], bounds=(0, 1), unlabelled={"moved": moved}
    )
    try:
        report = ringtest.audit(teacher, student, data, out=asked.out)
    except ringtest.RingtestError as error:
        parser.error(str(error))  # one line, exit code 2
    print(report, *report.verdict.reasons, sep="\n- ")
    return ringtest.gate(report)


if __name__ == "__main__":
    raise SystemExit(main())
