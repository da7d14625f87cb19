"""The estimate is made without the data set and adds up."""

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import tiny_plan

from ssgan_bench.config import DataConfig, RunConfig, TrainConfig
from ssgan_bench.data.datasets import describe, load
from ssgan_bench.data.on_device import DeviceData
from ssgan_bench.methods.classical import Spent
from ssgan_bench.methods.supervised import SupervisedConfig
from ssgan_bench.trials import estimate as estimate_module
from ssgan_bench.trials.estimate import CELL_SECONDS, RECORD_KIB, START_SECONDS, _num_unlabeled, estimate, free_disk_mib
from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.study_file import read_study

STUDY = Path(__file__).parents[2] / "studies" / "labeled_rate.toml"


@pytest.fixture(autouse=True)
def _quick_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("no network for an estimate")

    monkeypatch.setattr(estimate_module, "TIMED_SECONDS", 0.05)
    monkeypatch.setattr(estimate_module, "TIMED_IMAGES", 100)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def _deterministic_mode_ends_here() -> Any:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("dataset", "size", "steps"),
    [("digits", 16, 1100 // 64), ("mnist", 16, 59_800 // 64), ("cifar10", 32, 49_800 // 64)],
)
def test_steps_memory_and_disk_follow_from_the_configuration(dataset: str, size: int, steps: int) -> None:
    plan = tiny_plan(seeds=2, data__num_labels=[20, 50], train__epochs=1, data__dataset=dataset, data__image_size=size)
    cost = estimate(plan, torch.device("cpu"), num_workers=2)
    trained = [arm.name for arm in plan.arms if arm.kind != "classical"]
    assert [name for name, arm in cost.arms.items() if arm.step_ms is not None] == trained
    with_steps = [arm for arm in cost.arms.values() if arm.step_ms is not None]
    assert len(with_steps) == 4
    assert {arm.steps for arm in with_steps} == {steps}
    # Two seeds of two label budgets: one cost for a network whatever the budget, and one each for a fit.
    seconds = sum(arm.run_seconds * (2 if arm.step_ms is None else 4) for arm in cost.arms.values())
    seconds += CELL_SECONDS * len(plan.cells)
    assert cost.total_seconds == pytest.approx(START_SECONDS + seconds / 2)
    assert all(arm.run_seconds > arm.steps * arm.step_ms / 1e3 for arm in with_steps)
    assert {name for name, arm in cost.arms.items() if arm.has_samples} == {"article", "improved_gan", "consistency"}
    assert cost.memory_mib > 50
    assert cost.disk_mib > len(plan.cells) * RECORD_KIB / 1024


def test_a_fit_is_reckoned_from_the_work_that_a_small_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that stands still but for one second per fit: 100 + 20 of digits' 1,100 images are fitted."""
    from ssgan_bench.methods.label_spreading import LabelSpreading

    seconds = [0.0]
    original = LabelSpreading.fit_rows

    def fit_rows(self: LabelSpreading, *sets: Any) -> Any:
        assert [len(rows) for rows in sets] == [20, 20, 100]
        seconds[0] += 1.0
        fitted = original(self, *sets)
        self.taken_over = Spent(3.0)
        return fitted

    monkeypatch.setattr(LabelSpreading, "fit_rows", fit_rows)
    monkeypatch.setattr(estimate_module, "_now", lambda device: seconds[0])
    plan = make_plan(read_study(STUDY), "x", "quick", {"data.num_labels": [20]}, seeds=1)
    cells = tuple(cell for cell in plan.cells if cell.arm == "label_spreading")
    cost = estimate(plan.model_copy(update={"cells": cells}), torch.device("cpu"), num_workers=1)
    arm = cost.arms["label_spreading, data.num_labels = 20"]
    assert (arm.step_ms, arm.steps) == (None, 0)
    sorting = 2500  # images more to compare an image with would take as long as choosing among its candidates
    solved, searched = 1100 / 120, 1100 * (1100 + sorting) / (120 * (120 + sorting))
    assert arm.run_seconds == pytest.approx(1.0 * solved + 3.0 * searched)
    assert arm.fit_mib == pytest.approx(1100 * 256 * 8 * 2 / 2**20)


def test_a_graph_that_an_earlier_arm_was_timed_with_is_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssgan_bench.methods.neighbor_graph import NeighborGraph

    made: list[NeighborGraph] = []
    original = NeighborGraph.__init__

    def spied(self: NeighborGraph, *given: Any) -> None:
        made.append(self)
        original(self, *given)

    monkeypatch.setattr(NeighborGraph, "__init__", spied)
    plan = make_plan(read_study(STUDY), "x", "quick", {"data.num_labels": [20, 50]}, seeds=1)
    cells = tuple(cell for cell in plan.cells if cell.arm == "label_spreading")
    estimate(plan.model_copy(update={"cells": cells}), torch.device("cpu"), num_workers=1)
    assert len(made) == 2


def test_a_fit_by_iterations_is_reckoned_with_those_that_real_images_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves a second per iteration on noise; real images need about 4.5 times the root of 1,100."""
    from ssgan_bench.methods.logistic_regression import LogisticRegression

    seconds, iterations = [0.0], []
    original = LogisticRegression.fit_rows

    def fit_rows(self: LogisticRegression, *sets: Any) -> Any:
        fitted = original(self, *sets)
        iterations.append(self.iterations)
        seconds[0] += self.iterations
        return fitted

    monkeypatch.setattr(LogisticRegression, "fit_rows", fit_rows)
    monkeypatch.setattr(estimate_module, "_now", lambda device: seconds[0])
    plan = make_plan(read_study(STUDY), "x", "quick", {"data.num_labels": [1100]}, seeds=1)
    cells = tuple(cell for cell in plan.cells if cell.arm == "logistic_regression")
    cost = estimate(plan.model_copy(update={"cells": cells}), torch.device("cpu"), num_workers=1)
    assert min(iterations) > 1
    # 100 of the 1,100 labels were timed: an iteration over all of them takes eleven times as long.
    assert cost.arms["logistic_regression, data.num_labels = 1100"].run_seconds == pytest.approx(
        11 * 4.5 * 1100**0.5, rel=1e-6
    )


def test_other_workers_take_their_cores_while_one_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[list[bool]] = []
    started: list[subprocess.Popen[bytes]] = []
    start, time_arm = subprocess.Popen, estimate_module._time_arm

    def popen(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))
        return started[-1]

    def timed(*arguments: Any) -> Any:
        running.append([process.poll() is None for process in started])
        return time_arm(*arguments)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(estimate_module, "_time_arm", timed)
    plan = make_plan(read_study(STUDY), "x", "quick", {"network.width": 4, "data.num_labels": [20]}, seeds=1)
    one = plan.model_copy(update={"cells": plan.cells[:1]})
    estimate(one, torch.device("cpu"), num_workers=3)
    assert running == [[True, True]]
    assert all(process.poll() is not None for process in started)  # none is left
    estimate(one, torch.device("cpu"), num_workers=1)
    assert len(started) == 2


def test_few_labels_make_no_prediction_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time per image is measured on many images, however few are fitted to."""
    from ssgan_bench.methods.logistic_regression import LogisticRegression

    classified: list[int] = []
    original = LogisticRegression.fit_rows

    def fit_rows(self: LogisticRegression, *sets: Any) -> Any:
        predict = original(self, *sets)

        def counted(rows: Any) -> Any:
            classified.append(len(rows))
            return predict(rows)

        return counted

    monkeypatch.setattr(LogisticRegression, "fit_rows", fit_rows)
    plan = make_plan(read_study(STUDY), "x", "quick", {"data.num_labels": [10]}, seeds=1)
    cells = tuple(cell for cell in plan.cells if cell.arm == "logistic_regression")
    estimate(plan.model_copy(update={"cells": cells}), torch.device("cpu"), num_workers=1)
    assert sum(classified) == estimate_module.TIMED_IMAGES == 100


@pytest.mark.parametrize(
    "data",
    [
        {"num_labels": 50},
        {"labeled_rate": 0.2, "unlabeled_includes_labeled": False},
        {"num_labels": 50, "num_unlabeled": 7},
        {"num_labels": 60, "classes": (2, 3, 4, 5, 6, 7)},
        {
            "num_labels": 60,
            "classes": (2, 3, 4, 5, 6, 7),
            "foreign_share": 0.5,
            "unlabeled_includes_labeled": False,
        },
        {"labeled_rate": 0.1, "label_protocol": "resampled"},
    ],
    ids=["all", "others", "few", "classes", "foreign", "resampled"],
)
def test_the_number_of_unlabeled_images_is_estimated_to_a_few_percent(data: dict[str, Any], tmp_path: Path) -> None:
    config = DataConfig(**data)
    images = DeviceData.from_images(load("digits", tmp_path), torch.device("cpu")).told_apart(config)
    run_config = RunConfig(data=config, method=SupervisedConfig(), train=TrainConfig(steps=1))
    true = len(images.splits(run_config).unlabeled)
    assert _num_unlabeled(config, describe("digits")) == pytest.approx(true, rel=0.05)


def test_a_given_number_of_steps_costs_the_same_with_however_many_unlabeled_images() -> None:
    study = read_study(STUDY.with_name("unlabeled_amount.toml"))
    plan = make_plan(study, "x", "quick", {"network.width": 4, "train.steps": 7}, seeds=1)
    assert len(plan.factors[0].levels) > 1
    cost = estimate(plan, torch.device("cpu"), num_workers=1)
    assert {name: arm.steps for name, arm in cost.arms.items() if arm.step_ms is not None} == {
        arm.name: 7 for arm in plan.arms if arm.kind != "classical"
    }
    fits = [name for name, arm in cost.arms.items() if arm.step_ms is None]
    assert len(fits) == 3 * len(plan.factors[0].levels)  # a fit sees every image, and so costs more with more of them
    by_epochs = make_plan(study, "x", "quick", {"network.width": 4, "train.epochs": 1}, seeds=1)
    steps = {name: arm.steps for name, arm in estimate(by_epochs, torch.device("cpu"), num_workers=1).arms.items()}
    found = [steps[f"improved_gan, data.num_unlabeled = {level}"] for level in plan.factors[0].levels]
    assert found == [max(1, (20 + int(level)) // 32) for level in plan.factors[0].levels]


def test_free_space_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_disk_mib(tmp_path / "a" / "b" / "c") == pytest.approx(free_disk_mib(tmp_path), rel=0.2)
    assert free_disk_mib(Path("not/yet")) > 0
