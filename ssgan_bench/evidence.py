"""The command line `python -m ssgan_bench.evidence`: everything that only a GPU can show, in slices of a few minutes.

A thin layer over the other command lines, which do the work in processes of their own: the GPU tests, the step
benchmarks, and the reference studies at full size. A process whose time is up is stopped; a study continues in the next
slice where it was. What is there for the code of this checkout is listed in `reports/reference/evidence.json` and is
not made again.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from ssgan_bench.config import ConfigError

ROOT = Path(__file__).parents[1]
STUDIES = ("improved_gan_mnist100", "labeled_rate", "feature_matching", "label_leak", "real_fake_head")
PRESET = "full"
STOP_SECONDS = 30.0
"""Of a slice, kept for stopping what runs and for the pages at the end."""
START_SECONDS = 20.0
"""What must be left of a slice for one more piece to begin."""
SMOKE_STUDIES = ("improved_gan_mnist100", "label_leak")
SMOKE_SETTINGS = {
    "data.image_size": 16,
    "data.num_validation": 200,
    "network.width": 4,
    "train.epochs": 1,
    "train.evaluations": 2,
}
SMOKE_LEVELS = {"improved_gan_mnist100": "data.num_labels=100", "label_leak": "data.labeled_rate=0.2"}
SMOKE_BENCHMARKS = ("tests/benchmarks/test_training_step.py",)
SMOKE_SELECTION = ["-k", "supervised and cpu and not narrow"]
SMOKE_SLICES = 3
SMOKE_MINUTES = 2.5

EPILOG = """\
Call it again until nothing is missing; every call stops by itself after --minutes and the next one continues.
Without a GPU it says what is missing and does nothing else.
exit codes: 0 the slice is over, 1 a piece failed (or, with --smoke, is missing), 2 wrong input, 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ssgan_bench.evidence",
        description="Run the GPU tests, the step benchmarks and the reference studies at full size, in slices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets (else $SSGAN_BENCH_DATA, else cache)")
    parser.add_argument("--out", type=Path, default=ROOT, metavar="DIR", help="holds runs/ and reports/ (the checkout)")
    parser.add_argument("--minutes", type=float, default=9.0, metavar="M", help="length of a slice (default: 9)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--smoke", action="store_true", help="the same path at toy size on the CPU, in a folder of its own"
    )
    what.add_argument("--headline", action="store_true", help="only write the headline table of README.md again")
    return parser


@dataclass
class Site:
    """Where, and on what, evidence is made."""

    out: Path
    data_root: Path
    device: str | None
    """cuda:0, or cpu at toy size; None where there is no GPU."""
    device_name: str
    is_toy: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    """Why a piece failed in this call, by name."""

    @property
    def reports(self) -> Path:
        """Reports to be committed, and the list of what was made with which code."""
        return self.out / "reports" / "reference"

    def work(self, piece: "Piece") -> Path:
        """Working folder of one piece for the code of this checkout; other code begins anew elsewhere."""
        return self.out / "runs" / "evidence" / f"{piece.name}-{piece.code()[:12]}"

    def made(self) -> dict[str, dict[str, str | None]]:
        """Code, commit, device and time of every piece there is, by name."""
        path = self.reports / "evidence.json"
        found: dict[str, dict[str, str | None]] = json.loads(path.read_bytes()) if path.exists() else {}
        return found

    def is_made(self, piece: "Piece") -> bool:
        """Whether a piece is there for the code of this checkout."""
        return self.made().get(piece.name, {}).get("code") == piece.code()

    def note(self, piece: "Piece") -> None:
        """List a piece as made."""
        from ssgan_bench.records.provenance import git_commit
        from ssgan_bench.records.store import write_atomically

        entry = {
            "code": piece.code(),
            "commit": git_commit(),
            "device": self.device_name,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        content = json.dumps(self.made() | {piece.name: entry}, indent=1, sort_keys=True) + "\n"
        write_atomically(self.reports / "evidence.json", content.encode())


@dataclass(frozen=True)
class Piece:
    """One thing to be shown."""

    name: str
    sources: tuple[str, ...]
    """Files and folders of the checkout that belong to it, besides the code that every run computes with."""
    run: Callable[["Piece", Site, float], None]
    """Makes it, or a part of it, within some seconds."""
    data: str | None = None

    def code(self) -> str:
        """Digest (hex) of all that decides its result."""
        from ssgan_bench.config import digest
        from ssgan_bench.records.provenance import code_digest, files_digest

        return digest([code_digest(), files_digest(ROOT, self.sources)])


def _files_with(pattern: str, word: str) -> tuple[str, ...]:
    """Test files, relative to the checkout, that contain a word; what the others import need not be installed."""
    found = sorted((ROOT / "tests").rglob(pattern))
    return tuple(path.relative_to(ROOT).as_posix() for path in found if word in path.read_text("utf-8"))


def _gpu_tests() -> tuple[str, ...]:
    return _files_with("test_*.py", "pytest.mark.gpu")


def _run_tests(piece: Piece, site: Site, seconds: float) -> None:
    code = _run(["pytest", "-q", "-m", "gpu", *_gpu_tests()], seconds)
    _book(piece, site, code, then="the next slice begins the tests again")


def _run_benchmarks(piece: Piece, site: Site, seconds: float) -> None:
    """Time file by file, as far as the slice goes, and then write the page of all files together."""
    deadline = time.monotonic() + seconds
    work = site.work(piece)
    files = SMOKE_BENCHMARKS if site.is_toy else _files_with("benchmarks/test_*.py", "BenchmarkFixture")
    parts = [work / f"{Path(name).stem}.json" for name in files]
    work.mkdir(parents=True, exist_ok=True)
    for name, part in zip(files, parts, strict=True):
        if part.exists():
            continue
        unfinished = part.with_suffix(".part")
        command = ["pytest", "-q", name, "--benchmark-only", f"--benchmark-json={unfinished}"]
        code = _run(command + (SMOKE_SELECTION if site.is_toy else []), max(1.0, deadline - time.monotonic()))
        if code != 0:
            _book(piece, site, code, then="the next slice goes on with this file")
            return
        unfinished.replace(part)
    times = work / "all.json"
    contents = [json.loads(part.read_bytes()) for part in parts]
    together = contents[0] | {"benchmarks": [timed for content in contents for timed in content["benchmarks"]]}
    times.write_text(json.dumps(together), encoding="utf-8")
    device = re.sub(r"[^a-z0-9]+", "_", site.device_name.lower()).strip("_")
    folder = site.reports / "benchmarks" / device
    command = [sys.executable, "-m", "ssgan_bench.report", "benchmarks", "--to", str(folder), str(times)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        _book(piece, site, 0)
        return
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    print(f"the benchmarks are timed ({times}), but there is no page of them: {reason}", flush=True)
    if site.is_toy:  # that command is tested elsewhere
        site.note(piece)


def _run_study(piece: Piece, site: Site, seconds: float) -> None:
    work = site.work(piece)
    command = ["ssgan_bench.study", piece.name, "--preset", PRESET, "--out", str(work), "--device", str(site.device)]
    command += ["--data-dir", str(site.data_root)]
    if site.is_toy:
        settings = [f"{key}={value}" for key, value in SMOKE_SETTINGS.items()] + [SMOKE_LEVELS[piece.name]]
        command += ["--dataset", "digits", "--seeds", "2", "--workers", "1"]
        command += [word for setting in settings for word in ("--set", setting)]
    code = _run(command, seconds)
    if code == 0:
        _publish(work / "reports" / piece.name / PRESET, site.reports / piece.name / PRESET)
    _book(piece, site, code)


def _publish(report: Path, target: Path) -> None:
    """Put a finished report in the place of an older one."""
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(report, new)
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)


def _run(arguments: list[str], seconds: float) -> int | None:
    """Run a module in a process of its own; its exit code, or None where its time was up and it was stopped."""
    print(f"==> python -m {' '.join(arguments)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also when this process is interrupted
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _book(piece: Piece, site: Site, code: int | None, then: str = "the next slice continues") -> None:
    if code == 0:
        site.note(piece)
        print(f"{piece.name}: done", flush=True)
    elif code is None:
        print(f"{piece.name}: stopped, the slice is over; {then}", flush=True)
    else:
        site.failures[piece.name] = f"failed with exit code {code}"


def pieces(studies: tuple[str, ...] = STUDIES) -> list[Piece]:
    """List everything to be shown, in the order in which it is made."""
    return [
        Piece("gpu_tests", (*_gpu_tests(), "tests/tiny_runs.py"), _run_tests),
        Piece("benchmarks", ("tests/benchmarks",), _run_benchmarks),
        *(Piece(name, (f"studies/{name}.toml",), _run_study, data="mnist") for name in studies),
    ]


def run_slice(todo: list[Piece], site: Site, seconds: float) -> bool:
    """Make what is missing, for at most some seconds; returns whether a piece was finished."""
    deadline = time.monotonic() + seconds - STOP_SECONDS
    finished = False
    for piece in todo:
        left = deadline - time.monotonic()
        if left < START_SECONDS:
            break
        if not site.is_made(piece) and piece.name not in site.failures:
            piece.run(piece, site, left)
            finished |= site.is_made(piece)
    return finished


def missing_table(todo: list[Piece], site: Site) -> str:
    """Say for every piece whether it is there, and what it needs if not."""
    made = site.made()
    rows = [("piece", "state", "needs")]
    for piece in todo:
        entry = made.get(piece.name)
        if entry is not None and site.is_made(piece):
            rows.append((piece.name, f"done on {entry['device']}, {entry['finished_at']}", ""))
            continue
        state = site.failures.get(piece.name) or _progress(piece, site)
        rows.append((piece.name, state + ("; there is one of other code" if entry else ""), _needs(piece, site)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def _progress(piece: Piece, site: Site) -> str:
    if piece.data is None:
        return "timed, no page" if _is_timed(piece, site) else "missing"
    from ssgan_bench.records.store import RecordStore
    from ssgan_bench.trials.plan import make_plan
    from ssgan_bench.trials.study_file import read_study

    store = RecordStore(site.work(piece) / "runs" / piece.name / PRESET)
    path = ROOT / "studies" / f"{piece.name}.toml"
    plan = store.plan() or make_plan(read_study(path), str(path), PRESET, {})
    done = sum(record.is_finished for record in store.records())
    return f"{done} of {len(plan.cells)} runs" if done else f"missing: {len(plan.cells)} runs"


def _is_timed(piece: Piece, site: Site) -> bool:
    return (site.work(piece) / "all.json").exists()


def _needs(piece: Piece, site: Site) -> str:
    needs = [] if site.device else ["a CUDA GPU"]
    if piece.data is not None and not site.is_toy:
        from ssgan_bench.data.datasets import is_present

        if not is_present(piece.data, site.data_root):
            needs.append(f"{piece.data} in --data-dir, or a network")
    if _is_timed(piece, site):
        needs.append("python -m ssgan_bench.report benchmarks")
    if piece.name in site.failures:
        needs.append("a look at the lines above")
    return ", ".join(needs) or "another slice"


def _pages(site: Site) -> None:
    """Write what is made of all reports: the overview, and in the checkout the README's headline."""
    command = [sys.executable, "-m", "ssgan_bench.report", "--all", "--reports", str(site.reports)]
    subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    if site.out.resolve() == ROOT:
        write_headline()


def write_headline() -> None:
    """Write the headline table of README.md from the committed reports."""
    from ssgan_bench.records.store import write_atomically
    from ssgan_bench.reporting.headline import headline, with_headline

    readme = ROOT / "README.md"
    text = with_headline(readme.read_text(encoding="utf-8"), headline(ROOT / "reports" / "reference"))
    write_atomically(readme, text.encode())


def _smoke() -> int:
    from ssgan_bench.records.provenance import cpu_name

    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), Path(folder), "cpu", cpu_name(), is_toy=True)
        todo = pieces(SMOKE_STUDIES)
        for _ in range(SMOKE_SLICES):
            run_slice(todo, site, SMOKE_MINUTES * 60)
            if all(map(site.is_made, todo)):
                break
        _pages(site)
        print(missing_table(todo, site), flush=True)
        return int(not all(map(site.is_made, todo)))


def _collect(options: argparse.Namespace) -> int:
    import torch

    from ssgan_bench.data.datasets import data_root

    has_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if has_gpu else ""
    site = Site(options.out.absolute(), data_root(options.data_dir), "cuda:0" if has_gpu else None, name)
    todo = pieces()
    if not has_gpu:
        print("no CUDA GPU here; nothing is run\n")
    elif run_slice(todo, site, options.minutes * 60):
        _pages(site)
    print(missing_table(todo, site), flush=True)
    return int(bool(site.failures))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code, as told in EPILOG."""
    options = _parser().parse_args(arguments)
    try:
        if not (ROOT / "tests" / "test_gpu.py").exists():
            raise ConfigError("evidence is made in a checkout of the repository, which has its tests")
        if not 2 <= options.minutes <= 600:
            raise ConfigError(f"--minutes {options.minutes:g}: give a number from 2 to 600")
        if options.headline:
            write_headline()
            return 0
        return _smoke() if options.smoke else _collect(options)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues")
        return 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
