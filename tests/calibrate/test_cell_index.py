"""The index of cells gives what a binary search gives, also on the edges and where many edges share an interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.calibrate.cell_index import CellIndex


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-16, 16), max_size=40), st.lists(st.floats(-16, 16), min_size=1, max_size=40))
def test_it_counts_the_edges_at_or_below(edges, positions):
    edges = np.unique(edges)
    probes = np.concatenate([positions, edges, np.nextafter(edges, 20), np.nextafter(edges, -20), [-16.0, 16.0]])
    probes = np.clip(probes, -16, 16)
    found = CellIndex.build(edges, -16.0, 16.0).of(probes)
    assert found.tolist() == np.searchsorted(edges, probes, side="right").tolist()


@pytest.mark.parametrize("edges", [[], [0.5], [1e-7, 1 - 1e-7], list(0.4 + np.arange(30) * 1e-9)])
def test_edges_may_be_none_at_the_ends_or_close_together(edges):
    probes = np.concatenate([np.linspace(1e-7, 1 - 1e-7, 1001), edges])
    found = CellIndex.build(np.array(edges, dtype=float), 1e-7, 1 - 1e-7).of(probes)
    assert found.tolist() == np.searchsorted(edges, probes, side="right").tolist()
