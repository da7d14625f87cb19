"""The pages in headless Chromium: no error, no sideways scrolling on a phone, all pictures there, tables that sort.

Skipped where there is no Chromium; `make test` installs Debian's where it may.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic import ARMS, LABELS, lost, make_plan, make_record, png, with_losses

from ssgan_bench.records.store import RecordStore
from ssgan_bench.report import main
from ssgan_bench.reporting import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (360, 600, 1280)
REFERENCE = Path(__file__).parents[2] / "reports" / "reference"
COMMITTED = [REFERENCE / "index.html", *sorted(REFERENCE.glob("*/*/index.html"))]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

# The page is shown in a frame of each width and looked at from outside: it stays as it is, its content policy included.
HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
const page = {page};
const widths = {widths};
const result = {{}};
const texts = (table, i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent.trim());
function sorting(doc) {{
  const found = [];
  for (const table of doc.querySelectorAll("table")) {{
    const buttons = [...table.querySelectorAll("thead button")];
    const before = texts(table, 0);
    const columns = buttons.map((button, i) => {{
      const orders = {{ head: button.textContent, before: texts(table, i) }};
      for (const state of ["ascending", "descending", "none"]) {{
        button.focus();
        if (doc.activeElement !== button) orders.unfocusable = true;
        button.click();
        if (button.closest("th").getAttribute("aria-sort") !== state) orders.wrong = state;
        orders[state] = texts(table, i);
      }}
      return orders;
    }});
    const restored = JSON.stringify(texts(table, 0)) === JSON.stringify(before);
    found.push({{ rows: before.length, columns, restored }});
  }}
  return found;
}}
function clipped(doc, width) {{
  // Text that reaches beyond the window, unless it stands in a box that scrolls by itself.
  return [...doc.querySelectorAll("h1, h2, p, li, figcaption, summary, img, span")]
    .filter((e) => !e.closest(".scroll"))
    .filter((e) => e.getBoundingClientRect().right > width + 0.5 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
    .map((e) => e.outerHTML.slice(0, 80));
}}
addEventListener("load", async () => {{
  for (const width of widths) {{
    const frame = document.createElement("iframe");
    frame.style = `width: ${{width}}px; height: 800px; border: 0`;
    frame.srcdoc = page;
    await new Promise((done) => {{ frame.onload = done; document.body.append(frame); }});
    const doc = frame.contentDocument;
    const images = [...doc.images];
    for (const details of doc.querySelectorAll("details")) details.open = true;
    result[width] = {{
      scrollWidth: doc.documentElement.scrollWidth,
      images: images.length,
      broken: images.filter((image) => !image.complete || image.naturalWidth === 0).length,
      clipped: clipped(doc, width),
      tables: width === widths[0] ? sorting(doc) : [],
    }};
    frame.remove();
  }}
  document.body.textContent = JSON.stringify(result);
  document.body.id = "done";
}});
</script>"""


def browse(page: Path, folder: Path) -> dict:
    """Look at a page in Chromium at every width.

    Returns:
        By width: scrollWidth, images, broken, clipped and tables; under "console" what the browser complained of.
    """
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    harness = folder / "harness.html"
    harness.write_text(HARNESS.format(page=text, widths=json.dumps(WIDTHS)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}/user"]
    flags += ["--window-size=1400,900", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *flags, harness.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    body = re.search(r'<body id="done">(.*)</body>', done.stdout, re.DOTALL)
    assert body, f"the page did not load: {done.stderr[-2000:]}"
    seen = json.loads(html.unescape(body[1]))
    return seen | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}


def looks_right(seen: dict) -> None:
    assert seen["console"] == []
    for width in WIDTHS:
        here = seen[str(width)]
        assert here["scrollWidth"] <= width
        assert here["clipped"] == []
        assert here["images"] > 0
        assert here["broken"] == 0


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A study of four arms with lost runs and samples, its overview, and its comparison with itself."""
    folder = tmp_path_factory.mktemp("browser")
    labels = [
        (name, f"{label} <i> & a_rather_long_unbroken_name_{i}" if i else label) for i, (name, label) in enumerate(ARMS)
    ]
    plan = make_plan(arms=labels, factors=(LABELS,))
    store = RecordStore(folder / "runs" / "label_budget" / "quick")
    store.write_plan(plan)
    for cell in plan.cells:
        gone = cell.arm == "ssgan_matching" and cell.levels["data.num_labels"] == 200
        changes = lost(status="failed", error="boom") if gone else with_losses(plan)(cell)
        if changes is not None:
            record = make_record(plan, cell, **changes)
            if cell.model_seed == 0 and cell.arm != plan.baseline:
                names = [store.write_sample(cell.cell_id, f"{30 * k:06d}", png(k)) for k in range(1, 9)]
                record = record.model_copy(update={"sample_files": tuple(names)})
            store.write_record(record)
    report = folder / "reports" / "label_budget" / "quick"
    write_report(store, report)
    assert main(["--all", "--out", str(folder)]) == 0
    assert main(["compare", str(report), str(store.folder), "--to", str(folder / "comparison")]) == 0
    return folder


@pytest.fixture(scope="module")
def seen(reports, tmp_path_factory):
    return browse(reports / "reports/label_budget/quick/index.html", tmp_path_factory.mktemp("look"))


def test_report_has_no_error_no_sideways_scrolling_and_all_pictures(seen):
    looks_right(seen)


@pytest.mark.parametrize("page", ["reports/index.html", "comparison/index.html"])
def test_overview_and_comparison_look_right_too(page, reports, tmp_path):
    looks_right(browse(reports / page, tmp_path))


@pytest.mark.parametrize("page", COMMITTED, ids=[f"{p.parent.parent.name}-{p.parent.name}" for p in COMMITTED])
def test_committed_report_looks_right(page, tmp_path):
    looks_right(browse(page, tmp_path))


def test_every_table_sorts_by_every_column_and_back(seen):
    tables = seen["360"]["tables"]
    assert len(tables) >= 6
    assert all(len(table["columns"]) > 1 for table in tables if table["rows"] > 1)
    for table in tables:
        assert table["restored"]
        for column in table["columns"]:
            assert "wrong" not in column
            assert "unfocusable" not in column
            assert column["none"] == column["before"]
            for order in ("ascending", "descending"):
                assert sorted(column[order]) == sorted(column["before"])


def test_numbers_sort_as_numbers_and_nothing_stays_at_the_end(seen):
    columns = [column for table in seen["360"]["tables"] for column in table["columns"]]
    levels = next(column for column in columns if column["head"] == "Labeled images")
    assert list(dict.fromkeys(levels["ascending"])) == ["10", "20", "50", "200"]
    difference = next(column for column in columns if column["head"] == "difference")

    def values(order: str) -> list[float]:
        return [float(text.split(" ")[0].replace("−", "-")) for text in difference[order] if text != "–"]

    assert values("ascending") == sorted(values("before"))
    assert values("descending") == sorted(values("before"), reverse=True)
    assert min(values("before")) < 0 < max(values("before"))
    assert difference["before"].count("–") == 1  # the condition in which all runs failed
    assert difference["ascending"][-1] == difference["descending"][-1] == "–"
