from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from palate.errors import ConfigError, UnknownNameError
from palate.evaluate.intervals import Interval
from palate.evaluate.report import MetricResult, MetricTable, Setting, over_seeds

SETTING = Setting("test", "full catalogue (9 items)", "items already seen", notes=("2 users with an empty history",))


def table(value: float, per_user: list[float] | None = None, setting: Setting = SETTING) -> MetricTable:
    column = None if per_user is None else np.array(per_user)
    interval = Interval(value - 0.1, value + 0.1, 0.95, "bca bootstrap")
    return MetricTable((MetricResult("hr@10", value, 4, 1, "users", interval, column),), setting)


def test_a_table_states_what_it_rests_on() -> None:
    text = str(table(0.25))
    assert "hr@10 0.2500 [0.1500, 0.3500] (4 users, 1 skipped)" in text
    for fact in ("split: test", "full catalogue (9 items)", "items already seen", "mean rank", "empty history"):
        assert fact in text
    assert "<td>hr@10</td>" in table(0.25)._repr_html_()


def test_a_table_is_read_by_name() -> None:
    one = table(0.25)
    assert one["hr@10"].value == 0.25
    assert one.values() == {"hr@10": 0.25}
    assert (len(one), one.names, next(iter(one)).name) == (1, ("hr@10",), "hr@10")
    with pytest.raises(UnknownNameError, match='Did you mean "hr@10"'):
        one["hr@1"]


def test_documents_are_plain_json() -> None:
    one = table(math.nan, [1.0, math.nan])
    document = json.loads(json.dumps(one.to_dict(per_user=True), allow_nan=False))
    assert document["results"][0]["value"] is None
    assert document["results"][0]["per_user"] == [1.0, None]
    assert document["results"][0]["skipped"] == 1
    assert document["setting"]["notes"] == ["2 users with an empty history"]
    assert "per_user" not in one.to_dict()["results"][0]


def test_seeds_are_summed_up_with_spread_and_interval() -> None:
    tables = [table(value, [value, 2 * value]) for value in (0.2, 0.3, 0.25)]
    summed = over_seeds(tables, [0, 1, 2])
    result = summed["hr@10"]
    assert result.value == pytest.approx(0.25)
    assert result.per_seed == (0.2, 0.3, 0.25)
    assert result.spread == pytest.approx(0.05)
    assert result.per_user is not None
    assert result.per_user.tolist() == pytest.approx([0.25, 0.5])
    reach = stats.t.ppf(0.975, 2) * 0.05 / math.sqrt(3)
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx((0.25 - reach, 0.25 + reach))
    assert summed.setting.seeds == (0, 1, 2)
    assert "seeds: 0, 1, 2" in str(summed)
    assert "over 3 seeds" in str(summed)


def test_one_seed_has_no_spread() -> None:
    result = over_seeds([table(0.2)], [7])["hr@10"]
    assert result.spread is None
    assert result.interval is None


def test_tables_that_differ_are_not_summed_up() -> None:
    with pytest.raises(ConfigError, match="1 tables came for 2 seeds"):
        over_seeds([table(0.2)], [0, 1])
    other = table(0.2, setting=Setting("test", "sampled: the target and 100 of 9,000 items, uniform, seed 0"))
    with pytest.raises(ConfigError, match="differ"):
        over_seeds([table(0.2), other], [0, 1])
