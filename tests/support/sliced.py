"""A student that is as good as its teacher, but for one region of the rows."""

import numpy as np
import torch

from ringtest import tasks
from ringtest.beside import Beside
from ringtest.condition import Clean
from ringtest.data import AuditData
from ringtest.evidence import Evidence
from ringtest.measure import Setting

CLUSTERS = 6


def world(n, seed, planted="", worse=0.5, cluster=None, **more):
    """Evidence of a student whose errors are independent of the members' and as many, but there.

    Returns:
        Evidence, setting, and (n,) by how much the student's rate of errors is higher.
    """
    g = np.random.default_rng([seed, n])
    y = g.integers(0, 10, n)
    site = np.array(list("abcd"))[g.integers(0, 4, n)]
    age = g.integers(18, 80, n)
    kind = g.integers(0, CLUSTERS, n)
    x = g.normal(size=(n, 5)) + (g.normal(size=(CLUSTERS, 5)) * 4)[kind]
    # Some classes are hard, for everybody alike.
    rate = np.where(y < 3, 0.2, 0.06)
    bad = {
        "": np.zeros(n, bool),
        "one": site == "b",
        "two": (site == "b") & (age < 50),
        "cluster": kind == 2,
    }[planted]
    teacher = 1 - np.mean(g.random((3, n)) < rate, 0)
    student = 1.0 - ((g.random(n) < rate) | (bad & (g.random(n) < worse)))
    columns = {"groups": {"site": site, "age": age}} | more
    data = AuditData(torch.as_tensor(x, dtype=torch.float32), y, cluster=cluster, **columns)
    return (*told(student, teacher, data, seed), bad * worse * (1 - rate))


def told(student, teacher, data, seed=0, task="classification"):
    """Evidence and setting of given scores."""
    at = Setting(data, tasks.make(task, data), Clean(), np.arange(data.n), data.cluster, seed)
    beside = Beside(np.zeros(data.n), teacher, typical=teacher)
    return Evidence("s", (), torch.zeros(0), {}, student, None, beside=beside), at
