"""A search whose runs only sleep, or crash as told: real processes, database and records, no training.

Run as a program: `fake_search.py FOLDER BEHAVIOR NUM_WORKERS`.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssgan_bench.config import RunConfig
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import Dimension, SearchArm, SearchPlan, SeedScore
from ssgan_bench.trials.checkpoint_place import CheckpointPlace
from ssgan_bench.trials.task import Runner, ScoreResult, Task

SECONDS = float(os.environ.get("FAKE_SECONDS", "0.02"))
SPACE = {
    "optimizer.learning_rate": Dimension(low=1e-4, high=1e-1, log=True),
    "network.width": Dimension(low=4, high=64),
    "train.labeled_batch_size": Dimension(choices=[8, 16, 32]),
}
DEFAULT: dict[str, Any] = {"optimizer.learning_rate": 1e-3, "network.width": 8, "train.labeled_batch_size": 16}
PROVENANCE = Provenance(
    device="cpu",
    device_name="Example",
    num_threads=1,
    python="3",
    torch="2",
    torchvision="0",
    optuna="5",
    ssgan_bench="0",
    platform="Linux",
    commit=None,
    dataset_sha256="0",
)


def make_plan(num_trials: int = 6, num_seeds: int = 3, arms: tuple[str, ...] = ("a", "b")) -> SearchPlan:
    def config(index: int) -> dict[str, Any]:
        return {
            "data": {"dataset": "digits", "image_size": 16, "num_labels": 20 + index, "num_validation": 20},
            "method": {"name": "supervised"},
            "optimizer": {"learning_rate": 1e-3},
            "network": {"width": 8},
            "train": {"epochs": 1, "labeled_batch_size": 16},
        }

    return SearchPlan(
        protocol_version="test",
        study="fake",
        preset="quick",
        baseline=arms[0],
        num_trials=num_trials,
        tuning_seeds=tuple(range(500, 500 + num_seeds)),
        sampler_seed=0,
        num_labels=20,
        num_validation=20,
        arms=tuple(
            SearchArm(name=name, label=name.upper(), config=config(index), space=SPACE, default=DEFAULT)
            for index, name in enumerate(arms)
        ),
    )


def error_of(config: RunConfig) -> float:
    """A bowl with some noise of the seed."""
    size = config.train.labeled_batch_size
    return _error(config.optimizer.learning_rate, config.network.width, size, config.model_seed)


def _error(rate: float, width: int, labeled_batch_size: int, seed: int) -> float:
    bowl = abs(rate - 0.01) * 5 + abs(width - 32) / 100 + labeled_batch_size / 1000
    return min(0.9, 0.1 + bowl + (seed % 7) / 100)


@dataclass(frozen=True)
class FakeSpec:
    """Makes, in a worker, a runner whose every run is a line of executions.log."""

    folder: Path

    def __call__(self, checkpoints: CheckpointPlace | None) -> Runner:
        return self.run

    def run(self, task: Task) -> ScoreResult:
        behavior = (self.folder / "behavior").read_text()
        log = self.folder / "executions.log"
        runs = len(log.read_text().splitlines()) if log.exists() else 0
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if behavior == "killed-once" and runs == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SECONDS)
        assert isinstance(task.work, dict)
        content, seed = task.work, task.work["model_seed"]
        size = content["train"]["labeled_batch_size"]
        error = _error(content["optimizer"]["learning_rate"], content["network"]["width"], size, seed)
        return ScoreResult(SeedScore(seed=seed, error_rate=error), PROVENANCE, SECONDS)


def main() -> int:
    from ssgan_bench.command_line import exit_code
    from ssgan_bench.coordinator import coordinate
    from ssgan_bench.engines.local import LocalEngine
    from ssgan_bench.ledger import Mirror
    from ssgan_bench.records.store import SearchStore
    from ssgan_bench.search import SearchWork, study_names
    from ssgan_bench.storage import sqlite_url

    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    (folder / "behavior").write_text(sys.argv[2])
    plan = make_plan()

    def command() -> int:
        mirror = Mirror(sqlite_url(folder / "optuna.db"), study_names(plan, folder))
        try:
            work = SearchWork(plan, SearchStore(folder), mirror)
            progress = coordinate(work, LocalEngine(FakeSpec(folder), int(sys.argv[3])), lambda progress: None)
        finally:
            print(mirror.close(), end="")
        print(len(progress.finished), "finished;", *sorted(progress.failed))
        return int(bool(progress.failed))

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
