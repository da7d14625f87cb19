"""LaTeX tables: every text is shown literally, and which tables a paper gets."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssgan_bench.reporting.document import Document, Folded, Section, Table, Text
from ssgan_bench.reporting.latex import SPECIAL, escape, label_of, latex_tables, to_latex

TYPESET = {replacement: character for character, replacement in SPECIAL.items() if character != "\0"}


def typeset(source: str) -> str:
    """What LaTeX would print of escaped text: the only commands it may hold are those of `SPECIAL`."""
    shown, i = "", 0
    by_length = sorted(TYPESET, key=len, reverse=True)
    while i < len(source):
        known = next((command for command in by_length if source.startswith(command, i)), None)
        if known is not None:
            shown, i = shown + TYPESET[known], i + len(known)
        elif source.startswith("{}", i):
            i += 2
        else:
            assert source[i] not in "\\{}$&#%_~^<>|", f"bare {source[i]!r} in {source!r}"
            shown, i = shown + source[i], i + 1
    return shown


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs", "Cf", "Cn", "Co")) | st.just(" ")))
def test_escaped_text_is_set_literally_on_one_line(text):
    expected = " ".join(text.split())
    # En and em dashes are made of hyphens in TeX; a run of them may be cut in another place.
    assert re.sub("[–—]", "", typeset(escape(text))) == re.sub("[–—]", "", expected)


@pytest.mark.parametrize("text", ["--", "''", ",,", "a -- b", "---"])
def test_doubled_signs_are_not_joined_to_another_sign(text):
    assert not re.search(r"--|''|,,", escape(text))
    assert escape(text).replace("{}", "") == text


@pytest.mark.parametrize("text", ["[0.1, 0.2]", "*"])
def test_cell_that_starts_like_an_option_is_none(text):
    # `\\ [0.1` would be read as a line skip.
    assert escape(text) == "{}" + text


def test_line_breaks_and_control_characters_do_not_end_a_comment():
    table = Table(("arm", "value"), (("a\n\\input{x}", "1"),), "Caption\nof two lines", "tables/main.csv")
    source = to_latex(table, "tab:x", "study\n\\input{secret}")
    assert source.splitlines()[0] == r"% study \textbackslash{}input\{secret\}"
    assert r"\input" not in source
    assert r"\caption{Caption of two lines}" in source


def test_table_has_booktabs_rules_caption_label_and_a_row_per_row():
    table = Table(("arm", "Labels = 20"), (("A & B", "12.3 [1, 2]"), ("C", "−4 %")), "Test error (%).", None)
    source = to_latex(table, label_of("tables/main.tex", "my study"), "my study").splitlines()
    assert source[2:] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Test error (\%).}",
        r"\label{tab:my-study:main}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"arm & Labels = 20 \\",
        r"\midrule",
        r"A \& B & 12.3 [1, 2] \\",
        r"C & $-$4 \% \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_tables_are_typeset_within_the_line(tmp_path):
    specials = "".join(character for character in SPECIAL if character != "\0")
    narrow = Table(("arm", "x"), ((specials, "1"), ("[a", "*")), f"Narrow: {specials}", None)
    wide = Table(tuple(f"column {i}" for i in range(12)), (("12.3 [11.1, 13.5]",) * 12,), "Wide.", None)
    tables = [to_latex(table, label, "test") for table, label in ((narrow, "tab:a"), (wide, "tab:b_c"))]
    packages = r"\usepackage{booktabs}\usepackage{graphicx}\usepackage[T1]{fontenc}"
    (tmp_path / "paper.tex").write_text(
        "\n".join([r"\documentclass{article}", packages, r"\begin{document}", *tables, r"\end{document}"])
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout
    assert "Overfull" not in result.stdout


def test_result_tables_are_written_and_those_about_the_set_up_are_not():
    def table(csv, rows=(("a",),)):
        return Table(("x",), rows, "caption", csv)

    main, second = table("tables/main.csv"), table("tables/main.csv")
    sections = (
        Section("results", "Results", (Text("t"), main, second, table(None))),
        Section("new", "New", (table("tables/new.csv"), table("tables/none.csv", ()))),
        Section("configuration", "C", (table("tables/config.csv"), Folded("f", table("tables/config.csv")))),
        Section("problems", "P", (table("tables/problems.csv"),)),
    )
    found = latex_tables(Document("t", "s", "q", "", ("a",), sections))
    assert list(found) == ["tables/main.tex", "tables/main_2.tex", "tables/new.tex"]
    assert found["tables/main.tex"] is main
    assert found["tables/main_2.tex"] is second
