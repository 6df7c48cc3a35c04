"""``palate models``: what there is, what each needs, and its status."""

from __future__ import annotations

from palate.cli.output import finish

__all__ = ["models"]


def models(pattern: str = "*", *, kind: str | None = None, json: bool = False) -> None:
    """List components by name.

    Args:
        pattern: Shell-style pattern such as "qnn*".
        kind: Only this kind: ranker, next-item, calibrator, ...
        json: Print JSON.
    """
    from typing import cast, get_args

    from rich.table import Table

    from palate.errors import UnknownNameError
    from palate.registry import Kind, components

    kinds = get_args(Kind)
    if kind is not None and kind not in kinds:
        raise UnknownNameError.among("kind of component", kind, kinds)
    wanted = [cast("Kind", kind)] if kind else []
    found = components(pattern, *wanted)
    if not found:
        raise UnknownNameError.among("component", pattern, (each.name for each in components("*", *wanted)))
    rows = [
        {
            "name": component.name,
            "kind": component.kind,
            "status": component.status,
            "needs": f"palate[{component.extra}]" if component.extra else "",
            "source": component.source,
            "summary": component.summary,
        }
        for component in found
    ]
    table = Table("name", "kind", "status", "what it is", "source", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        status = row["status"] + (f", needs {row['needs']}" if row["needs"] else "")
        table.add_row(row["name"], row["kind"], status, row["summary"], row["source"])
    finish(rows, table, machine=json)
