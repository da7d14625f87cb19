"""The benchmark report: times, share of the matmul peak, ratio to the plain reference and scaling, as a folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from ssgan_bench.reporting.benchmark_figures import (
    draw_scaling,
    draw_shares,
    draw_speedups,
    draw_step_times,
    row_label,
)
from ssgan_bench.reporting.benchmark_files import (
    Benchmark,
    BenchmarkFile,
    Measured,
    read_benchmarks,
    refuse_other_devices,
)
from ssgan_bench.reporting.document import Block, Bullets, Document, Figure, Figures, Links, Section, Table, Text
from ssgan_bench.reporting.evidence import csv_text
from ssgan_bench.reporting.page import replace_folder, write_document
from ssgan_bench.reporting.scaling import FEWEST, SIZES, Fit, scaling_fits
from ssgan_bench.reporting.tables import plain
from ssgan_bench.reporting.wording import NONE, counted, listed, number

STEP = "training step"
"""The unit of the benchmarks that the report is about; the others have one table."""


def write_benchmarks(paths: Sequence[Path], folder: Path | None) -> tuple[str, str, Path]:
    """Write the report of saved benchmarks; the figures show the last file, the others are compared with it.

    Args:
        paths: at least one JSON file, of one device.
        folder: where to; None: reports/benchmarks/DEVICE/ in the current folder.

    Returns:
        The answer, the table of training steps as plain text, and the page.

    Raises:
        ConfigError: a file cannot be used, devices differ, or `folder` holds something that is no report.
    """
    files = [read_benchmarks(path) for path in paths]
    names = [str(path) for path in paths]
    refuse_other_devices(files, names)
    document, csv, drawings = build(files, [path.name for path in paths])
    target = folder or Path("reports") / "benchmarks" / files[-1].slug
    replace_folder(target, lambda new: write_document(new, document, csv, drawings))
    return "\n\n".join(document.answer), plain(_steps_table(_steps(files[-1]))), target / "index.html"


def build(
    files: Sequence[BenchmarkFile], names: Sequence[str]
) -> tuple[Document, dict[str, str], dict[str, Callable[[], Drawing]]]:
    """Build the document, the CSV files by path, and what draws the figures by name.

    Args:
        files: of one device; the last one is shown.
        names: of the files, for the tables.
    """
    shown = files[-1]
    steps = _steps(shown)
    others = [b for b in shown.benchmarks if b.extra_info.unit != STEP]
    fits = scaling_fits(steps)
    csv = {
        "tables/benchmarks.csv": _benchmarks_csv(files, names),
        "tables/scaling.csv": _scaling_csv(fits),
    }
    drawings: dict[str, Callable[[], Drawing]] = {}

    def figure(name: str, alt: str, caption: str, csv_path: str, draw: Callable[[], Drawing]) -> Figures:
        drawings[name] = draw
        return Figures((Figure(name, alt),), caption, csv_path)

    everything = "tables/benchmarks.csv"
    sized = [step for step in steps if step.extra_info.batch_size is not None]
    shares = [step for step in steps if step.extra_info.share_of_peak is not None]
    compared = [step for step in steps if step.extra_info.speedup_over_plain is not None]
    step_blocks: list[Block] = [_steps_table(steps)] if steps else [Text("No training step was timed.")]
    if sized:
        caption = "Median time of a training step in steady state, against the batch size; both axes logarithmic."
        alt = "time of a training step against the batch size"
        step_blocks.insert(0, figure("step_time", alt, caption, everything, lambda: draw_step_times(sized)))
    share_blocks: list[Block] = [Text("No share of the peak was measured.")]
    if shares:
        caption = (
            "FLOP of convolutions and matrix products per second, as a share of the best matrix product of the same "
            "process, precision and number of threads."
        )
        alt = "share of the matmul peak of each training step"
        share_blocks = [figure("share_of_peak", alt, caption, everything, lambda: draw_shares(shares))]
    plain_blocks: list[Block] = [Text("No training step was compared with the plain reference.")]
    if compared:
        caption = (
            "Time of the plain reference over that of this project, in one process with alternating calls: median of "
            "the pairs, and their range as a line. The vertical line is equal speed."
        )
        alt = "speed of each training step as a multiple of the plain reference's"
        plain_blocks = [figure("speedup", alt, caption, everything, lambda: draw_speedups(compared))]
    scaling_blocks: list[Block] = [Text(f"No size was varied over at least {FEWEST} values.")]
    if fits:
        scaling_blocks = []
        for size_name, label in SIZES.items():
            own = [fit for fit in fits if fit.size_name == size_name]
            if own:
                caption = f"Time of a training step against {label}, with fitted power laws; both axes logarithmic."
                alt = f"time of a training step against {label}"
                draw = _draw_later(own)
                scaling_blocks.append(figure(f"scaling_{size_name}", alt, caption, "tables/scaling.csv", draw))
        scaling_blocks.append(_scaling_table(fits))
    sections = [
        Section("certainty", "How sure is this?", (Bullets(tuple(_certainty(shown))),)),
        Section("steps", "Training steps", tuple(step_blocks)),
        Section("share", "Share of the peak", tuple(share_blocks)),
        Section("plain", "Against the plain reference", tuple(plain_blocks)),
        Section("scaling", "Scaling", tuple(scaling_blocks)),
    ]
    if others:
        sections.append(Section("others", "Everything else", (_others_table(others),)))
    if len(files) > 1:
        csv["tables/changes.csv"] = _changes_csv(files, names)
        changes: Block = (
            _changes_table(files, names) if _shared(files) else Text("The files have no benchmark in common.")
        )
        sections.append(Section("changes", "Changes between the files", (changes,)))
    links = [(path, DESCRIPTIONS[path]) for path in csv] + [("report.md", "this page as Markdown")]
    sections.append(Section("files", "Files", (Links(tuple(links)),)))
    document = Document(
        title="Benchmarks",
        subtitle=f"{'; '.join(shown.device_names.values())}. {names[-1]}, {shown.datetime[:10]}.",
        question="How long does a training step take, how close is that to the hardware, and how much faster is it "
        "than a plain implementation?",
        expectation="",
        answer=tuple(_answer(steps)),
        sections=tuple(sections),
    )
    return document, csv, drawings


DESCRIPTIONS = {
    "tables/benchmarks.csv": "one row per file and benchmark, everything that was measured",
    "tables/scaling.csv": "one row per series and size, with the fitted exponent",
    "tables/changes.csv": "one row per benchmark that the files share",
}


def _draw_later(fits: Sequence[Fit]) -> Callable[[], Drawing]:
    return lambda: draw_scaling(fits)


def _steps(file: BenchmarkFile) -> list[Benchmark]:
    return [b for b in file.benchmarks if b.extra_info.unit == STEP]


def _answer(steps: Sequence[Benchmark]) -> list[str]:
    """State the speeds, one paragraph per device."""
    paragraphs = []
    for device in dict.fromkeys(step.extra_info.device for step in steps):
        own = [step.extra_info for step in steps if step.extra_info.device == device]
        ratios = [info.speedup_over_plain for info in own if info.speedup_over_plain is not None]
        shares = [100.0 * info.share_of_peak for info in own if info.share_of_peak is not None]
        if shares and max(shares) > 100.0:  # a disturbed measurement, see _certainty
            shares = []
        facts = []
        if ratios:
            facts.append(
                f"is {_span(ratios)} times as fast as the plain reference ({counted(len(ratios), 'workload')})"
            )
        if shares:
            facts.append(f"reaches {_span(shares)} % of the measured matmul peak ({counted(len(shares), 'workload')})")
        facts = facts or [f"takes {_span([info.step_time_ms for info in own])} ms"]
        paragraphs.append(f"On {own[0].device_name} ({device}) a training step {listed(facts)}.")
    return paragraphs or ["No training step was timed."]


def _certainty(file: BenchmarkFile) -> list[str]:
    """Say where and how the numbers were taken."""
    infos = [b.extra_info for b in file.benchmarks]

    def seen(name: str) -> str:
        return listed(list(dict.fromkeys(str(getattr(i, name)) for i in infos if getattr(i, name) is not None)))

    impossible = sum(info.share_of_peak is not None and info.share_of_peak > 1.0 for info in infos)
    disturbed = (
        f"{counted(impossible, 'share')} of the peak above 100 %: the machine was busy while the peak was measured, so "
        "no number here is worth quoting; measure again on an idle machine."
    )
    commit = seen("commit")
    drivers = seen("driver")
    return [
        *([disturbed] if impossible else []),
        f"{'; '.join(f'{kind}: {name}' for kind, name in file.device_names.items())}"
        f"{f'; driver {drivers}' if drivers else ''}; PyTorch {seen('torch')}; precision {seen('precision')}; "
        f"CPU threads {seen('num_threads')}.",
        f"Commit {commit or 'unknown'}"
        f"{'; +dirty: with changes that are in no commit' if commit.endswith('+dirty') else ''}.",
        "Times are medians over the timed calls, which do several steps each; the interquartile range stands beside "
        "them. The first step and those of the warm-up after it are not in them.",
        "The losses of the first timed steps were those of a second trainer that was not timed.",
        "FLOP are counted, those of convolutions and matrix products alone; the share of the peak is of these.",
        "Peak memory of a CPU is the resident memory of the whole process, PyTorch included.",
        "Times of other machines, or of this one under other load, differ; ratios of one process are steadier.",
    ]


def _steps_table(steps: Sequence[Benchmark]) -> Table:
    columns: tuple[str, ...] = (
        "networks",
        "method",
        "batch",
        "device",
        "precision",
        "threads",
        "step (ms)",
        "IQR (ms)",
        "on device (ms)",
    )
    columns += ("first step (ms)", "images/s", "GFLOP/step", "GFLOP/s", "peak share (%)", "times plain", "memory (MiB)")
    rows = []
    for step in steps:
        info = step.extra_info
        rows.append(
            (
                info.network or NONE,
                info.method or NONE,
                _shown(info.batch_size),
                info.device,
                info.precision,
                _shown(info.num_threads),
                _shown(info.step_time_ms),
                _shown(step.iqr_ms),
                _shown(info.device_time_ms),
                _shown(info.first_step_ms),
                _shown(info.images_per_second),
                _shown(info.flop_per_step, 1e-9),
                _shown(info.achieved_flops, 1e-9),
                _shown(info.share_of_peak, 100.0),
                _shown(info.speedup_over_plain),
                _shown(info.peak_memory_mib),
            )
        )
    caption = (
        "One training step: a discriminator update and, for a GAN, a generator update. IQR: interquartile range over "
        "the timed calls; on device: by CUDA events; images: real ones; times plain: speed as a multiple of the plain "
        "reference's; a dash: not measured."
    )
    return Table(columns, tuple(rows), caption, "tables/benchmarks.csv", left=5)


def _others_table(others: Sequence[Benchmark]) -> Table:
    rows = tuple(
        (
            b.extra_info.unit,
            row_label(b) or NONE,
            _shown(b.extra_info.num_threads),
            _shown(b.extra_info.step_time_ms),
            _shown(b.iqr_ms),
            _shown(b.extra_info.images_per_second),
            _shown(b.extra_info.share_of_peak, 100.0),
            _shown(b.extra_info.peak_memory_mib),
        )
        for b in others
    )
    columns = ("what", "of", "threads", "time (ms)", "IQR (ms)", "images/s", "peak share (%)", "memory (MiB)")
    caption = "Median time of one of each; IQR: interquartile range over the timed calls; a dash: not measured."
    return Table(columns, rows, caption, "tables/benchmarks.csv", left=2)


def _scaling_table(fits: Sequence[Fit]) -> Table:
    rows = tuple(
        (
            fit.size_name,
            fit.label,
            ", ".join(map(str, fit.sizes)),
            number(fit.exponent, 2),
            number(100.0 * fit.largest_error, 0),
        )
        for fit in fits
    )
    caption = (
        "Time of a training step = c * size^exponent, by least squares of the logarithms; largest error: of a time "
        "from its fit. With so few sizes a fit describes this range and says nothing beyond it."
    )
    columns = ("varied", "else", "sizes", "exponent", "largest error (%)")
    return Table(columns, rows, caption, "tables/scaling.csv", left=3)


def _shared(files: Sequence[BenchmarkFile]) -> dict[str, list[Benchmark | None]]:
    """Each benchmark by name, as far as the files have it; those of a single file are left out."""
    by_name = [{b.name: b for b in file.benchmarks} for file in files]
    names = dict.fromkeys(name for found in by_name for name in found)
    rows = {name: [found.get(name) for found in by_name] for name in names}
    return {name: row for name, row in rows.items() if sum(b is not None for b in row) > 1}


def _change(row: Sequence[Benchmark | None]) -> float | None:
    """Time in the first file over that in the last one; None where one of the two lacks it."""
    first, last = row[0], row[-1]
    if first is None or last is None:
        return None
    return first.extra_info.step_time_ms / last.extra_info.step_time_ms


def _changes_table(files: Sequence[BenchmarkFile], names: Sequence[str]) -> Table:
    rows = tuple(
        (name, *(_shown(b.extra_info.step_time_ms if b else None) for b in row), _shown(_change(row)))
        for name, row in _shared(files).items()
    )
    caption = (
        "Median time of one unit in ms in each file, and the first over the last: above 1 the last is faster. The "
        "files are of different processes, so this is no ratio of one run."
    )
    columns = ("benchmark", *(f"{place}: {name}" for place, name in enumerate(names, 1)), "first / last")
    return Table(columns, rows, caption, "tables/changes.csv")


def _changes_csv(files: Sequence[BenchmarkFile], names: Sequence[str]) -> str:
    heads = [f"step_time_ms {place}: {name}" for place, name in enumerate(names, 1)]
    rows = (
        {"benchmark": name, "first_over_last": _change(row)}
        | {head: b.extra_info.step_time_ms if b else None for head, b in zip(heads, row, strict=True)}
        for name, row in _shared(files).items()
    )
    return csv_text(["benchmark", *heads, "first_over_last"], rows)


def _benchmarks_csv(files: Sequence[BenchmarkFile], names: Sequence[str]) -> str:
    columns = ["file", "benchmark", *Measured.model_fields, "iqr_ms", "calls"]
    rows = (
        {"file": name, "benchmark": b.name, "iqr_ms": b.iqr_ms, "calls": b.stats.rounds, **b.extra_info.model_dump()}
        for file, name in zip(files, names, strict=True)
        for b in file.benchmarks
    )
    return csv_text(columns, rows)


def _scaling_csv(fits: Sequence[Fit]) -> str:
    columns = ["varied", "series", "size", "step_time_ms", "fitted_ms", "exponent"]
    rows = (
        {
            "varied": fit.size_name,
            "series": fit.label,
            "size": size,
            "step_time_ms": time,
            "fitted_ms": fit.factor * size**fit.exponent,
            "exponent": fit.exponent,
        }
        for fit in fits
        for size, time in zip(fit.sizes, fit.times_ms, strict=True)
    )
    return csv_text(columns, rows)


def _shown(value: float | None, scale: float = 1.0) -> str:
    """Write a number with three significant digits, whole from 100 on; a dash for what was not measured."""
    if value is None:
        return NONE
    scaled = scale * value
    return f"{scaled:,.0f}" if scaled >= 99.95 else f"{scaled:.3g}"


def _span(values: Sequence[float]) -> str:
    low, high = _shown(min(values)), _shown(max(values))
    return low if low == high else f"{low} to {high}"
