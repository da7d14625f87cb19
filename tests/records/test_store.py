"""A record is whole or absent, whatever happens while it is written."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssgan_bench.config import ConfigError, digest
from ssgan_bench.records.schema import ArmInfo, Cell, FactorInfo, Misclassified, RunRecord, StudyPlan
from ssgan_bench.records.store import RecordStore, write_atomically

CELL = Cell(arm="a", levels={"x.y": 1}, split_seed=0, model_seed=0, config={"n": 1}, cell_id="0123456789abcdef")
RECORD = RunRecord(
    protocol_version="1.0",
    study="s",
    preset="quick",
    cell=CELL,
    config_digest="d",
    status="complete",
    metrics={"error_rate": 0.1 + 0.2},
    started_at="2025-01-01T00:00:00+00:00",
)
PLAN = StudyPlan(
    protocol_version="1.0",
    study="s",
    preset="quick",
    question="Q?",
    expectation="E.",
    metric="error_rate",
    baseline="a",
    arms=(ArmInfo(name="a", label="A"),),
    factors=(FactorInfo(key="x.y", label="X", levels=(1, 2.5, "z", True)),),
    family=(1,),
    seeds=(0,),
    cells=(CELL,),
)


def with_another_digest(content: bytes) -> bytes:
    """What somebody does who changes a record and knows of its digest."""
    fields = json.loads(content)
    del fields["content_sha256"]
    return json.dumps(fields | {"content_sha256": digest(fields)}).encode()


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path / "run")


def record_path(store: RecordStore) -> Path:
    return store.folder / "records" / f"{CELL.cell_id}.json"


def test_what_is_written_is_read_back_exactly(store: RecordStore) -> None:
    assert store.plan() is None
    assert store.record(CELL.cell_id) is None
    assert store.records() == []
    store.write_plan(PLAN)
    store.write_record(RECORD)
    assert store.plan() == PLAN
    assert store.record(CELL.cell_id) == RECORD
    assert store.records() == [RECORD]
    assert store.damaged() == {}


@pytest.mark.parametrize(
    "damage",
    [
        *("empty", "truncated", "garbage", "binary", "another cell's", "newer version"),
        *("without digest", "a changed digit", "a further field"),
    ],
)
def test_a_damaged_record_counts_as_absent_and_is_named(store: RecordStore, damage: str) -> None:
    store.write_record(RECORD)
    path = record_path(store)
    good = path.read_bytes()
    content = {
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "garbage": b"{}",
        "binary": os.urandom(500),
        "another cell's": good.replace(CELL.cell_id.encode(), b"f" * 16),
        "newer version": with_another_digest(good.replace(b'"schema_version": 3', b'"schema_version": 4')),
        "without digest": re.sub(rb',\n "content_sha256": "[0-9a-f]*"', b"", good),
        "a changed digit": good.replace(b"0.30000000000000004", b"0.20000000000000004"),
        "a further field": good.replace(b"{\n", b'{\n "note": "better than it looks",\n', 1),
    }[damage]
    assert content != good
    path.write_bytes(content)
    assert store.record(CELL.cell_id) is None
    assert store.records() == []
    assert store.damaged().keys() == {path.name}
    (line,) = store.damaged().values()
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    store.write_record(RECORD)
    assert store.records() == [RECORD]


def test_how_a_record_is_formatted_is_no_part_of_its_content(store: RecordStore) -> None:
    store.write_record(RECORD)
    path = record_path(store)
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=4, sort_keys=True))
    assert store.records() == [RECORD]


def test_a_record_has_a_line_for_each_field_however_many_images_were_misclassified(store: RecordStore) -> None:
    many = tuple(range(1000))
    wrong = Misclassified(index=many, predicted=(1,) * 1000, confidence=(0.5,) * 1000)
    store.write_record(
        RECORD.model_copy(update={"confusion": ((0, 1000), (0, 0)), "misclassified": wrong, "metrics": {}})
    )
    text = record_path(store).read_text()
    assert len(text.splitlines()) < 40
    assert len(text) < 20_000


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xff", b"[1]"])
def test_a_damaged_plan_is_refused_in_one_line_and_kept(store: RecordStore, content: bytes) -> None:
    store.write_plan(PLAN)
    path = store.folder / "plan.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"plan\.json: not a readable study plan") as caught:
        store.plan()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """The process may write files of 4 KiB; the second write is larger, as on a full disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from ssgan_bench.records.store import write_atomically\n"
        "path = Path(sys.argv[1]) / 'x.json'\n"
        "write_atomically(path, b'old')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_atomically(path, bytes(100_000))\n"
        "except OSError as error:\n    print(error.errno, error.filename)\n"
    )
    output = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert output.stdout == f"27 {tmp_path / 'x.json'}\n"  # EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_bytes() == b"old"


def test_a_kill_while_writing_leaves_whole_files(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ssgan_bench.records.store import write_atomically\n"
        "print('ready', flush=True)\n"
        "for number in range(10**9):\n"
        "    write_atomically(Path(sys.argv[1]) / f'{number % 3}.json', bytes([65 + number % 26]) * 200_000)\n"
    )
    for _ in range(3):
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while not list(tmp_path.glob("[!.]*.json")):
                time.sleep(0.01)
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        contents = [path.read_bytes() for path in tmp_path.glob("[!.]*.json")]
        assert contents
        assert all(len(content) == 200_000 and len(set(content)) == 1 for content in contents)


def test_files_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_atomically(tmp_path / "x", b"")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_samples_are_stored_below_the_folder(store: RecordStore) -> None:
    relative = store.write_sample(CELL.cell_id, "0000012", b"png")
    assert relative == f"samples/{CELL.cell_id}/0000012.png"
    assert (store.folder / relative).read_bytes() == b"png"


def test_what_killed_processes_had_begun_to_write_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write_failure(CELL.cell_id, "Traceback")
    places = ("plan.json", "records/x.json", "samples/x/1.png", "failures/x.txt", "reference/x.pt", "checkpoints/x.pt")
    for place in places:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.123.part").write_bytes(b"half")
    store.discard_partial_files()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{CELL.cell_id}.txt"]
