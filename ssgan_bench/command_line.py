"""What the command lines share: a mistake is one line with exit code 2, and an interrupt no traceback."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ssgan_bench.config import ConfigError


class CommandError(Exception):
    """A command could not do all that it should, through no mistake of the user; its text is one line, exit code 1."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def exit_code(command: Callable[[], int], *, when_stopped: str = "", os_error: int = 1) -> int:
    """Run a command and turn what it raises into lines and an exit code.

    Args:
        command: returns its own exit code.
        when_stopped: what to say, after "; ", of an interrupt or an error of the machine.
        os_error: exit code for an error of the machine, such as a full disk or a file that cannot be read.

    Returns:
        The command's own; 2 for wrong input; 130 for an interrupt.
    """
    remark = f"; {when_stopped}" if when_stopped else ""
    try:
        with sigterm_as_interrupt():
            return command()
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted{str(interrupt) or remark}")
        return 130
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        return 1
    except OSError as error:
        print(f"error: {error}{remark}", file=sys.stderr)
        return os_error
