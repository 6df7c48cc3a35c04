from __future__ import annotations

import pytest

from palate.errors import ConfigError, UnknownNameError
from palate.evaluate.names import Metric, parse_metric, parse_metrics


def test_reads_names_as_people_write_them() -> None:
    assert parse_metric("ndcg@10") == Metric("ndcg", 10, "ranking")
    assert parse_metric(" Recall@5 ") == Metric("recall", 5, "ranking")
    assert parse_metric("mrr") == Metric("mrr", None, "ranking")
    assert parse_metric("log_loss") == Metric("log_loss", None, "rows")
    assert str(parse_metric("HR@20")) == "hr@20"
    assert parse_metric(Metric("hr", 3, "ranking")) == Metric("hr", 3, "ranking")
    assert parse_metrics(["hr@5", "auc", "HR@5"]) == (Metric("hr", 5, "ranking"), Metric("auc", None, "rows"))
    assert parse_metrics("auc") == (Metric("auc", None, "rows"),)


def test_says_which_direction_is_better() -> None:
    better = {name: parse_metric(name).higher_is_better for name in ("auc", "log_loss", "ece", "ndcg@10", "f1")}
    assert better == {"auc": True, "log_loss": False, "ece": False, "ndcg@10": True, "f1": True}


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("ndgc@10", UnknownNameError, 'Did you mean "ndcg"'),
        ("logloss", UnknownNameError, 'Did you mean "log_loss"'),
        ("novelty@10", UnknownNameError, "Known:"),
        ("recall", ConfigError, 'for example, "recall@10"'),
        ("recall@", ConfigError, "whole number"),
        ("recall@0", ConfigError, "whole number"),
        ("recall@-5", ConfigError, "whole number"),
        ("recall@1.5", ConfigError, "whole number"),
        ("auc@10", ConfigError, "no cut-off"),
    ],
)
def test_typos_are_answered(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_metric(text)


def test_a_family_excludes_the_other() -> None:
    with pytest.raises(UnknownNameError, match="ranking metric"):
        parse_metric("auc", "ranking")
    with pytest.raises(UnknownNameError, match="metric of rows"):
        parse_metric("ndcg@10", "rows")
    with pytest.raises(ConfigError, match="No metric"):
        parse_metrics([])
