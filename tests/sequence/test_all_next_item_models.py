"""Every next-item model of the registry keeps the laws of one."""

import pytest

from palate.registry import names
from palate.testing.next_item import NEXT_ITEM_LAWS, check_next_item_model


@pytest.mark.parametrize("name", names("next-item"))
def test_laws(name):
    report = check_next_item_model(name)
    assert report.ran + len(report.not_applicable) == len(NEXT_ITEM_LAWS.laws)
