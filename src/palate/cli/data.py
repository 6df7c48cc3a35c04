"""``palate data``: list, import, check and show data sets."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from palate.cli.log_options import LogOptions
from palate.cli.output import finish, parse_settings

__all__ = ["app", "check", "import_", "list_", "show"]

app = App(
    name="data",
    help="List, import, check and show data sets.",
    help_format="plaintext",
    result_action="return_value",
)

_NO_OPTIONS = LogOptions()


@app.command(name="list")
def list_(*, json: bool = False) -> None:
    """List the data sets that come with Palate, and the file formats it reads.

    Args:
        json: Print JSON.
    """
    from rich.console import Group
    from rich.table import Table

    from palate.data.opening import shipped
    from palate.data.readers.contract import readers

    sets = Table("shipped data", "what it is", "terms", box=None, padding=(0, 2, 0, 0))
    for entry in shipped():
        sets.add_row(entry.name, entry.summary, entry.licence)
    formats = Table("format", "what it is", box=None, padding=(0, 2, 0, 0))
    known = [(reader.name, (reader.__doc__ or "").strip().split("\n")[0]) for reader in readers()]
    for name, line in known:
        formats.add_row(name, line)
    document = {
        "shipped": [{"name": e.name, "summary": e.summary, "licence": e.licence} for e in shipped()],
        "formats": dict(known),
    }
    finish(document, Group(sets, "", formats), machine=json)


@app.command(name="import")
def import_(
    sources: tuple[Path, ...],
    *,
    to: Path,
    name: str | None = None,
    fact: tuple[str, ...] = (),
    log: LogOptions = _NO_OPTIONS,
    json: bool = False,
) -> None:
    """Check files row by row and write them as a data set folder, in bounded memory.

    Args:
        sources: The log: a file, a folder, or files with the same columns.
        to: Folder to write.
        name: Name of the data set; by default after the folder.
        fact: What users of the data must know, such as licence=CC0; may be repeated.
        log: Which column is what.
        json: Print JSON.
    """
    from palate.data.importing import import_files

    facts = {key: str(value) for key, value in parse_settings(fact).items()}
    source = sources[0] if len(sources) == 1 else list(sources)
    report = import_files(source, to, name=name, facts=facts, **log.given())
    finish(report.to_dict(), str(report), machine=json)


@app.command
def check(data: str, *, log: LogOptions = _NO_OPTIONS, json: bool = False) -> None:
    """Tell all problems of a data set; exit code 3 when there is one.

    Args:
        data: Name of a shipped data set, a saved folder, or a file.
        log: Which column is what.
        json: Print JSON.
    """
    from palate.data.checks import check_dataset
    from palate.errors import DataError

    dataset = log.open(data)
    problems = check_dataset(dataset)
    if problems:
        raise DataError(f'"{dataset.name}" has {len(problems):,} problems.', problems=problems)
    finish({"name": dataset.name, "problems": []}, f"{dataset.name}: {len(dataset):,} rows, no problems.", machine=json)


@app.command
def show(data: str, *, log: LogOptions = _NO_OPTIONS, json: bool = False) -> None:
    """Show counts, span, density and tail of a data set.

    Args:
        data: Name of a shipped data set, a saved folder, or a file.
        log: Which column is what.
        json: Print JSON.
    """
    summary = log.open(data).summary()
    finish(summary.to_dict(), summary, machine=json)
