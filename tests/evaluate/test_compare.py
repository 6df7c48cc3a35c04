from __future__ import annotations

import json
import math

import numpy as np
import pytest

from palate.errors import ConfigError, DataError, UnknownNameError
from palate.evaluate.compare import compare
from palate.evaluate.significance import holm, permutation_test

RNG = np.random.default_rng(0)
BASE = RNG.random(400)
VALUES = {
    "old": BASE,
    "same": BASE + RNG.normal(0, 0.05, 400),
    "good": BASE + 0.1 + RNG.normal(0, 0.05, 400),
    "bad": BASE * 0.5,
}


def test_table_holds_differences_tests_and_marks() -> None:
    table = compare(VALUES, baseline="old", metric="ndcg@10", resamples=2000)
    assert [row.name for row in table] == ["same", "good", "bad"]
    assert {row.name: row.mark for row in table} == {"same": "unclear", "good": "better", "bad": "worse"}
    for row in table:
        assert row.value == pytest.approx(VALUES[row.name].mean())
        assert row.difference == pytest.approx(row.value - BASE.mean())
        assert row.relative == pytest.approx(row.difference / BASE.mean())
        assert row.difference in row.interval
        assert row.wins + row.losses <= table.count == 400
        assert row.p_value == permutation_test(VALUES[row.name], BASE, resamples=2000).p_value
    assert [row.p_adjusted for row in table] == holm([row.p_value for row in table]).tolist()
    assert table["bad"].wins == 0


def test_lower_can_be_better() -> None:
    table = compare(VALUES, baseline="old", metric="log_loss", higher_is_better=False, resamples=500)
    assert {row.name: row.mark for row in table} == {"same": "unclear", "good": "worse", "bad": "better"}
    assert table["bad"].losses == 0


def test_holm_spares_from_chance_among_many() -> None:
    rng = np.random.default_rng(1)
    noise = {f"m{number}": rng.normal(size=60) for number in range(30)}
    table = compare(noise, resamples=1000)
    assert table.baseline == "m0"
    assert min(row.p_value for row in table) < 0.05
    assert all(row.mark == "unclear" for row in table)


@pytest.mark.parametrize("test", ["permutation", "bootstrap", "wilcoxon", "t"])
def test_every_test_can_be_chosen(test: str) -> None:
    table = compare(VALUES, baseline="old", test=test, resamples=500)  # type: ignore[arg-type]
    assert table["good"].mark == "better"
    assert table["bad"].mark == "worse"
    assert table["same"].difference in table["same"].interval


def test_only_units_that_all_have_are_compared() -> None:
    values = {"old": [0.1, math.nan, 0.3, 0.2], "new": [0.2, 0.9, 0.5, math.nan]}
    table = compare(values)
    assert (table.count, table.skipped) == (2, 2)
    assert table.baseline_value == pytest.approx(0.2)
    assert table["new"].difference == pytest.approx(0.15)


def test_it_shows_itself() -> None:
    table = compare(VALUES, baseline="old", metric="ndcg@10", resamples=500)
    text = str(table)
    assert "ndcg@10" in text.splitlines()[0]
    assert any(line.startswith("good") and line.endswith("better") for line in text.splitlines())
    assert "Holm over 3 comparisons" in text
    assert "<td>good</td>" in table._repr_html_()
    assert "&lt;b&gt;" in compare({"<b>": [1.0, 2.0], "x": [2.0, 1.0]})._repr_html_()
    document = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert document["rows"][1]["mark"] == "better"
    zero = compare({"a": [0.0, 0.0], "b": [1.0, 0.0]}).to_dict()
    assert zero["rows"][0]["relative"] is None


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        compare({"old": [1.0]})
    with pytest.raises(UnknownNameError, match='Did you mean "old"'):
        compare(VALUES, baseline="odl")
    with pytest.raises(UnknownNameError, match='Did you mean "wilcoxon"'):
        compare(VALUES, test="wilcoxn")  # type: ignore[arg-type]
    with pytest.raises(DataError, match='values of "new" has 1 rows'):
        compare({"old": [1.0, 2.0], "new": [1.0]})
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare({"old": [1.0, math.nan], "new": [math.nan, 1.0]})
    with pytest.raises(UnknownNameError, match='Did you mean "good"'):
        compare(VALUES, baseline="old", resamples=100)["goood"]
