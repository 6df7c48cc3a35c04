"""Context tokens: ids, unseen and rare values, several fields, missing values, and the saved form."""

from __future__ import annotations

import numpy as np
import pytest

from palate.calibrate.context import ContextVocabulary
from palate.errors import DataError, SavedFolderError


def test_tokens_are_numbered_from_one_in_sorted_order():
    vocabulary = ContextVocabulary.fit([7, 3, 7, 5])
    assert vocabulary.encode([3, 5, 7, 9]).ravel().tolist() == [1, 2, 3, 0]
    assert vocabulary.sizes == (4,)


def test_rare_values_share_the_id_of_unseen_ones():
    vocabulary = ContextVocabulary.fit(["a"] * 5 + ["b"], min_count=2)
    assert vocabulary.encode(["a", "b", "c"]).ravel().tolist() == [1, 0, 0]
    assert vocabulary.counts[0].tolist() == [5.0]


def test_several_fields_and_weights():
    table = np.array([[1, 10], [2, 10], [1, 20]])
    vocabulary = ContextVocabulary.fit(table, weight=[1.0, 2.0, 4.0])
    assert vocabulary.encode(table).tolist() == [[1, 1], [2, 1], [1, 2]]
    assert [counts.tolist() for counts in vocabulary.counts] == [[5.0, 2.0], [3.0, 4.0]]


def test_a_missing_value_counts_as_unseen():
    vocabulary = ContextVocabulary.fit(np.array(["a", None, "b"], dtype=object))
    assert vocabulary.encode(np.array([None, "b", float("nan")], dtype=object)).ravel().tolist() == [0, 2, 0]


def test_whole_numbers_stay_numbers_whatever_holds_them():
    vocabulary = ContextVocabulary.fit([3, 5, 7])
    for column in (
        np.array([3.0, np.nan, 7.0]),
        np.array([3, None, 7], dtype=object),
        np.array([3, float("nan"), 7.0], dtype=object),
    ):
        assert vocabulary.encode(column).ravel().tolist() == [1, 0, 3]
    assert ContextVocabulary.fit(np.array([True, False])).encode([1, 0]).ravel().tolist() == [2, 1]


def test_columns_of_mixed_kinds_in_one_table():
    table = np.array([["a", 1], ["b", 2], [None, 1]], dtype=object)
    vocabulary = ContextVocabulary.fit(table)
    assert vocabulary.encode(table).tolist() == [[1, 1], [2, 2], [0, 1]]
    assert vocabulary.fields[1].dtype == np.int64


def test_a_missing_value_is_not_the_value_zero_or_the_empty_text():
    numbers = ContextVocabulary.fit(np.array([0, 1]))
    assert numbers.encode(np.array([0, None], dtype=object)).ravel().tolist() == [1, 0]
    texts = ContextVocabulary.fit(["", "a"])
    assert texts.encode(np.array(["", None], dtype=object)).ravel().tolist() == [1, 0]


def test_the_document_brings_back_the_same_ids():
    for context in ([4, 2, 4], ["x", "y", "x"]):
        vocabulary = ContextVocabulary.fit(context)
        again = ContextVocabulary.from_document(vocabulary.to_document())
        assert again.encode(context).tolist() == vocabulary.encode(context).tolist()


def test_no_context_is_no_field():
    assert ContextVocabulary.fit(None).encode(None, 3).shape == (3, 0)


def test_tokens_of_another_length_are_no_match():
    assert ContextVocabulary.fit(["ab", "cd"]).encode(["abc", "ab"]).ravel().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (None, "has 0 fields; the calibrator was fitted with 1"),
        ([["a", "b"]], "has 2 fields"),
        ([1, 2], "holds integers; the calibrator was fitted with strings"),
        ([0.5], "categories are integers or strings"),
        (np.array([0.5], dtype=object), "categories are integers or strings"),
        ([np.inf], "categories are integers or strings"),
        (np.zeros((1, 1, 1)), "shape"),
    ],
)
def test_another_form_of_context_is_refused(asked, message):
    with pytest.raises(DataError, match=message):
        ContextVocabulary.fit(["a", "b"]).encode(asked, 1 if asked is None else len(asked))


def test_an_altered_document_is_refused():
    good = ContextVocabulary.fit(["a", "b"]).to_document()
    for bad in ({}, {**good, "counts": [[1.0]]}, {**good, "fields": [["b", "a"]]}):
        with pytest.raises(SavedFolderError):
            ContextVocabulary.from_document(bad)
