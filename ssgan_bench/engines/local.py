"""The default engine: warm processes on this machine, each with a pipe of its own.

A worker imports PyTorch once and then runs one task after the other. Killed, it breaks only its own pipe and loses only
its own task; paused, it costs only time. It ends when its coordinator is gone. The one thing that it writes is the
checkpoint of a long run, into a scratch folder that the coordinator names.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process
from typing import Any

from ssgan_bench.config import ConfigError
from ssgan_bench.engines.base import FatalError, MakeRunner, Outcome
from ssgan_bench.trials.checkpoint_place import CheckpointPlace
from ssgan_bench.trials.task import Task

MAX_FALSE_STARTS = 3
"""Workers that may end before they began with a task."""
STOP_SECONDS = 3.0
"""How long workers get to end before they are killed."""


@dataclass(frozen=True)
class _Ready:
    """What a worker says when it has imported everything and begins with its first task."""


@dataclass(frozen=True)
class _Fatal:
    """What a worker says, as its last word, of what concerns every task."""

    text: str


class LocalEngine:
    """Worker processes of this machine; started when there is a task for them."""

    def __init__(
        self,
        make_runner: MakeRunner,
        num_workers: int,
        checkpoints: CheckpointPlace | None = None,
        *,
        fresh_after_failure: bool = False,
    ):
        """Prepare to start workers.

        Args:
            make_runner: makes what computes a task.
            num_workers: processes at once.
            checkpoints: scratch folder for checkpoints of long runs; None: they have none.
            fresh_after_failure: do not use a process again whose run failed: on a GPU its CUDA context may be damaged.
        """
        self._spec = (make_runner, checkpoints)
        self._fresh_after_failure = fresh_after_failure
        self._num_workers = num_workers
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._false_starts = 0
        self._fatal: FatalError | None = None

    @property
    def capacity(self) -> int:
        return self._num_workers

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._hand_out()

    def outcomes(self, timeout: float) -> list[Outcome]:
        deadline = time.monotonic() + timeout
        found: list[Outcome] = []
        while not found and self._fatal is None and (remaining := deadline - time.monotonic()) > 0:
            wait([thing for worker in self._workers for thing in worker.waitables()], timeout=remaining)
            for worker in list(self._workers):
                found += self._news_of(worker)
            self._hand_out()
        if self._fatal is not None and not found:  # what has come is kept first
            raise self._fatal
        return found

    def stop(self) -> None:
        workers, self._workers = self._workers, []
        self._waiting.clear()
        # A second Ctrl-C must not leave one behind.
        previous = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        for number, handler in previous:
            signal.signal(number, handler)

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.task is None and not worker.pipe.closed]
        while self._waiting and (idle or len(self._workers) < self._num_workers):
            if not idle:
                idle.append(_Worker(self._spec))
                self._workers.append(idle[0])
            idle.pop().give(self._waiting.popleft())

    def _news_of(self, worker: "_Worker") -> Iterator[Outcome]:
        is_alive = worker.process.is_alive()  # asked before its words are read, so that no last word is missed
        for word in worker.words():
            if isinstance(word, _Fatal):
                self._fatal = FatalError(word.text)
            elif isinstance(word, _Ready):
                worker.is_ready = True
                self._false_starts = 0
            elif worker.task is not None:
                yield Outcome(worker.task.task_id, word)
                worker.task = None
                if word.traceback and self._fresh_after_failure:
                    worker.pipe.close()  # which ends it
        if is_alive:
            return
        self._workers.remove(worker)
        worker.pipe.close()
        code = worker.process.exitcode
        if worker.task is not None and worker.is_ready and self._fatal is None:
            yield Outcome(worker.task.task_id, lost=f"the worker process ended with code {code}")
        elif worker.task is not None and self._fatal is None:
            self._waiting.appendleft(worker.task)
            self._false_starts += 1
            if self._false_starts >= MAX_FALSE_STARTS:
                self._fatal = FatalError(
                    f"{MAX_FALSE_STARTS} worker processes ended before taking a cell, the last with exit code "
                    f"{code} (negative: killed by that signal; -9 is often too little memory: use fewer --workers)"
                )


class _Worker:
    """One process, seen from the coordinator (a pipe each: a killed one can break only its own)."""

    def __init__(self, spec: tuple[MakeRunner, CheckpointPlace | None]):
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, other_end = context.Pipe()
        self.process = context.Process(target=_work, args=(*spec, other_end), daemon=True)
        # Ctrl-C reaches the whole group, but only the coordinator decides: the worker inherits the blocked signal.
        resource_tracker.ensure_running()  # multiprocessing's own helper, whose start would unblock it
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        other_end.close()
        self.is_ready = False
        self.task: Task | None = None
        """What it runs now, or will when it is ready."""

    def give(self, task: Task) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it died meanwhile, which is seen when its words are read
            self.pipe.send(task)

    def waitables(self) -> list[Any]:
        """What to wait for; a pipe that has ended would be ready for ever."""
        return [self.process.sentinel] if self.pipe.closed else [self.pipe, self.process.sentinel]

    def words(self) -> Iterator[Any]:
        """Yield what has arrived."""
        try:
            while not self.pipe.closed and self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError):
            self.pipe.close()


def _work(make_runner: MakeRunner, checkpoints: CheckpointPlace | None, pipe: Connection) -> None:
    """Entry point of a worker process; SIGINT is blocked in it, since the coordinator decides what Ctrl-C means."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        runner = make_runner(checkpoints)
        pipe.send(_Ready())
        while (task := _received(pipe)) is not None:
            pipe.send(runner(task))
    except (ConfigError, OSError) as error:
        with contextlib.suppress(OSError):
            pipe.send(_Fatal(str(error)))
        sys.exit(1)


def _received(pipe: Connection) -> Task | None:
    """The next task; None where there is nothing more to do."""
    try:
        task: Task = pipe.recv()
    except EOFError:
        return None
    return task


def _exit_with_parent() -> None:
    """No worker outlives a killed coordinator."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
