"""A program of fake work in a folder, run as processes that a test may signal, pause and kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TIMEOUT = 900
"""Seconds that nothing here takes, however busy the machine is: it ends a test that hangs."""


class FakeProgram:
    """Starts `program FOLDER argument ...`, each time in a process group of its own."""

    def __init__(self, program: str, folder: Path):
        self.folder = folder
        self._program = program
        self._started: list[subprocess.Popen[str]] = []

    def start_with(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, self._program, str(self.folder), *map(str, arguments)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A shell starts background jobs, of which this suite may be one, with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._started.append(process)
        return process

    def kill_everything(self) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output, once it has ended."""
    output, _ = process.communicate(timeout=TIMEOUT)
    return process.returncode, output
