import pytest

from palate import registry
from palate.errors import ConfigError, UnknownNameError


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(registry, "_components", {})
    monkeypatch.setattr(registry, "_loaded", {"palate.rank", "entry points"})


def test_a_component_is_found_by_name_and_pattern(clean):
    @registry.register("ranker", "soft-max", source="nobody")
    class Soft:
        """Give all the same.

        More.
        """

    assert registry.find("ranker", "soft-max").factory is Soft
    assert registry.names("ranker", "soft*") == ["soft-max"]
    assert registry.names("ranker", "hard*") == []
    assert registry.find("ranker", "soft-max").summary == "Give all the same."


def test_a_misspelt_name_gets_a_suggestion(clean):
    registry.register("ranker", "deepfm")(type("DeepFM", (), {}))
    with pytest.raises(UnknownNameError, match='Did you mean "deepfm"'):
        registry.find("ranker", "depfm")


def test_two_components_cannot_share_a_name(clean):
    registry.register("ranker", "one")(type("One", (), {}))
    with pytest.raises(ConfigError, match="already the name of One"):
        registry.register("ranker", "one")(type("Other", (), {}))


@pytest.mark.parametrize("name", ["DeepFM", "deep_fm", "deep fm"])
def test_names_have_one_form(clean, name):
    with pytest.raises(ConfigError, match="lower case"):
        registry.register("ranker", name)(type("Any", (), {}))


def test_entry_points_are_loaded_once(monkeypatch):
    calls = []

    class Point:
        def load(self):
            calls.append(1)

    monkeypatch.setattr(registry, "_loaded", {"palate.rank"})
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [Point()])
    registry.names("ranker")
    registry.names("ranker")
    assert calls == [1]
