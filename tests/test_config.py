import pytest
from pydantic import Field, ValidationError

from palate.config import Config, ModelConfig
from palate.errors import ConfigError


class Inner(Config):
    width: int = Field(4, ge=1)


class Outer(Config):
    learning_rate: float = 0.1
    inner: Inner = Inner()


class Sized(ModelConfig):
    width: int = 8
    depth: int = 1
    sizes = {"tiny": {"width": 2}, "base": {"width": 64, "depth": 3}}


def test_unknown_keys_are_named_with_the_nearest():
    with pytest.raises(ConfigError, match='no setting "learning_rte".*"learning_rate"'):
        Outer(learning_rte=1)


def test_unknown_keys_inside_are_refused_from_json_too():
    with pytest.raises(ConfigError, match='Inner has no setting "widht".*"width"'):
        Outer.model_validate_json('{"inner": {"widht": 3}}')


def test_wrong_values_say_what_came():
    with pytest.raises(ConfigError, match=r"learning_rate = 'fast'"):
        Outer(learning_rate="fast")
    with pytest.raises(ConfigError, match="width = 0"):
        Inner(width=0)


def test_configs_are_frozen_and_replace_checks():
    config = Outer()
    with pytest.raises(ValidationError, match="frozen"):
        config.learning_rate = 2.0
    assert config.replace(learning_rate=0.5).learning_rate == 0.5
    with pytest.raises(ConfigError):
        config.replace(learning_rat=0.5)


def test_the_size_dial_fills_in_and_yields_to_overrides():
    assert Sized.sized("base").depth == 3
    assert Sized.sized("base", width=5).width == 5
    assert Sized.sized("small") == Sized()
    with pytest.raises(ConfigError, match='"tiny"'):
        Sized.sized("tinny")
