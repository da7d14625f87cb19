"""A report as Markdown, for reading where HTML is not rendered."""

import re

from ssgan_bench.reporting.document import (
    Block,
    Bullets,
    Document,
    Figures,
    Folded,
    Links,
    Samples,
    Table,
    Text,
)


def escape(text: str) -> str:
    """Escape text so that Markdown, and HTML inside it, shows it literally, on one line, also in a table."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", flat)


def _table(table: Table) -> str:
    rules = [":--" if i < table.left else "--:" for i in range(len(table.columns))]
    lines = [table.columns, tuple(rules), *table.rows]
    rows = ["| " + " | ".join(cell if line is lines[1] else escape(cell) for cell in line) + " |" for line in lines]
    link = f" [CSV]({table.csv})" if table.csv else ""
    return "\n".join([*rows, "", f"{escape(table.caption)}{link}"])


def _block(block: Block) -> str:
    match block:
        case Text():
            return escape(block.text)
        case Bullets():
            return "\n".join(f"- {escape(item)}" for item in block.items)
        case Links():
            return "\n".join(f"- [{href}]({href}): {escape(text)}" for href, text in block.links)
        case Table():
            return _table(block)
        case Folded():
            return f"**{escape(block.title)}**\n\n{_table(block.table)}"
        case Figures():
            images = [f"![{escape(panel.alt)}](figures/{panel.name}.png)" for panel in block.panels]
            return "\n".join([*images, "", f"{escape(block.caption)} [CSV]({block.csv})"])
        case Samples():
            last = block.grids[-1]
            return f"{escape(block.title)}, {escape(last.label)}:\n\n![{escape(block.title)}]({last.file})"


def to_markdown(document: Document) -> str:
    """Write the document as Markdown that ends in a newline."""
    head = [
        f"# {escape(document.title)}",
        escape(document.subtitle),
        f"**Question.** {escape(document.question)}",
    ]
    if document.expectation:
        head.append(f"**Expected before running.** {escape(document.expectation)}")
    first, *further = document.answer
    head += [f"**Answer.** **{escape(first)}**", *(escape(paragraph) for paragraph in further)]
    parts = list(head)
    for section in document.sections:
        parts.append(f"## {escape(section.title)}")
        parts.extend(_block(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"
