"""Names on the device mean what they mean in the catalogue that was exported."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palate.catalogue import Catalogue
from palate.data.item_index import ItemIndex
from palate.data.tokens import TokenIndex
from palate.device.item_names import ItemNames
from palate.errors import SavedFolderError, UnknownItemError

TITLES = ["Toy Story (1995)", None, "Amélie", "Alien", "alien", "Heat", "Heat", "7", "日本"]


def pair(ids: list[str], titles: list[str | None] | None = None) -> tuple[Catalogue, ItemNames]:
    series = None if titles is None else pl.Series(titles, dtype=pl.String)
    catalogue = Catalogue(ItemIndex(TokenIndex(ids), series))
    return catalogue, ItemNames.from_arrays(catalogue.to_arrays())


@pytest.mark.parametrize("ids", [[str(7 * n) for n in range(1, 10)], [f"item-{n}" for n in range(9)]])
def test_every_name_means_the_same_as_in_the_catalogue(ids: list[str]) -> None:
    catalogue, names = pair(ids, TITLES)
    assert len(names) == 9
    for number in range(1, 10):
        assert names.item(number) == catalogue.item(number)
        assert type(names.item(number)) is type(catalogue.item(number))
        assert names.title(number) == catalogue.title(number)
    asked = [
        *ids,
        7,
        63,
        8,
        "7",
        "TOY STORY (1995)",
        "Alien",
        "alien",
        "ALIEN",
        "Heat",
        "heat",
        "日本",
        "amélie",
        "x",
        "",
    ]
    for item in asked:
        found, left_out = catalogue.resolve([item], unknown="ignore")
        if left_out:
            with pytest.raises(UnknownItemError):
                names.number(item)
        else:
            assert names.number(item) == found[0], item


def test_an_unknown_name_gets_the_nearest_and_a_shared_one_its_ids() -> None:
    _, names = pair([str(n) for n in range(9)], TITLES)
    with pytest.raises(UnknownItemError, match=r'Did you mean "Toy Story \(1995\)"'):
        names.number("Toy Storry (1995)")
    with pytest.raises(UnknownItemError, match=r'2 items have this title.*"5", "6"'):
        names.number("Heat")


def test_without_titles_ids_are_names() -> None:
    catalogue, names = pair(["01", "2"])
    assert (names.title(1), names.name(1), names.item(1)) == (None, "01", catalogue.item(1))
    with pytest.raises(UnknownItemError, match="no item has this id"):
        names.number("3")


def test_a_large_catalogue_still_suggests() -> None:
    ids = [str(n) for n in range(5000)]
    _, names = pair(ids, [f"Story number {n}" if n != 4321 else "The quiet lighthouse" for n in range(5000)])
    with pytest.raises(UnknownItemError, match="The quiet lighthouse"):
        names.number("The quite lighthouse")


def test_broken_arrays_are_refused() -> None:
    catalogue, _ = pair(["a", "b"], ["x", "y"])
    arrays = catalogue.to_arrays()
    for broken in (
        {},
        {**arrays, "offsets": arrays["offsets"][:-1]},
        {**arrays, "offsets": np.array([0, 2, 1, 2])},
        {**arrays, "utf8": np.array([255, 255], np.uint8)},
        {**arrays, "title.known": arrays["title.known"][:1]},
    ):
        with pytest.raises(SavedFolderError, match="Export again"):
            ItemNames.from_arrays(broken)
