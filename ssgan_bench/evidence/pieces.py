"""How each piece of evidence is made: another command line, in a process of its own with a time limit."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ssgan_bench.evidence.site import ROOT, Piece, Site

STUDIES = (
    ("improved_gan_mnist100", "paper"),
    ("improved_gan_mnist100", "head"),
    ("labeled_rate", "full"),
    ("feature_matching", "full"),
    ("label_leak", "full"),
    ("real_fake_head", "full"),
)
"""Each with its preset."""
DATA = "mnist"
"""What they are of."""
GPU_TESTS = "gpu_tests"
END_SECONDS = 15.0
"""How long a stopped process gets to end before it is killed."""
SMOKE_STUDIES = (("improved_gan_mnist100", "paper"), ("label_leak", "full"))
SMOKE_SETTINGS = {
    "data.image_size": 16,
    "data.num_validation": 200,
    "train.epochs": 1,
    "train.evaluations": 2,
}
SMOKE_OWN_SETTINGS = {
    "improved_gan_mnist100": ["data.num_labels=100"],
    "label_leak": ["data.labeled_rate=0.2", "network.width=4"],
}
SMOKE_BENCHMARKS = ("tests/benchmarks/test_training_step.py",)
SMOKE_SELECTION = ["-k", "supervised and cpu and not narrow"]


def _files_with(pattern: str, word: str) -> tuple[str, ...]:
    """Test files, relative to the checkout, that contain a word; what the others import need not be installed."""
    found = sorted((ROOT / "tests").rglob(pattern))
    return tuple(path.relative_to(ROOT).as_posix() for path in found if word in path.read_text("utf-8"))


def _gpu_tests() -> tuple[str, ...]:
    return _files_with("test_*.py", "pytest.mark.gpu")


def _run_tests(piece: Piece, site: Site, seconds: float) -> None:
    code = run_module(["pytest", "-q", "-m", "gpu", *_gpu_tests()], seconds)
    book(piece, site, code, then="the next slice begins the tests again")


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
        code = run_module(command + (SMOKE_SELECTION if site.is_toy else []), max(1.0, deadline - time.monotonic()))
        if code != 0:
            book(piece, site, code, then="the next slice goes on with this file")
            return
        unfinished.replace(part)
    from ssgan_bench.reporting.benchmark_files import device_slug

    times = work / "all.json"
    contents = [json.loads(part.read_bytes()) for part in parts]
    together = contents[0] | {"benchmarks": [timed for content in contents for timed in content["benchmarks"]]}
    times.write_text(json.dumps(together), encoding="utf-8")
    device = device_slug(site.device_name)
    folder = site.reports / "benchmarks" / device
    command = ["ssgan_bench.report", "benchmarks", "--to", str(folder), str(times)]
    code = run_module(command, max(1.0, deadline - time.monotonic()))
    book(piece, site, code, then="the next slice writes the page")


def _run_study(piece: Piece, site: Site, seconds: float) -> None:
    work = site.work(piece)
    command = [
        "ssgan_bench.study",
        piece.study,
        "--preset",
        piece.preset,
        "--out",
        str(work),
        "--device",
        str(site.device),
    ]
    command += ["--data-dir", str(site.data_root)]
    if _is_fast(piece, site):
        command += ["--set", "train.cuda_graph=true"]
    if site.is_toy:
        settings = [f"{key}={value}" for key, value in SMOKE_SETTINGS.items()] + SMOKE_OWN_SETTINGS[piece.study]
        command += ["--dataset", "digits", "--seeds", "2", "--workers", "1"]
        command += [word for setting in settings for word in ("--set", setting)]
    code = run_module(command, seconds)
    if code == 0:
        from ssgan_bench.reporting.page import replace_folder

        report = work / "reports" / piece.study / piece.preset
        target = site.reports / piece.study / piece.preset
        replace_folder(target, lambda new: shutil.copytree(report, new, dirs_exist_ok=True), has_evidence=True)
    book(piece, site, code)


def _is_fast(piece: Piece, site: Site) -> bool:
    """Whether a study takes graphs: if the GPU tests, which show that both compute the same, have passed.

    They must have passed on this device when the study begins. It ends as it began: its runs have one configuration.
    """
    (tests,) = (piece for piece in pieces(()) if piece.name == GPU_TESTS)
    has_passed = site.is_made(tests) and site.made()[GPU_TESTS]["device"] == site.device_name
    choice = site.work(piece) / "steps.txt"
    if not choice.exists():
        choice.parent.mkdir(parents=True, exist_ok=True)
        choice.write_text("fast" if has_passed else "plain", encoding="utf-8")
    return choice.read_text(encoding="utf-8") == "fast"


def run_module(arguments: list[str], seconds: float) -> int | None:
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
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def book(piece: Piece, site: Site, code: int | None, then: str = "the next slice continues") -> None:
    """Note how a process ended: its exit code, None where its time was up; `then` says what the next slice does."""
    if code == 0:
        site.note(piece)
        print(f"{piece.name}: done", flush=True)
    elif code is None:
        print(f"{piece.name}: stopped, the slice is over; {then}", flush=True)
    else:
        site.failures[piece.name] = f"failed with exit code {code}"


def pieces(studies: tuple[tuple[str, str], ...] = STUDIES) -> list[Piece]:
    """List everything to be shown, in the order in which it is made."""
    return [
        Piece(GPU_TESTS, (*_gpu_tests(), "tests/tiny_runs.py"), _run_tests),
        Piece("benchmarks", ("tests/benchmarks",), _run_benchmarks),
        *(
            Piece(f"{study}-{preset}", (f"studies/{study}.toml",), _run_study, study, preset)
            for study, preset in studies
        ),
    ]
