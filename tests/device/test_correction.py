"""For which clicks a correction holds."""

from __future__ import annotations

import numpy as np
import pytest

from palate.device.correction import Correction


@pytest.fixture
def correction() -> Correction:
    ones = np.ones((2, 4, 4), np.float32), np.ones((2, 4, 8), np.float32)
    return Correction(*ones, attention_weight=0.5, bias_weight=0.25, seq_no=12, ttl_steps=3)


@pytest.mark.parametrize(("seen", "fresh"), [(11, False), (12, True), (14, True), (15, False)])
def test_it_holds_for_so_many_clicks_after_the_upload(correction, seen, fresh):
    assert correction.is_fresh(seen) is fresh
    attention, bias, p, q = correction.inputs(seen)
    assert attention.shape == (1, 2, 4, 4)
    assert bias.shape == (1, 2, 4, 8)
    assert (float(p), float(q)) == ((0.5, 0.25) if fresh else (0.0, 0.0))
    assert p.shape == q.shape == ()
    assert {part.dtype for part in (attention, bias, p, q)} == {np.dtype(np.float32)}


def test_none_is_never_fresh_and_has_the_shapes_of_a_step():
    none = Correction.none(2, 4, 8)
    assert not none.is_fresh(0)
    assert [part.shape for part in none.inputs(0)] == [(1, 2, 4, 4), (1, 2, 4, 8), (), ()]


def test_it_cannot_be_changed(correction):
    with pytest.raises(AttributeError):
        correction.seq_no = 3
