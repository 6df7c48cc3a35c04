"""Write docs/results.md from results/: what reproductions and benchmarks last measured, failures included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEAD = """---
hide:
  - toc
---

# Results

Generated from `results/` by `python docs/generate_results.py`; a test holds this page to those files. A claim that does
not hold stays in the table with the reason; why a benchmark missed its aim stands [beside the
commands](how-to/reproduce.md#what-was-missed-and-why).
"""
CLAIMS, SPEEDS = "Reproductions", "Benchmarks"


def page(root: Path = ROOT) -> str:
    """Return the text of the page."""
    reproductions = sorted((root / "results/reproduce").glob("*.json"))
    benchmarks = sorted((root / "results/benchmarks").glob("*.json"))
    contents = {CLAIMS: reproductions, SPEEDS: benchmarks}
    parts = [HEAD, *(f"{what}: {_links(paths)}\n" for what, paths in contents.items() if paths)]
    if reproductions:
        parts.append(f"## {CLAIMS}\n")
    parts += [_reproduction(json.loads(path.read_text(encoding="utf-8"))) for path in reproductions]
    if benchmarks:
        parts.append(
            f"## {SPEEDS}\n\nOurs over the peer, above one is better for us; median, smallest and largest round.\n"
        )
    parts += [_benchmark(json.loads(path.read_text(encoding="utf-8"))) for path in benchmarks]
    return "\n".join(parts)


def _links(paths: list[Path]) -> str:
    return ", ".join(f"[{path.stem}](#{path.stem})" for path in paths)


def _reproduction(document: dict[str, Any]) -> str:
    lines = [
        f"### {document['system']}\n",
        "| claim | statement | value | 95 % interval | target | holds |",
        "|---|---|---|---|---|---|",
    ]
    for claim in document["claims"]:
        ends = claim.get("interval")
        interval = "" if not ends else f"{_number(ends[0])} to {_number(ends[1])}"
        holds = "yes" if claim["holds"] else f"**no**. {claim.get('why', '')}".strip()
        row = [claim["name"], claim["statement"], _number(claim["value"]), interval, str(claim["target"]), holds]
        lines.append(f"| {' | '.join(row)} |")
    metrics = list(
        dict.fromkeys(key for entry in document["table"] for key, value in entry.items() if isinstance(value, dict))
    )
    if metrics:
        lines += ["", f"| row | {' | '.join(metrics)} |", f"|{'---|' * (1 + len(metrics))}"]
        counts = [_seeds(entry, metrics) for entry in document["table"]]
        uneven = (
            len(set(counts) - {0}) > 1
        )  # means over other seeds are means over other worlds: compare claims, not rows
        for entry, count in zip(document["table"], counts, strict=True):
            cells = [_cell(entry.get(metric)) for metric in metrics]
            name = f"{entry['row']} ({count} seeds)" if uneven and count else entry["row"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if (ROOT / f"docs/pictures/{document['system']}.svg").is_file():
        lines += ["", f"![{document['system']}: accuracy against cost](pictures/{document['system']}.svg)"]
    seeds = ", ".join(map(str, document["seeds"]))
    lines.append(
        f"\nSeeds {seeds}; {document['seconds']:,.0f} s on {document['environment'].get('cores', '?')} cores.\n"
    )
    return "\n".join(lines)


def _seeds(entry: dict[str, Any], metrics: list[str]) -> int:
    told = [entry[metric].get("per_seed", []) for metric in metrics if isinstance(entry.get(metric), dict)]
    return max((len(values) for values in told), default=0)


def _benchmark(document: dict[str, Any]) -> str:
    lines = [f"### {document['name']}\n", "| what | ours | peer | ratio | target | met |", "|---|---|---|---|---|---|"]
    for row in document["rows"]:
        ratio = row.get("ratio")
        shown = "" if ratio is None else f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
        ours, peer = f"{row['ours']:,.4g} {row['unit']}", f"{row['peer']:,.4g} ({row['peer_name']})"
        met = {True: "yes", False: "**no**", None: ""}[row.get("met")]
        target = "" if row.get("target") is None else f"{row['target']:g}"
        lines.append(f"| {row['what']} | {ours} | {peer} | {shown} | {target} | {met} |")
    return "\n".join([*lines, f"\n{_machine(document['environment'])}\n"])


def _machine(environment: dict[str, Any]) -> str:
    packages = environment["packages"]
    software = ", ".join(
        [f"Python {environment['python']}", *(f"{name} {packages[name]}" for name in ("torch", "numpy"))]
    )
    return f"{environment['cpu']}, {environment['cores']} cores, threads: {environment['threads']}; {software}."


def _cell(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    ends = value.get("interval")
    interval = f" ({_number(ends[0])} to {_number(ends[1])})" if ends else ""
    return f"{_number(value.get('mean'))}{interval}"


def _number(value: float | None) -> str:
    """Return four decimals, or two digits of what is too small to be seen in four decimals."""
    if value is None:
        return ""
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value + 0.0:.4f}"
    return f"{value:,.4g}" if abs(value) >= 100 else f"{value:.2g}"


if __name__ == "__main__":
    for picture in sorted((ROOT / "results/reproduce").glob("*.svg")):
        shutil.copyfile(picture, ROOT / "docs/pictures" / picture.name)
    (ROOT / "docs/results.md").write_text(page(), encoding="utf-8")
