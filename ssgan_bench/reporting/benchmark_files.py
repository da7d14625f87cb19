"""Read what `pytest --benchmark-only --benchmark-json=FILE` saved; its fields are told in tests/benchmarks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssgan_bench.config import ConfigError

MAKE_ONE = "make one with `pytest --benchmark-only --benchmark-json=benchmark.json`"
Size = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class _Read(BaseModel):
    """Part of a file of another program: fields that are not listed are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Measured(_Read):
    """The `extra_info` of one benchmark; a step is one unit of what it repeats. None: not measured."""

    unit: str
    """What one step is, e.g. "training step"."""
    part: str | None = None
    """Which part of it, e.g. "discriminator, forward"."""
    network: str | None = None
    method: str | None = None
    width: Size | None = None
    image_size: Size | None = None
    batch_size: Size | None = None
    units_per_call: Size
    step_time_ms: Positive
    device_time_ms: Positive | None = None
    """By CUDA events."""
    first_step_ms: Positive | None = None
    warmup_ms: Positive | None = None
    """Per step of those between the first one and the timed calls."""
    images_per_second: Positive | None = None
    flop_per_step: Positive | None = None
    achieved_flops: Positive | None = None
    matmul_peak_flops: Positive | None = None
    share_of_peak: Positive | None = None
    peak_memory_mib: Positive | None = None
    plain_step_time_ms: Positive | None = None
    speedup_over_plain: Positive | None = None
    """Median over pairs of alternating calls; speedup_low and speedup_high are the least and the largest of them."""
    speedup_low: Positive | None = None
    speedup_high: Positive | None = None
    device: str
    device_name: str
    driver: str | None = None
    torch: str
    precision: str
    num_threads: Size
    commit: str | None = None


class Statistics(_Read):
    """Seconds per timed call."""

    median: Positive
    iqr: Annotated[float, Field(ge=0)]
    rounds: Size


class Benchmark(_Read):
    """One benchmark."""

    name: str
    stats: Statistics
    extra_info: Measured

    @property
    def iqr_ms(self) -> float:
        """Interquartile range over the timed calls, per step."""
        return self.stats.iqr / self.extra_info.units_per_call * 1e3


class BenchmarkFile(_Read):
    """One saved run of the benchmarks."""

    datetime: str
    benchmarks: Annotated[tuple[Benchmark, ...], Field(min_length=1)]

    @property
    def device_names(self) -> dict[str, str]:
        """Model by kind of device, e.g. {"cpu": ...}; that of a GPU comes first."""
        found = {b.extra_info.device: b.extra_info.device_name for b in self.benchmarks}
        return dict(sorted(found.items(), key=lambda item: (item[0] == "cpu", item[0])))

    @property
    def slug(self) -> str:
        """Name of the device for a folder: of the GPU where one was timed."""
        return device_slug(next(iter(self.device_names.values())))


def device_slug(name: str) -> str:
    """Write a device's name as that of a folder, e.g. "amd-epyc"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed-device"


def read_benchmarks(path: Path) -> BenchmarkFile:
    """Read one file.

    Raises:
        ConfigError: it is absent, no JSON, or lacks what the benchmarks of this project save.
    """
    try:
        return BenchmarkFile.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {MAKE_ONE}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; {MAKE_ONE}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        message = f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(f"{path}: no result of this project's benchmarks ({message}); {MAKE_ONE}") from None
    except ValueError as error:  # no JSON, or no text
        raise ConfigError(f"{path}: damaged, not JSON ({error}); {MAKE_ONE}") from None


def refuse_other_devices(files: Sequence[BenchmarkFile], names: Sequence[str]) -> None:
    """Refuse to compare runs of different devices.

    Raises:
        ConfigError: a file has another device than the first one.
    """
    first = files[0].device_names
    for file, name in zip(files[1:], names[1:], strict=True):
        other = file.device_names
        shared = first.keys() & other.keys()
        if not shared or any(first[kind] != other[kind] for kind in shared):
            here, there = (", ".join(found.values()) for found in (first, other))
            raise ConfigError(
                f"{names[0]} is of {here}, {name} of {there}: times of different devices do not compare; "
                "give files of one device"
            )
