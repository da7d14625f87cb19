"""The result tables as LaTeX, for papers: `tables/*.tex`, to be input where booktabs and graphicx are loaded."""

import re

from ssgan_bench.reporting.document import Document, Table

NO_RESULTS = ("problems", "protocol", "configuration", "files")
"""Sections whose tables say how a study was run; the CSV of those is enough."""
SPECIAL = {  # a command's name would swallow a blank after it, so each ends in {}
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "\0": "{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "→": r"$\to$",
    "←": r"$\leftarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "…": r"\ldots{}",
}


def escape(text: str) -> str:
    """Escape text so that LaTeX sets it literally, on one line; control characters are dropped."""
    flat = "".join(c for c in " ".join(text.split()) if c.isprintable())
    # TeX makes one sign of two hyphens, quotes or commas.
    parted = re.sub(r"([-',])(?=\1)", "\\1\0", flat)
    escaped = "".join(SPECIAL.get(c, c) for c in parted)
    # After \\ a bracket would start an optional argument, and a star be one.
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def to_latex(table: Table, label: str, source: str) -> str:
    """Write a table as a `table` environment with booktabs rules; one wider than the line is shrunk to it.

    Args:
        table: texts; the columns after the first `left` are set to the right.
        label: its name in references, of letters, digits, `:`, `-` and `_` only.
        source: what the table is taken from, for a comment.
    """
    lines = [" & ".join(map(escape, line)) + r" \\" for line in (table.columns, *table.rows)]
    columns = "l" * table.left + "r" * (len(table.columns) - table.left)
    return "\n".join(
        [
            f"% {escape(source)}",
            r"% needs \usepackage{booktabs}, \usepackage{graphicx} and \usepackage[T1]{fontenc}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def latex_tables(document: Document) -> dict[str, Table]:
    """Find the tables that show results: path of the `.tex` file, relative to the report -> table.

    A file is called as the CSV with its numbers; where two tables show one CSV, the later ones are numbered.
    """
    found: dict[str, Table] = {}
    for section in document.sections:
        for block in section.blocks if section.anchor not in NO_RESULTS else ():
            if isinstance(block, Table) and block.csv and block.rows:
                stem = block.csv.removesuffix(".csv")
                names = (f"{stem}{f'_{i}' if i > 1 else ''}.tex" for i in range(1, 100))
                found[next(name for name in names if name not in found)] = block
    return found


def label_of(path: str, study: str) -> str:
    """Make a label of a study's name and a table's path, e.g. "tab:labeled_rate:main"."""
    stem = path.removeprefix("tables/").removesuffix(".tex")
    return f"tab:{re.sub(r'[^A-Za-z0-9_-]+', '-', study)}:{re.sub(r'[^A-Za-z0-9_-]+', '-', stem)}"
