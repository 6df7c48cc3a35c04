"""What the demo shows: tables for the terminal and one page, both from the same result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palate import __version__
from palate.bench.calibration_page import field_section, measured_table, reliability_figure, worse_words
from palate.bench.pictures import Bar, interval_picture, long_tail_picture
from palate.bench.report import Figure, Report, Section, Table

if TYPE_CHECKING:
    from palate.bench.demo import DemoResult
    from palate.card import MetricFacts

__all__ = ["demo_report", "example_rows", "leaderboard"]

_RANK_METRICS = ("auc", "gauc", "log_loss")
_NEXT_METRICS = ("recall@10", "ndcg@10", "coverage@10")


def demo_report(result: DemoResult) -> Report:
    """Return the page of a finished demo."""
    sections = [_data_section(result), _rank_section(result), _calibration_section(result)]
    if result.judged is not None:
        sections += [field_section(result.judged, name) for name in result.judged.fields]
    if result.next_item is not None:
        sections += [_next_item_section(result), _example_section(result)]
    sections.append(_serve_section(result))
    config = result.config
    facts = (
        f"Seed {config.seed}. Rankers: {len(config.embedding_l2)} regularisations each, at most {config.epochs} "
        f"passes; next-item models: at most {config.next_item_epochs} passes.",
        f"Whole run: {result.seconds:.0f} s. Palate {__version__}.",
        f"Data: {result.dataset.facts.get('licence', 'terms not stated')}.",
    )
    return Report(f"Palate on {result.dataset.name}", result.decision, tuple(s for s in sections if s), facts)


def leaderboard(recommenders: Sequence[Any], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: validation first (it chose), then the test with intervals, then the cost."""
    first = metrics[0]
    headings = ["model", f"{first}\nvalidation", *(f"{name}\ntest" for name in metrics)]
    headings += ["training", "request", "parameters", "MB"]
    rows = []
    for recommender in recommenders:
        card = recommender.card
        cost = card.cost
        request = "" if cost.request_milliseconds is None else f"{cost.request_milliseconds:.1f} ms"
        rows.append(
            [
                card.model,
                _value(card.metric(first, "validation")),
                *(_with_interval(card.metric(name)) for name in metrics),
                f"{cost.training_seconds:.1f} s",
                request,
                f"{cost.parameters:,}",
                f"{cost.megabytes:.2f}",
            ]
        )
    return headings, rows


def example_rows(result: DemoResult) -> list[list[str]]:
    """Return the ten recommendations: rank, title, score and, from the ranker, the chance that it is liked."""
    rows = []
    for item in result.examples or ():
        chance = liking(result, item.item)
        rows.append([str(item.rank), item.title or str(item.item), f"{item.score:.3f}", chance])
    return rows


def liking(result: DemoResult, item: Any) -> str:
    """Return the calibrated chance that the example user likes ``item``, or nothing without a calibrated ranker."""
    ranker = result.ranker
    if ranker is None or ranker.calibrator is None:
        return ""
    columns = ranker.encoder.columns
    scored = ranker.score([{str(columns.user): result.user, str(columns.item): item}])
    return "" if scored.probabilities is None else f"{scored.probabilities[0]:.0%}"


def rank_board(result: DemoResult) -> tuple[list[str], list[list[str]]]:
    """Return the leaderboard of the rankers."""
    return leaderboard([trial.recommender for trial in result.trials], _rank_metrics(result))


def next_item_board(result: DemoResult) -> tuple[list[str], list[list[str]]]:
    """Return the leaderboard of the next-item models."""
    return leaderboard(result.next_items, _NEXT_METRICS)


def _rank_metrics(result: DemoResult) -> list[str]:
    known = {metric.name for metric in result.trials[0].recommender.card.metrics}
    return [name for name in _RANK_METRICS if name in known]


def _data_section(result: DemoResult) -> Section:
    table = Table(["", ""], [list(line) for line in result.summary.lines()], numeric_from=2)
    figures = []
    if result.next_item is not None:
        items = result.next_item.users.log.items
        import numpy as np

        counts = np.bincount(items, minlength=result.next_item.catalogue.num_items + 1)[1:]
        picture = long_tail_picture(counts[counts > 0].tolist(), title="share of interactions by popularity")
        figures.append(Figure(picture, "Share of all interactions held by the most popular items that were met."))
    return Section("The log", ["Checked: no problems were found."], [table], figures)


def _rank_section(result: DemoResult) -> Section:
    recommenders = [trial.recommender for trial in result.trials]
    headings, rows = rank_board(result)
    split = recommenders[0].card.data
    notes = [
        "Chosen by AUC on the validation part; the test part was read once, for this page.",
        "95 % intervals are over users.",
        *(
            f"{t.recommender.card.model}: embedding_l2 {t.embedding_l2:g} was best on validation."
            for t in result.trials
        ),
    ]
    question = "Will this user take this item?"
    if result.dataset.schema.label is not None:
        question = f"Will this user like this item ({result.dataset.schema.label})?"
    return Section(
        question,
        [
            f"Split by {split.split}: {split.train:,} rows train, {split.validation:,} choose, {split.test:,} judge. "
            "Each model was tuned with the same budget."
        ],
        [Table(headings, rows, chosen=0)],
        [Figure(_intervals(recommenders, "auc"), "AUC on the test part with 95 % intervals.")],
        notes=notes,
    )


def _calibration_section(result: DemoResult) -> Section:
    assert result.ranker is not None
    assert result.calibrator is not None
    assert result.judged is not None
    facts = result.ranker.card.calibration
    choice = result.calibrator
    tried = [[name, f"{loss:.4f}"] for name, loss in sorted(choice.log_losses.items(), key=lambda pair: pair[1])]
    place = [row[0] for row in tried].index(choice.label)
    tables = [Table(["method", "log loss, cross-fitted on validation"], tried, chosen=place)]
    if facts is not None:
        tables.append(measured_table(facts))
    words = f"{choice.label} was fitted on the validation part."
    if choice.method == "none":
        words = "No method lowered the cross-fitted log loss: the scores are shipped as they are, not called chances."
    reading = (
        "On the diagonal, of the rows that get 30 %, 30 % are positive. PCOC is mean prediction over mean outcome."
    )
    verdict = [worse_words(facts)] if facts is not None and facts.worse else []
    return Section(
        "What a score means as a chance", [words, reading, *verdict], tables, [reliability_figure(result.judged)]
    )


def _next_item_section(result: DemoResult) -> Section:
    headings, rows = next_item_board(result)
    assert result.next_item is not None
    items = result.next_item.catalogue.num_items
    return Section(
        "What next?",
        [f"Each user's last item is ranked among all {items:,} items, those already taken left out."],
        [Table(headings, rows, chosen=0)],
        [Figure(_intervals(result.next_items, "recall@10"), "Recall@10 on the test part with 95 % intervals.")],
        notes=["Chosen by NDCG@10 on the last item but one; the last item was read once, for this page."],
    )


def _example_section(result: DemoResult) -> Section:
    assert result.next_item is not None
    rows = example_rows(result)
    with_chance = any(row[3] for row in rows)
    headings = ["rank", "title", "score", *(["chance of a like"] if with_chance else [])]
    rows = rows if with_chance else [row[:3] for row in rows]
    chance = " The chance is the calibrated ranker's." if with_chance else ""
    return Section(
        f"Ten recommendations for user {result.user}",
        [f"The user with the median history; taken last: {'; '.join(result.taken)}.{chance}"],
        [Table(headings, rows, numeric_from=2)],
    )


def _serve_section(result: DemoResult) -> Section:
    commands = [f"palate serve {folder}" for folder in result.folders.values()]
    return Section("Serve it", ["Each folder carries its card (CARD.md)."], commands=commands)


def _intervals(recommenders: Sequence[Any], metric: str) -> str:
    found = [(r.card.model, r.card.metric(metric)) for r in recommenders]
    bars = [
        Bar(name, m.value, m.low, m.high, chosen=place == 0)
        for place, (name, m) in enumerate(found)
        if m is not None and m.value is not None and m.low is not None and m.high is not None
    ]
    return interval_picture(bars, title=metric)


def _value(metric: MetricFacts | None) -> str:
    return "" if metric is None or metric.value is None else f"{metric.value:.4f}"


def _with_interval(metric: MetricFacts | None) -> str:
    if metric is None or metric.value is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f}\n{metric.low:.3f} to {metric.high:.3f}"
