"""Every ranker of the registry keeps the laws of a ranker."""

import pytest

from palate.registry import names
from palate.testing.rankers import RANKER_LAWS, check_ranker


@pytest.mark.parametrize("name", names("ranker"))
def test_laws(name):
    report = check_ranker(name)
    assert report.ran + len(report.not_applicable) == len(RANKER_LAWS.laws)
