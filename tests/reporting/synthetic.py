"""Builders of synthetic studies: plans and records as the runner writes them, without any training."""

import csv
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssgan_bench.config import Kind, digest
from ssgan_bench.records.schema import (
    ArmInfo,
    Cell,
    CurvePoint,
    FactorInfo,
    Provenance,
    RunRecord,
    SplitInfo,
    StudyPlan,
    Timing,
    TrainingSigns,
)
from ssgan_bench.reporting.sections import build

ARMS = (
    ("supervised_only", "Labels only"),
    ("ssgan_no_matching", "SSGAN without feature matching"),
    ("ssgan_matching", "SSGAN with feature matching (article)"),
    ("improved_gan", "K-logit GAN with feature matching"),
)
TWO = ARMS[:1] + ARMS[3:]
BUDGETS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 200))
METHODS = {
    "supervised_only": "supervised",
    "supervised_redrawn": "supervised",
    "label_spreading": "label_spreading",
    "logistic_regression": "logistic_regression",
}
"""Of arms that are no GAN."""
KINDS: dict[str, Kind] = {"supervised": "supervised", "ssgan": "semi_supervised"}
"""Of methods that are not classical."""
Level = int | float | str | bool
LABELS = FactorInfo(key="data.num_labels", label="Labeled images", levels=(10, 20, 50, 200))


def make_plan(
    *,
    arms: Sequence[tuple[str, str]] = ARMS,
    factors: Sequence[FactorInfo] = (LABELS,),
    seeds: Sequence[int] = tuple(range(8)),
    family: Sequence[Level] | None = None,
    model_seeds: Sequence[int] | None = None,
    **fields_changed: Any,
) -> StudyPlan:
    """Plan the full product of arms, levels and seeds; without a family, all levels of the first factor are it.

    With `model_seeds`, `seeds` are split seeds and each is crossed with all model seeds.
    """
    pairs = [(s, s) for s in seeds] if model_seeds is None else list(product(seeds, model_seeds))
    cells = []
    for (arm, _), levels, (split, model) in product(arms, product(*(f.levels for f in factors)), pairs):
        by_key = dict(zip((f.key for f in factors), levels, strict=True))
        config: dict[str, Any] = {
            "data": {"dataset": "digits", "image_size": 16, "num_labels": 20},
            "method": {"name": METHODS.get(arm, "ssgan"), "arm": arm},
            "network": {"width": 32, "family": "conv"},
            "optimizer": {"learning_rate": 0.0002},
            "split_seed": split,
            "model_seed": model,
        }
        for key, level in by_key.items():
            part, option = key.split(".")
            config[part] = {**config[part], option: level}
        identity = digest([config, arm, "1.0"])[:16]
        cells.append(Cell(arm=arm, levels=by_key, split_seed=split, model_seed=model, config=config, cell_id=identity))
    fields: dict[str, Any] = {
        "protocol_version": "1.0",
        "study": "label_budget",
        "preset": "quick",
        "question": "With how few labels does a semi-supervised GAN beat the labels alone?",
        "expectation": "The K-logit GAN helps below 50 labels; the article's loss does not.",
        "metric": "error_rate",
        "baseline": arms[0][0],
    } | fields_changed
    methods = {name: METHODS.get(name, "ssgan") for name, _ in arms}
    infos = tuple(
        ArmInfo(
            name=name,
            label=label,
            kind=KINDS.get(methods[name], "classical"),
            has_generator=methods[name] == "ssgan",
        )
        for name, label in arms
    )
    declared = tuple(family) if family is not None else factors[0].levels if factors else ()
    return StudyPlan(
        **fields,
        arms=infos,
        factors=tuple(factors),
        family=declared,
        seeds=tuple(seeds),
        cells=tuple(cells),
    )


def synthetic_error(cell: Cell, arm_index: int) -> float:
    """Error with a shared part per seed and level, so that pairing matters, and an effect per arm."""
    labels = float(cell.levels.get("data.num_labels", 20))
    rng = np.random.default_rng([cell.split_seed, int(labels)])
    base = 0.08 + 0.5 * math.exp(-labels / 45) + rng.normal(0, 0.03)
    effect = (0.0, 0.01, -0.005, -0.22 * math.exp(-labels / 40), 0.02)[arm_index % 5]
    noise = np.random.default_rng([cell.model_seed, int(labels), arm_index]).normal(0, 0.012)
    return float(np.clip(base + effect + noise, 0.005, 0.95))


def png(seed: int, side: int = 90) -> bytes:
    """A 5x5 grid of blobs that looks like a sample grid."""
    rng = np.random.default_rng(seed)
    image = (255 * rng.random((side // 3, side // 3))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(image).resize((side, side)).save(out, format="PNG")
    return out.getvalue()


def make_record(
    plan: StudyPlan,
    cell: Cell,
    *,
    error_rate: float | None = None,
    points: int = 8,
    num_classes: int = 10,
    **changes: Any,
) -> RunRecord:
    """A complete record of a cell; `changes` override its fields."""
    names = [arm.name for arm in plan.arms]
    index = names.index(cell.arm)
    final = synthetic_error(cell, index) if error_rate is None else error_rate
    rng = np.random.default_rng([cell.model_seed, index, 7])
    curves = tuple(
        CurvePoint(
            step=30 * k,
            epoch=0.7 * k,
            labels_used=int(cell.levels.get("data.num_labels", 20)),
            losses={"supervised_loss": 2.3 * math.exp(-0.4 * k) + 0.02 * rng.random()}
            | (
                {}
                if index == 0
                else {
                    "real_fake_loss": 1.2 - 0.03 * k + 0.05 * rng.random(),
                    "adversarial_loss": 0.9 + 0.08 * k + 0.1 * rng.random(),
                    "feature_matching_loss": 0.3 * math.exp(-0.2 * k) + 0.01 * rng.random(),
                }
            ),
            validation={
                "error_rate": min(0.95, final + (0.9 - final) * math.exp(-0.6 * k) + 0.02 * rng.random()),
                "nll": 2.0,
                "ece": 0.1,
            },
        )
        for k in range(1, points + 1)
    )
    labels = int(cell.levels.get("data.num_labels", 20))
    step_ms = (8.0, 21.0, 23.0, 24.0, 20.0)[index % 5] + rng.random()

    def sha(*what: object) -> str:
        return hashlib.sha256(repr(what).encode()).hexdigest()

    fields: dict[str, Any] = {
        "protocol_version": plan.protocol_version,
        "study": plan.study,
        "preset": plan.preset,
        "cell": cell,
        "config_digest": digest(cell.config),
        "status": "complete",
        "metrics": {"error_rate": final, "nll": 3 * final, "ece": final / 3},
        "curves": curves,
        "splits": SplitInfo(
            num_classes=num_classes,
            num_labels=labels,
            labeled_rate=labels / 1200,
            num_unlabeled=1200,
            num_validation=200,
            num_test=397,
            labeled_digest=sha("labeled", labels, cell.split_seed),
            unlabeled_digest=sha("unlabeled", cell.split_seed),
            validation_digest=sha("validation", cell.split_seed),
            test_digest=sha("test", cell.split_seed),
        ),
        "training": TrainingSigns(training_error_rate=0.05, still_falling=False, at_chance=False, collapsed=False),
        "timing": Timing(
            setup_seconds=0.4,
            warmup_seconds=0.2,
            train_seconds=step_ms * 0.24,
            evaluation_seconds=0.6,
            step_time_ms=step_ms,
            images_per_second=64e3 / step_ms,
            cpu_seconds=step_ms * 0.2,
            peak_memory_mib=310.0,
        ),
        "provenance": Provenance(
            device="cpu",
            device_name="Example Processor 9000",
            num_threads=1,
            python="3.11.9",
            torch="2.11.0",
            torchvision="0.26.0",
            optuna="5.0.0",
            ssgan_bench="0.1.0",
            platform="Linux-x86_64",
            commit="0123456789abcdef0123456789abcdef01234567",
            dataset_sha256=sha("digits"),
        ),
        "started_at": f"2026-01-02T03:{cell.split_seed:02d}:00Z",
    }
    return RunRecord(**(fields | changes))


def lost(**changes: Any) -> dict[str, Any]:
    """Fields of a run without a result."""
    return {"metrics": {}, "curves": (), "timing": None, "training": None} | changes


def with_losses(plan: StudyPlan) -> Callable[[Cell], dict[str, Any] | None]:
    """Let one run of the article arm diverge, one of the K-logit arm fail and one be missing."""

    def change(cell: Cell) -> dict[str, Any] | None:
        where = (cell.arm, cell.levels.get("data.num_labels"), cell.model_seed)
        if where == ("ssgan_matching", 10, 3):
            return lost(status="diverged", diverged_step=131)
        if where == ("improved_gan", 20, 5):
            return lost(status="failed", error="RuntimeError: out of memory")
        return None if where == ("ssgan_no_matching", 50, 7) else {}

    return change


def wobble(cell, size=0.001):
    """Noise that differs between arms, with both signs."""
    seeds = [cell.split_seed, cell.model_seed, len(cell.arm), int(cell.levels["data.num_labels"])]
    return float(np.random.default_rng(seeds).normal(0, size))


def box(analysis):
    document, _ = build(analysis)
    (section,) = [section for section in document.sections if section.anchor == "certainty"]
    return section.blocks[0].items


def rows_of(parts, path):
    return list(csv.DictReader(io.StringIO(parts.csv[path])))


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
