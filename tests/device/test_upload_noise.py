"""Noise before an upload: its size, that it cannot be averaged away, and settings that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from palate.device.upload_noise import UploadNoise
from palate.errors import ConfigError

SECRET = bytes(range(32))


def test_rows_are_clipped_and_then_noise_is_added():
    rows = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(UploadNoise(0.0, clip=5.0)(rows), [[3, 4], [3, 4], [0, 0]], rtol=1e-6)
    many = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
    added = UploadNoise(2.0, clip=1e6)(many) - many
    assert abs(added.std() - 2.0) < 0.05
    assert abs(added.mean()) < 0.05
    assert abs(np.corrcoef(added.ravel(), many.ravel())[0, 1]) < 0.05


def test_the_same_state_is_always_sent_the_same_so_that_there_is_nothing_to_average():
    rows = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    noise = UploadNoise(3.0, clip=10.0, secret=SECRET)
    first = noise(rows)
    assert np.array_equal(noise(rows[[2, 0]]), first[[2, 0]])
    assert np.array_equal(UploadNoise(3.0, clip=10.0, secret=SECRET)(rows), first)
    assert len({row.tobytes() for row in first - rows}) == 4


def test_devices_have_noise_of_their_own():
    rows = np.ones((1, 8), np.float32)
    assert not np.array_equal(UploadNoise(1.0, clip=10.0)(rows), UploadNoise(1.0, clip=10.0)(rows))


@pytest.mark.parametrize("settings", [{"std": -1.0}, {"std": float("nan")}, {"clip": 0.0}, {"secret": b"short"}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match="UploadNoise"):
        UploadNoise(**{"std": 1.0, "clip": 1.0, **settings})
