"""The parts a report is made of, before they become HTML or Markdown. All text is plain and unescaped."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Links:
    """A list of files of the report."""

    kind: ClassVar[str] = "links"
    links: tuple[tuple[str, str], ...]
    """(path relative to the report, what it is)."""


@dataclass(frozen=True)
class Table:
    """A rendered table; the first `left` columns are text, the others numbers and set to the right."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    csv: str | None = None
    """Path of the underlying numbers, relative to the report."""
    left: int = 1


@dataclass(frozen=True)
class Figure:
    """One panel, drawn to `figures/<name>.svg` and `.png`."""

    name: str
    alt: str
    """What the picture shows, for readers who do not see it."""


@dataclass(frozen=True)
class Figures:
    """Panels that share a caption and the numbers that they show."""

    kind: ClassVar[str] = "figures"
    panels: tuple[Figure, ...]
    caption: str
    csv: str


@dataclass(frozen=True)
class Sample:
    """One grid of generated images."""

    file: str
    """Path relative to the report."""
    label: str


@dataclass(frozen=True)
class Samples:
    """The sample grids of one arm, oldest first; the last one is shown large."""

    kind: ClassVar[str] = "samples"
    title: str
    grids: tuple[Sample, ...]


@dataclass(frozen=True)
class Folded:
    """A table behind a heading that opens it."""

    kind: ClassVar[str] = "folded"
    title: str
    table: Table


Block = Text | Bullets | Links | Table | Figures | Samples | Folded


@dataclass(frozen=True)
class Section:
    """A headed part of the report."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    question: str
    expectation: str
    answer: tuple[str, ...]
    """Paragraphs; the first can stand alone."""
    sections: tuple[Section, ...]
