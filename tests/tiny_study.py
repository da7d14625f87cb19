"""A study of the tests' own, so that they do not depend on which arms and settings the shipped studies have."""

import tomllib
from typing import Any

from ssgan_bench.records.schema import StudyPlan
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import StudyFile

TEXT = """
name = "tiny"
question = "Does a run do what it says?"
expectation = "Yes."
baseline = "supervised"
yardsticks = ["label_spreading", "logistic_regression"]

arms.supervised = { label = "Supervised", set.method.name = "supervised" }
arms.article = { label = "Article's SSGAN", set.method.preset = "article" }
arms.improved_gan = { label = "Improved GAN", set.method.preset = "improved_gan" }
arms.label_spreading = { label = "Label spreading", set.method.name = "label_spreading" }
arms.logistic_regression = { label = "Logistic regression", set.method.name = "logistic_regression" }

[arms.consistency]
label = "Improved GAN, consistency, EMA"
set.method = { preset = "improved_gan", consistency_weight = 1.0 }
set.train = { weight_average = 0.9, augmentation = 1.0 }

[[factors]]
key = "data.num_labels"
label = "Labeled images"
levels = [20]

[presets.quick]
description = "scikit-learn's digits, a few steps of the narrowest networks"
seeds = 1
set.data = { dataset = "digits", image_size = 16, num_validation = 200 }
set.network = { width = 4, norm_momentum = 0.1 }
set.optimizer.learning_rate = 3e-3
set.train = { steps = 12, batch_size = 64, labeled_batch_size = 16, evaluations = 3 }
"""
STUDY = StudyFile.model_validate(tomllib.loads(TEXT))


def tiny_plan(study: StudyFile = STUDY, *, seeds: int = 1, **changes: Any) -> StudyPlan:
    """Plan the tiny study with other settings, e.g. data__num_labels=60 for data.num_labels."""
    settings = {key.replace("__", "."): value for key, value in changes.items()}
    return make_plan(study, "tiny.toml", "quick", settings, seeds=seeds)
