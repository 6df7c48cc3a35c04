import pytest

from palate.testing.battery import Battery, NotApplicable, refuses


@pytest.fixture
def numbers():
    battery = Battery[int]("number")

    @battery.law
    def is_positive(subject):
        assert subject > 0

    @battery.law
    def is_even(subject):
        if subject == 7:
            raise NotApplicable("seven is special")
        assert subject % 2 == 0, f"{subject} is odd"

    return battery


def test_all_laws_run_and_are_counted(numbers):
    report = numbers.require(4, "four")
    assert report.passed == ["is positive", "is even"]
    assert report.ran == 2


def test_all_failures_come_together(numbers):
    with pytest.raises(AssertionError, match=r"(?s)0 of 2 laws hold, 2 broken.*is positive.*-3 is odd"):
        numbers.require(-3, "minus three")


def test_what_does_not_apply_is_told_and_not_counted_as_passed(numbers):
    report = numbers.run(7, "seven")
    assert report.not_applicable == {"is even": "seven is special"}
    assert report.ran == 1
    assert "seven is special" in str(report)


def test_a_subject_for_which_nothing_ran_fails():
    empty = Battery[int]("nothing")
    with pytest.raises(AssertionError):
        empty.require(1, "one")


def test_refuses_needs_the_error_and_the_mention():
    refuses(KeyError, "milk", lambda: {}["milk"])
    with pytest.raises(AssertionError, match="no KeyError"):
        refuses(KeyError, "milk", lambda: None)
    with pytest.raises(AssertionError, match="does not mention"):
        refuses(KeyError, "bread", lambda: {}["milk"])
