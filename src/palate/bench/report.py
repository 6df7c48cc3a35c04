"""One self-contained HTML page: a decision in a sentence, and what it rests on. It opens without network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palate import __version__

__all__ = ["Figure", "Report", "Section", "Table"]


@dataclass(frozen=True)
class Table:
    """Rows under headings; the place of a chosen row is marked."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    chosen: int | None = None
    numeric_from: int = 1


@dataclass(frozen=True)
class Figure:
    """An inline SVG with the sentence that says what to see in it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading, sentences, and what shows them: tables, figures, commands."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    commands: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The page.

    Attributes:
        title: What was examined.
        decision: The outcome, in one sentence.
        sections: The rest, in reading order.
        facts: Small print: seeds, versions, times.
    """

    title: str
    decision: str
    sections: Sequence[Section] = field(default_factory=tuple)
    facts: Sequence[str] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return the page as one HTML text without outside references."""
        from jinja2 import Environment, PackageLoader

        environment = Environment(
            loader=PackageLoader("palate.bench", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        return environment.get_template("report.html").render(report=self, version=__version__)

    def write(self, path: str | Path) -> Path:
        """Write the page and return its path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.to_html(), encoding="utf-8")
        return target
