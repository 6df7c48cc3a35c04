"""``palate reproduce``: check the claims of a published system at a reduced size."""

from __future__ import annotations

from pathlib import Path

from palate.cli.output import finish, progress

__all__ = ["reproduce"]


def reproduce(
    name: str | None = None,
    *,
    list: bool = False,
    out: Path = Path("results/reproduce"),
    smoke: bool = False,
    workers: int = 1,
    json: bool = False,
) -> None:
    """Run a system's reduced setting over its seeds and write its claims; an interrupted run goes on where it stopped.

    Args:
        name: A system of `palate reproduce --list`.
        list: List the systems.
        out: Folder of the results; finished cells are kept there.
        smoke: A size of seconds that only shows that everything runs; its claims mean nothing.
        workers: Processes of one thread each.
        json: Print JSON.
    """
    from rich.table import Table

    from palate.errors import ConfigError
    from palate.reproduce import run, systems

    if list or name is None:
        if not list:
            raise ConfigError("No system was named.", remedy="See palate reproduce --list")
        table = Table("name", "what is checked", box=None, padding=(0, 2, 0, 0))
        for system, line in systems().items():
            table.add_row(system, line)
        finish(systems(), table, machine=json)
        return
    with progress(machine=json) as shown:
        result = run(name, out, smoke=smoke, workers=workers, progress=shown)
    table = Table("claim", "value", "95 % interval", "target", "holds", box=None, padding=(0, 2, 0, 0))
    for claim in result["claims"]:
        ends = claim.get("interval")
        interval = "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
        value = "" if claim["value"] is None else f"{claim['value']:.4f}"
        table.add_row(claim["name"], value, interval, str(claim["target"]), "yes" if claim["holds"] else "no")
    finish(result, table, f"\nWrote {out / (name + '.json')}.", machine=json)
