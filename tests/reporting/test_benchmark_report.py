"""`report benchmarks`: what the page and the tables say, the fitted exponents, and what is refused."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ssgan_bench.report import main
from ssgan_bench.reporting.benchmark_figures import draw_speedups
from ssgan_bench.reporting.benchmark_files import read_benchmarks
from ssgan_bench.reporting.scaling import fit_power, scaling_fits

CPU = "Example CPU @ 2.00GHz"


def step(width: int = 8, batch_size: int = 64, time_ms: float = 10.0, **changes: Any) -> dict[str, Any]:
    """One entry of pytest-benchmark's file: a training step."""
    info = {
        "unit": "training step",
        "network": f"width{width}",
        "method": "article",
        "width": width,
        "image_size": 16,
        "batch_size": batch_size,
        "units_per_call": 20,
        "step_time_ms": time_ms,
        "first_step_ms": 3 * time_ms,
        "images_per_second": None,
        "flop_per_step": 2_000_000,
        "achieved_flops": 2e9 / time_ms,
        "matmul_peak_flops": 1e9,
        "share_of_peak": 2 / time_ms,
        "peak_memory_mib": None,
        "speedup_over_plain": 3.25,
        "speedup_low": 3.0,
        "speedup_high": 3.5,
        "device": "cpu",
        "device_name": CPU,
        "driver": None,
        "torch": "2.11.0",
        "precision": "fp32",
        "num_threads": 1,
        "commit": "abc1234",
    }
    name = f"test_training_step[cpu-width{width}-{batch_size}]"
    stats = {"median": 20 * time_ms / 1e3, "iqr": 0.002, "rounds": 5}
    return {"name": changes.pop("name", name), "stats": stats, "extra_info": info | changes}


def operation() -> dict[str, Any]:
    """An entry without images, FLOP and networks."""
    sizes = dict.fromkeys(("network", "method", "width", "image_size", "batch_size", "first_step_ms"))
    rates = dict.fromkeys(("flop_per_step", "achieved_flops", "matmul_peak_flops", "share_of_peak"))
    speed = dict.fromkeys(("speedup_over_plain", "speedup_low", "speedup_high"))
    more = {"unit": "queue operation", "part": "a cell taken and closed", "name": "test_queue"}
    return step(**more, **sizes, **rates, **speed)  # type: ignore[arg-type]


WIDTHS = [step(width, time_ms=0.5 * width**1.5) for width in (8, 16, 32)]


def save(path: Path, benchmarks: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"datetime": "2026-01-02T03:04:05+00:00", "benchmarks": benchmarks}))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three widths, two batch sizes and a queue operation."""
    folder = tmp_path_factory.mktemp("benchmarks")
    file = save(folder / "benchmark.json", [*WIDTHS, step(batch_size=16, time_ms=4.0), operation()])
    assert main(["benchmarks", str(file), "--to", str(folder / "report")]) == 0
    return folder / "report"


def test_the_folder_has_page_tables_and_figures(report: Path) -> None:
    names = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
    assert names >= {"index.html", "report.md", "tables/benchmarks.csv", "tables/scaling.csv"} | figures


FIGURES = ("step_time", "share_of_peak", "speedup", "scaling_width")


def test_the_answer_states_ratio_share_and_device(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert f"On {CPU} (cpu) a training step is 3.25 times as fast as the plain reference" in text.replace("\\", "")


def test_long_names_of_rows_are_broken_into_lines_and_fit_the_figure(tmp_path: Path) -> None:
    method = "article, features and images reused, channels last"
    file = save(tmp_path / "benchmark.json", [step(), step(width=128, method=method, precision="bf16")])
    figure = draw_speedups(read_benchmarks(file).benchmarks)
    figure.draw_without_rendering()
    names = figure.axes[0].get_yticklabels()
    assert [name.get_text().count("\n") for name in names] == [0, 1]
    assert all(figure.bbox.containsx(name.get_window_extent().x0) for name in names)
    first, last = (name.get_window_extent() for name in names)
    assert not first.overlaps(last)


def test_what_was_not_measured_stays_blank(report: Path) -> None:
    first, *_, last = rows(report / "tables" / "benchmarks.csv")
    assert (first["images_per_second"], first["peak_memory_mib"], first["speedup_over_plain"]) == ("", "", "3.25")
    assert (last["unit"], last["share_of_peak"], last["speedup_over_plain"]) == ("queue operation", "", "")


def test_a_power_law_is_recovered(report: Path, tmp_path: Path) -> None:
    assert fit_power([2, 4, 8], [12, 48, 192]) == pytest.approx((2.0, 3.0))
    (fit,) = scaling_fits(read_benchmarks(save(tmp_path / "a.json", WIDTHS)).benchmarks)
    assert (fit.size_name, fit.sizes) == ("width", (8, 16, 32))
    assert (fit.exponent, fit.factor) == pytest.approx((1.5, 0.5))
    assert fit.largest_error < 1e-9
    assert {row["varied"] for row in rows(report / "tables" / "scaling.csv")} == {"width"}  # two batch sizes: no fit


def test_two_files_of_one_device_are_set_side_by_side(tmp_path: Path) -> None:
    old = save(tmp_path / "old.json", [step(time_ms=10.0), step(16)])
    new = save(tmp_path / "new.json", [step(time_ms=8.0)])
    assert main(["benchmarks", str(old), str(new), "--to", str(tmp_path / "report")]) == 0
    (row,) = rows(tmp_path / "report" / "tables" / "changes.csv")
    assert float(row["first_over_last"]) == pytest.approx(1.25)


def test_by_default_benchmark_json_of_this_folder_goes_to_a_folder_named_after_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "benchmark.json", [operation()])
    assert main(["benchmarks"]) == 0
    assert "No training step was timed." in capsys.readouterr().out
    assert Path("reports/benchmarks/example-cpu-2-00ghz/index.html").is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; make one with `pytest --benchmark-only"),
        ("{", "damaged, not JSON"),
        ("[]", "no result of this project's benchmarks"),
        (json.dumps({"datetime": "x", "benchmarks": []}), "no result of this project's benchmarks (benchmarks:"),
        (
            json.dumps({"datetime": "x", "benchmarks": [step() | {"extra_info": {}}]}),
            "no result of this project's benchmarks (benchmarks.0.extra_info.unit: field required)",
        ),
    ],
)
def test_a_missing_or_damaged_file_is_refused_in_one_line(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    assert main(["benchmarks", str(path), "--to", str(tmp_path / "report")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ")
    assert message in line
    assert not (tmp_path / "report").exists()


def test_files_of_different_devices_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = save(tmp_path / "one.json", [step()])
    other = save(tmp_path / "other.json", [step(device_name="Another CPU")])
    assert main(["benchmarks", str(one), str(other), "--to", str(tmp_path / "report")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "times of different devices do not compare" in line
    assert CPU in line
    assert "Another CPU" in line


def test_a_share_above_the_peak_is_called_a_disturbed_measurement(tmp_path: Path) -> None:
    file = save(tmp_path / "a.json", [step(share_of_peak=1.5)])
    assert main(["benchmarks", str(file), "--to", str(tmp_path / "report")]) == 0
    assert "1 share of the peak above 100 %: the machine was busy" in (tmp_path / "report" / "report.md").read_text()


def test_a_gpu_names_the_folder(tmp_path: Path) -> None:
    file = save(tmp_path / "a.json", [step(), step(device="cuda", device_name="NVIDIA H200", name="gpu")])
    assert read_benchmarks(file).slug == "nvidia-h200"
