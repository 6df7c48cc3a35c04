"""Every calibrator of the registry keeps the laws of one."""

import pytest

from palate.registry import names
from palate.testing.calibrators import CALIBRATOR_LAWS, check_calibrator


@pytest.mark.parametrize("name", names("calibrator"))
def test_laws(name):
    report = check_calibrator(name)
    assert report.ran + len(report.not_applicable) == len(CALIBRATOR_LAWS.laws)
