"""Run the tests on all cores, where pytest-xdist is there; benchmarks, and tests named one by one, in one process."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""One thread per process: two tests at once leave none over. Set before the first import of torch."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the number of processes, unless the command line does: comes before the same hook of pytest-xdist."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker, or a pytest that a test has started: never workers of workers
        return
    option = config.option
    is_choosable = getattr(option, "numprocesses", 0) is None and option.dist == "no"
    named_tests = config.args_source == pytest.Config.ArgsSource.ARGS
    if is_choosable and not (named_tests or option.benchmark_only):
        option.numprocesses, option.maxprocesses, option.dist = "auto", 8, "worksteal"
