"""Time of one operation of the queue of cells, with the cells of labeled_rate's quick preset, in SQLite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from measurement import save
from pytest_benchmark.fixture import BenchmarkFixture

from ssgan_bench.trials.plan import make_plan
from ssgan_bench.trials.queue import Queue, sqlite_url
from ssgan_bench.trials.study_file import read_study

STUDY = Path(__file__).parents[2] / "studies" / "labeled_rate.toml"
COUNT, CALLS = 20, 5


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    plan = make_plan(read_study(STUDY), str(STUDY), "quick", {})
    queue = Queue(sqlite_url(tmp_path / "optuna.db"), plan, tmp_path, create=True)
    yield queue
    queue.close()


def test_taking_and_closing_a_cell(benchmark: BenchmarkFixture, queue: Queue) -> None:
    queue.update(lambda cell_id: None, lambda cell_id: True)

    def take_and_close() -> None:
        for _ in range(COUNT):
            claim = queue.claim("benchmark")
            assert claim is not None
            queue.finish(claim, None)

    benchmark.pedantic(take_and_close, rounds=CALLS, iterations=1, warmup_rounds=1)
    save(benchmark, "queue operation", COUNT, device="cpu", part="a cell taken and closed")


def test_the_regular_look_at_all_cells(benchmark: BenchmarkFixture, queue: Queue) -> None:
    def look() -> int:
        return queue.update(lambda cell_id: None, lambda cell_id: True).waiting

    num_waiting = benchmark.pedantic(look, rounds=CALLS, iterations=1, warmup_rounds=1)
    assert num_waiting > 0
    save(benchmark, "queue operation", 1, device="cpu", part=f"regular look at {num_waiting} waiting cells")
