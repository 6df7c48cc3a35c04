"""Bad input: one clear error, for every calibrator alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palate.calibrate.observations import check_scores, observe
from palate.errors import DataError

GOOD = ([0.2, 0.4, 0.6], [0, 1, 1])


@pytest.mark.parametrize(
    ("scores", "labels", "weight", "message"),
    [
        ([0.2, np.nan, 0.6], [0, 1, 1], None, r"scores\[1\] is nan \(1 of 3 rows"),
        ([0.2, np.inf, 0.6], [0, 1, 1], None, r"scores\[1\] is inf"),
        ([0.2, 1.7, 0.6], [0, 1, 1], None, r"scores\[1\] is 1.7.*sigmoid"),
        ([0.2, -0.1, 0.6], [0, 1, 1], None, r"scores\[1\] is -0.1"),
        ([], [], None, "scores is empty"),
        ([[0.2, 0.3]], [0], None, r"shape \[1, 2\]"),
        (["a", "b"], [0, 1], None, "cannot be read as numbers"),
        ([0.2, 0.4, 0.6], [0, 1], None, "labels has 2 rows, scores has 3"),
        ([0.2, 0.4, 0.6], [0, 1, 2], None, "labels holds 2.0|labels holds np.float64"),
        ([0.2, 0.4, 0.6], [0, np.nan, 1], None, r"labels\[1\] is nan"),
        ([0.2, 0.4, 0.6], [1, 1, 1], None, "All 3 labels that count are 1: a calibrator needs both classes"),
        ([0.2, 0.4, 0.6], [0, 1, 1], [1, -1, 1], "weight holds"),
        ([0.2, 0.4, 0.6], [0, 1, 1], [0, 0, 0], "All weights are zero"),
        ([0.2, 0.4, 0.6], [0, 1, 1], [1, np.nan, 1], r"weight\[1\] is nan"),
        ([0.2, 0.4, 0.6], [0, 1, 1], [1, 1], "weight has 2 rows"),
        ([0.2, 0.4, 0.6], [0, 1, 1], [0, 1, 1], "All 2 labels that count are 1"),
    ],
)
def test_bad_columns_name_the_column_the_row_and_the_value(scores, labels, weight, message):
    with pytest.raises(DataError, match=message):
        observe(scores, labels, weight)


def test_rows_of_weight_zero_do_not_count():
    rows, kept = observe(*GOOD, weight=[1, 1, 0])
    assert kept.tolist() == [0, 1]
    assert rows.labels.tolist() == [0, 1]


def test_scores_of_zero_and_one_are_clipped_in_one_place():
    rows, _ = observe([0.0, 1.0], [0, 1])
    assert rows.scores.tolist() == [1e-7, 1 - 1e-7]


def test_float32_and_integer_columns_are_welcome():
    assert check_scores(np.array([0.25, 0.5], dtype=np.float32)).dtype == np.float64
    assert len(observe(np.array([0, 1]), np.array([True, False]))[0]) == 2


def test_the_input_is_not_changed():
    scores, labels = np.array([0.0, 0.5, 1.0]), np.array([0, 1, 1])
    observe(scores, labels)
    assert scores.tolist() == [0.0, 0.5, 1.0]


def test_torch_tensors_are_welcome_in_any_precision():
    tensor = torch.tensor([0.25, 0.5], dtype=torch.bfloat16, requires_grad=True)
    assert check_scores(tensor).tolist() == [0.25, 0.5]
