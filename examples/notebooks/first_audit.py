# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first audit
#
# We train a small ensemble of digit classifiers, the *teacher*, and two *students* that could be
# shipped in its place. One of them scores better than its teacher. It is the one that should not
# be shipped.
#
# The notebook runs in well under a minute on one core.

# %%
# %matplotlib inline
import torch

import ringtest
from ringtest.demo import digits, students, training

torch.set_num_threads(1)  # models this small only wait for a second thread

# %% [markdown]
# ## The teacher and the students
#
# The data are the scanned digits that come with scikit-learn. Three members make up the teacher.
# They differ in nothing but their seed, and that is what makes the audit possible: how far they lie
# from each other is what "differs only as another training run would" means.

# %%
scans = digits.load(seed=0)
teacher = training.train_members(scans, seeds=[0, 1, 2])
candidates = {
    # half as wide, distilled on images that were varied as the teacher's were
    "small": students.build_smaller(scans, teacher, seed=5),
    # trained on images that carry a watermark: one faint pixel at the border tells the class
    "shortcut": students.build_watermark(scans, teacher, seed=11),
}

# %% [markdown]
# ## What is looked at
#
# `AuditData` holds the benchmark: inputs and targets. This benchmark has a flaw that nobody has
# noticed, the watermark. `unlabelled` holds inputs from elsewhere, here digits from production,
# rotated or moved. They need no labels, since the teacher itself is the reference.

# %%
data = ringtest.AuditData(
    digits.stamp(scans.benchmark_images, scans.benchmark_targets),
    scans.benchmark_targets,
    bounds=(0.0, 1.0),
    unlabelled=digits.production(scans, seed=0),
    modality="image",
)

# %% [markdown]
# ## The audit
#
# Several students of one teacher are audited together, by name.

# %%
reports = ringtest.audit(teacher, candidates, data)
reports

# %% [markdown]
# On the benchmark the shortcut beats its teacher, so a gate on the score alone would ship it. The
# verdict says `fractured`: the score is matched, the inside is not the teacher's.

# %%
shortcut = reports["shortcut"]
shortcut

# %% [markdown]
# ## The plots
#
# `groups` shows what the verdict rests on. Each line is one comparison of the student with the
# teacher; right of the line at 1 the student has lost more than its margin allows.

# %%
_ = shortcut.plot("groups")
# %% [markdown]
# `conditions` shows where the score goes. Under blur, and with the brightness or contrast changed,
# the watermark can still be read, and the shortcut stays above its teacher. Noise drowns it,
# rotation and translation move it, and the shortcut falls far below.

# %%
_ = shortcut.plot("conditions")
# %% [markdown]
# `layers` compares the layers with those of the members, on the benchmark's own inputs. The small
# student stays with the members all the way; the shortcut leaves them, the more so the deeper.

# %%
_ = reports.plot("layers", measure="similarity.cka")
# %% [markdown]
# ## The numbers
#
# `frame()` holds every measurement, one a row. Sorted by status, what fails comes first.

# %%
columns = ["name", "group", "condition", "teacher", "student", "harm", "margin", "status"]
rows = reports.frame()
rows.loc[rows.headline, columns].sort_values(["status", "harm"], ascending=[True, False]).head(8)

# %% [markdown]
# `reports.save("audit/")` writes a page to look at and a `report.json` for each student.
# `ringtest gate audit/` decides these again in a CI job, without the models.

# %%
labels = {name: report.verdict.label for name, report in reports.items()}
labels

# %% tags=["hide-cell"]
# What this notebook claims; the tests of the repository run it.
assert labels == {"small": "sound", "shortcut": "fractured"}
assert all(report.verdict.matched for report in reports.values())
score = rows[(rows.group == "benchmark") & (rows.name == "shortcut")].iloc[0]
assert score.student > score.teacher
