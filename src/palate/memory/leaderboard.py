"""The report over results: accuracy by question type and noise level, recall against accuracy, time and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palate.evaluate.significance import holm, permutation_test
from palate.memory.judging import Result, same_terms
from palate.memory.long_judging import growth
from palate.memory.trajectory import QUESTION_TYPES

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["growth_table", "leaderboard", "leaderboard_table"]


def leaderboard(results: Sequence[Result]) -> dict[str, Any]:
    """Return a leaderboard per noise level, best accuracy first, each compared with the best by a paired test.

    Raises:
        ConfigError: If results of one level were reached under different terms (questions, reader, model, prompt, k).
    """
    levels = []
    for noise in sorted({result.noise for result in results}):
        of_level = [result for result in results if result.noise == noise]
        same_terms(of_level)
        ranked = sorted(of_level, key=lambda result: -result.accuracy)
        best = ranked[0].column("correct")
        tests = [permutation_test(best, result.column("correct"), resamples=2000).p_value for result in ranked[1:]]
        corrected = holm(tests).tolist() if tests else []
        rows = [result.summary() for result in ranked]
        for row, p_value in zip(rows, [None, *corrected], strict=True):
            row["p_value against the best"] = p_value
        for row, result in zip(rows, ranked, strict=True):
            if any(outcome.age for outcome in result.outcomes):
                row["growth"] = growth(result.outcomes)
        levels.append({"noise": noise, "terms": ranked[0].terms(), "rows": rows})
    return {"levels": levels}


def leaderboard_table(level: dict[str, Any]) -> Table:
    """Return one level as a table for a person."""
    from rich.table import Table

    rows, k = level["rows"], level["terms"]["k"]
    known = [type for type in rows[0]["by type"] if type != "all"]
    types = sorted(
        known, key=lambda type: QUESTION_TYPES.index(type) if type in QUESTION_TYPES else len(QUESTION_TYPES)
    )
    title = f"{level['noise']} noise messages per message, reader {level['terms']['reader']}"
    table = Table("memory", "accuracy", "95 % interval", *types, title=title, box=None, padding=(0, 1, 0, 0))
    for name in (f"recall@{k}", "add µs", "recall ms", "characters read", "failed", "unparsed", "abstained"):
        table.add_column(name, justify="right")
    for row in rows:
        whole = row["by type"]["all"]
        table.add_row(
            row["retriever"],
            f"{whole['accuracy']:.3f}",
            f"{whole['interval'][0]:.3f} to {whole['interval'][1]:.3f}",
            *(f"{row['by type'][type]['accuracy']:.2f}" for type in types),
            "" if whole[f"recall@{k}"] is None else f"{whole[f'recall@{k}']:.3f}",
            f"{1e6 * row['add_seconds']:.0f}",
            f"{1e3 * row['recall_seconds']:.2f}",
            f"{row['prompt_length']:,.0f}",
            *(str(row[name]) for name in ("failed", "unparsed", "abstained")),
        )
    return table


def growth_table(level: dict[str, Any]) -> Table:
    """Return how each memory fared while it grew, for results of a long life."""
    from rich.table import Table

    title = "while the memory grew"
    table = Table("memory", "messages", "questions", "accuracy", title=title, box=None, padding=(0, 1, 0, 0))
    for name in ("recall", "median age", "add µs", "recall ms"):
        table.add_column(name, justify="right")
    for row in level["rows"]:
        for part in row.get("growth", ()):
            table.add_row(
                row["retriever"],
                f"{part['messages']:,}",
                str(part["questions"]),
                f"{part['accuracy']:.3f}",
                "" if part["recall"] is None else f"{part['recall']:.3f}",
                "" if part["median age"] is None else f"{part['median age']:,.0f}",
                f"{1e6 * part['add_seconds']:.0f}",
                f"{1e3 * part['recall_seconds']:.2f}",
            )
    return table
