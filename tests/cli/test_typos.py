"""Two hundred misspelt options, config keys and body fields: all refused, each with the right word as a suggestion."""

import importlib
import inspect
import random
import typing

import pytest
from cyclopts import App, Parameter

from palate.cli.app import _COMMANDS, run
from palate.cli.log_options import LogOptions
from palate.config import Config
from palate.errors import ConfigError
from palate.registry import components
from palate.serve import bodies


def misspell(word, draw):
    """Drop, double or swap one letter inside the word."""
    place = draw.randrange(1, len(word) - 1)
    kind = draw.choice(["drop", "double", "swap"])
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[:place] + word[place] + word[place:]
    return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]


def slips(word):
    """Return everything that one dropped, doubled or swapped letter makes of a word, and the word."""
    places = range(len(word))
    dropped = {word[:place] + word[place + 1 :] for place in places}
    doubled = {word[:place] + word[place] + word[place:] for place in places}
    swapped = {word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :] for place in places[1:]}
    return dropped | doubled | swapped | {word}


def some_typos(words, count, seed):
    """Draw typos that are a slip of one word only: "tiem" may mean "time" as well as "item"."""
    draw, found = random.Random(seed), []
    usable = [entry for entry in words if len(entry[-1]) >= 4]
    while len(found) < count:
        *where, word = draw.choice(usable)
        wrong = misspell(word, draw)
        others = {entry[-1] for entry in words if entry[:-1] == tuple(where)} - {word}
        if wrong != word and not any(wrong in slips(other) for other in others):
            found.append((*where, word, wrong))
    return found


def shown(parameter, function):
    """Return the name of a parameter on the command line, where it may be called otherwise than in Python."""
    annotation = typing.get_type_hints(function, include_extras=True)[parameter.name]
    renamed = [entry.name for entry in getattr(annotation, "__metadata__", ()) if isinstance(entry, Parameter)]
    names = [name for name in renamed if name]
    return names[0][0].removeprefix("--") if names else parameter.name


def options():
    """Return (command words, option) of the whole command line."""
    found = []

    def collect(words, function):
        parameters = inspect.signature(function).parameters.values()
        optional = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty]
        names = [shown(p, function) for p in optional if p.name != "log"]
        names += list(LogOptions.__dataclass_fields__) if "log" in inspect.signature(function).parameters else []
        found.extend((words, name.replace("_", "-")) for name in names)

    for name, (place, _) in _COMMANDS.items():
        module, attribute = place.split(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, App):
            for sub in target:
                if not sub.startswith("-"):
                    collect((name, sub), target[sub].default_command)
        else:
            collect((name,), target)
    return found


def required(words):
    """Return values for what a command cannot do without, so that only the option is wrong."""
    name = words[0]
    module, attribute = _COMMANDS[name][0].split(":")
    target = getattr(importlib.import_module(module), attribute)
    function = target[words[1]].default_command if isinstance(target, App) else target
    parameters = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    values: list[str] = []
    for p in parameters:
        values += [f"--{p.name.replace('_', '-')}", "x"] if p.kind is p.KEYWORD_ONLY else ["x"]
    return values


@pytest.mark.parametrize(("words", "option", "wrong"), some_typos(options(), 80, seed=0))
def test_options(words, option, wrong, capsys):
    code = run([*words, *required(words), f"--{wrong}=1"])
    said = capsys.readouterr().err
    assert code == 2, said
    assert f"--{wrong}" in said
    assert "Did you mean" in said
    assert f"--{option}" in said


def config_keys():
    configs = {component.factory.Config for component in components() if hasattr(component.factory, "Config")}
    from palate.data.feature_plan import FeaturePlan, FieldPlan
    from palate.train.contract import TrainConfig

    known = [*sorted(configs, key=lambda config: config.__name__), TrainConfig, FeaturePlan, FieldPlan]
    return [(config, key) for config in known for key in config.model_fields]


@pytest.mark.parametrize(("config", "key", "wrong"), some_typos(config_keys(), 80, seed=1))
def test_config_keys(config, key, wrong):
    with pytest.raises(ConfigError, match=f'has no setting "{wrong}"') as refused:
        config(**{wrong: 1})
    assert f'"{key}"' in str(refused.value)


def body_fields():
    found = [getattr(bodies, name) for name in ("ScoreBody", "RecommendBody")]
    assert all(issubclass(body, Config) for body in found)
    return [(body, key) for body in found for key in body.model_fields]


@pytest.mark.parametrize(("body", "key", "wrong"), some_typos(body_fields(), 40, seed=2))
def test_body_fields(body, key, wrong):
    with pytest.raises(ConfigError, match=f'has no setting "{wrong}"') as refused:
        body.model_validate({wrong: 1})
    assert f'"{key}"' in str(refused.value)


def test_commands(capsys):
    for name in _COMMANDS:
        wrong = misspell(name, random.Random(name)) if len(name) > 3 else f"{name}x"
        assert run([wrong]) == 2
        assert f'Did you mean "{name}"' in capsys.readouterr().err
