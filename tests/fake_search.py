"""A search whose runs only sleep, or crash as told: real processes, database and records, no training.

Run as a program: `fake_search.py FOLDER BEHAVIOR NUM_WORKERS`. As fake_study.py, it replaces the runner in the workers.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from ssgan_bench.config import RunConfig
from ssgan_bench.records.schema import Provenance
from ssgan_bench.records.search_schema import Dimension, SearchArm, SearchPlan

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
    rate, width = config.optimizer.learning_rate, config.network.width
    bowl = abs(rate - 0.01) * 5 + abs(width - 32) / 100 + config.train.labeled_batch_size / 1000
    return min(0.9, 0.1 + bowl + (config.model_seed % 7) / 100)


class CellRunner:
    """Stands in for the runner of ssgan_bench/trials/run.py; every run is a line of executions.log."""

    def __init__(self, plan: SearchPlan, store: Any, data_root: Path, device: str, commit: str | None):
        self._folder = Path(store.folder)

    def provenance(self, config: RunConfig) -> Provenance:
        return PROVENANCE

    def validation_error(self, config: RunConfig) -> tuple[float, int | None]:
        behavior = (self._folder / "behavior").read_text()
        log = self._folder / "executions.log"
        runs = len(log.read_text().splitlines()) if log.exists() else 0
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if behavior == "killed-once" and runs == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SECONDS)
        return error_of(config), None


fake_run = ModuleType("ssgan_bench.trials.run")
fake_run.CellRunner = CellRunner  # type: ignore[attr-defined]


def main() -> int:
    from ssgan_bench.command_line import sigterm_as_interrupt
    from ssgan_bench.trials.coordinator import run_plan
    from ssgan_bench.trials.queue import sqlite_url
    from ssgan_bench.trials.worker import WorkerSpec

    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    (folder / "behavior").write_text(sys.argv[2])
    spec = WorkerSpec(sqlite_url(folder / "optuna.db"), make_plan(), folder, folder, "cpu", commit=None)
    try:
        with sigterm_as_interrupt():
            progress = run_plan(spec, int(sys.argv[3]), lambda progress: None)
    except KeyboardInterrupt:
        return 130
    print(len(progress.finished), "finished;", *sorted(progress.failed))
    return int(bool(progress.failed))


if __name__ in ("__main__", "__mp_main__"):
    sys.modules["ssgan_bench.trials.run"] = fake_run
if __name__ == "__main__":
    sys.exit(main())
