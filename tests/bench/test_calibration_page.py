"""The sections of a calibration page, from rows whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from palate.bench.calibration_page import field_section, measured_table, reliability_figure, worse_words
from palate.calibrating import JudgedRows
from palate.card import CalibrationFacts


@pytest.fixture
def rows():
    shop = np.repeat(["north", "south", "tiny"], [60, 38, 2])
    labels = np.concatenate([np.tile([1.0, 0.0], 30), np.tile([1.0, 0.0], 19), [0.0, 0.0]])
    before = np.full(100, 0.8)
    after = np.where(shop == "north", 0.5, 0.6)
    return JudgedRows(labels, before, after, {"shop": shop})


def test_the_table_of_the_furthest_off_by_hand(rows):
    section = field_section(rows, "shop")
    table = section.tables[0]
    assert list(table.columns) == ["shop", "rows", "observed share", "foretold before", "after", "promised / came"]
    assert list(map(list, table.rows)) == [
        ["south", "38", "0.500", "0.800", "0.600", "1.20"],  # 3.8 too many
        ["tiny", "2", "0.000", "0.800", "0.600", "none came"],  # 1.2
        ["north", "60", "0.500", "0.800", "0.500", "1.00"],  # none
    ]
    # |0.8 - 0.5| * 98 + 0.8 * 2 = 31; 3.8 + 1.2 = 5; of 100 rows
    assert "0.3100 before, 0.0500 after" in section.paragraphs[0]
    assert "north (60 rows)" in section.figures[0].svg


def test_without_a_calibrator_there_is_one_column_and_one_curve(rows):
    plain = JudgedRows(rows.labels, rows.before, rows.before, rows.fields)
    section = field_section(plain, "shop")
    assert list(section.tables[0].columns) == ["shop", "rows", "observed share", "foretold", "promised / came"]
    assert all(len(row) == 5 for row in section.tables[0].rows)
    assert section.tables[0].rows[0][2:4] == ["0.500", "0.800"]
    assert "after" not in section.paragraphs[0]
    assert section.figures[0].svg.count("<polyline") == 3
    assert reliability_figure(plain).svg.count("<polyline") == 1
    assert reliability_figure(rows).svg.count("<polyline") == 2


def test_what_got_worse_is_said():
    facts = CalibrationFacts(
        method="mcnet", fitted_on="the validation part", rows=50, ece_before=0.1, ece_after=0.2, pcoc_before=1.2,
        pcoc_after=1.3, log_loss_before=0.5, log_loss_after=0.6,
    )  # fmt: skip
    assert facts.worse
    assert "mcnet does worse than no calibration (log loss 0.6000 against 0.5000)" in worse_words(facts)
    assert [list(row) for row in measured_table(facts).rows] == [
        ["before", "0.1000", "1.200", "0.5000"],
        ["after", "0.2000", "1.300", "0.6000"],
    ]
