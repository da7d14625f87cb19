"""`python -m ssgan_bench.study` as a process, or in this one, for the tests of the command line."""

import os
import re
import subprocess
import sys

import pytest

from ssgan_bench import study

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TIMEOUT = 900
"""Seconds that nothing here takes, however busy the machine is: it ends a test that hangs."""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command_line(*arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=TIMEOUT)


def command_line(tiny: object, out: object, *more: object) -> list[str]:
    start = [sys.executable, "-m", "ssgan_bench.study", str(tiny), "--out", str(out), "--no-report", "--workers", "1"]
    return start + [str(argument) for argument in more]


def main(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command line, run in this process."""
    capsys.readouterr()
    try:
        code = study.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def with_another_digit(content: bytes) -> bytes:
    """Change the first decimal of a record's test error."""
    changed = re.sub(
        rb'(?<="metrics": {"error_rate": 0\.)\d', lambda found: b"1" if found[0] == b"2" else b"2", content
    )
    assert changed != content
    return changed
