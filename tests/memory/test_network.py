from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from palate.errors import ConfigError, DataError, PalateError, UnknownNameError
from palate.memory.network import Network, NetworkConfig, default_network

SMALL: dict[str, Any] = {
    "name": "small",
    "entity": [
        {"type": "user", "kind": "user", "count": 1},
        {"type": "friend", "kind": "person", "count": 3},
    ],
    "lexicons": {"mood": [["good", "好"], ["bad", "坏"]], "food": [["rice", "饭"], ["soup", "汤"], ["bread", "面包"]]},
    "attribute": [
        {"of": ["user"], "name": "mood", "rule": "uniform", "values": "mood"},
        {
            "of": ["friend"],
            "name": "food",
            "rule": "categorical",
            "values": "food",
            "parents": ["user.mood"],
            "table": [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]],
        },
        {"of": ["friend"], "name": "meal", "rule": "copy", "parents": ["food"]},
    ],
}


def changed(**attribute: Any) -> dict[str, Any]:
    return {**SMALL, "attribute": [*SMALL["attribute"], attribute]}


def build(document: dict[str, Any]) -> Network:
    return Network(NetworkConfig(**document))


def test_default_network_has_the_published_size_at_least() -> None:
    network = default_network()
    assert len(network.counts) >= 7
    assert sum(network.counts.values()) >= 11
    assert len(network.nodes) >= 73


def test_the_order_puts_parents_first() -> None:
    network = default_network()
    place = {node: at for at, node in enumerate(network.order)}
    for (owner, name), conditional in network.nodes.items():
        for parent in conditional.parents:
            assert place[network.parent(owner, parent)] < place[owner, name]


def test_frequencies_match_the_table() -> None:
    profiles = build(SMALL).sample(40_000, seed=1)
    mood, food = profiles.codes["user", "mood"], profiles.codes["friend", "food"]
    for state, row in enumerate(SMALL["attribute"][1]["table"]):
        counts = np.bincount(food[mood[:, 0] == state].ravel(), minlength=3)
        assert chisquare(counts, np.asarray(row) * counts.sum()).pvalue > 1e-3
    assert (profiles.codes["friend", "meal"] == food).all()


def test_rules_of_a_life_hold_always() -> None:
    profiles = default_network().sample(3000, seed=2)
    network, codes = profiles.network, profiles.codes
    kin = np.asarray(network.lexicons["kin"])[codes["relative", "relation"]]
    gap = codes["relative", "age"] - codes["user", "age"]
    parents = np.isin(kin, ["mother", "father"])
    assert gap[parents].min() == 20
    assert gap[parents].max() == 24
    for name in ("workplace", "education", "occupation", "employer"):
        assert (codes["colleague", name] == codes["user", name]).all()
    assert (codes["relative", "hometown"] == codes["user", "hometown"]).all()
    fathers = kin == "father"
    assert (codes["relative", "surname"] == codes["user", "surname"])[fathers].all()
    given = np.concatenate([codes[t, "given"] for t in ("user", "relative", "colleague", "friend")], axis=1)
    assert all(len(set(row)) == len(row) for row in given.tolist())
    assert (codes["user", "height"] >= 150).all()
    february = codes["user", "birthday"] // 100 == 2
    assert (codes["user", "birthday"][february] % 100).max() <= 28
    blocks = np.repeat(np.arange(5), [6, 8, 17, 10, 5])
    assert (blocks[codes["friend", "occupation"]] == codes["friend", "education"]).all()
    home, work = codes["user", "hometown"], codes["user", "workplace"]
    venue = codes["work_event", "venue"]
    assert abs((venue == work).mean() - 0.8 - 0.1 * (home == work).mean()) < 0.03
    assert profiles.value(0, "user", 0, "phone").startswith("000-555-")  # type: ignore[union-attr]
    assert profiles.value(0, "user", 0, "email").endswith(".example")  # type: ignore[union-attr]


def test_sampling_is_repeatable_and_seeds_differ() -> None:
    network = default_network()
    first, again, other = (network.sample(50, seed) for seed in (3, 3, 4))
    assert all((first.codes[node] == again.codes[node]).all() for node in network.order)
    assert any((first.codes[node] != other.codes[node]).any() for node in network.order)


def test_bad_networks_are_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (changed(of=["friend"], name="food", rule="birthday"), "twice"),
        (changed(of=["user"], name="x", rule="uniform", values="fod"), '"food"'),
        (changed(of=["user"], name="x", rule="copy", parents=["mod"]), "user.mood"),
        (changed(of=["user"], name="x", rule="copy", parents=["friend.food"]), "occurs once"),
        (changed(of=["user"], name="x", rule="copy", parents=["y"]), "user.y"),
        (changed(of=["user"], name="x", rule="copy", parents=["x"]), "cycle"),
        (changed(of=["user"], name="x", rule="uniform", low=3, high=1), "above"),
        (changed(of=["friend"], name="x", rule="uniform", values="mood", distinct="m"), "2 values for 3"),
        (changed(of=["user"], name="x", rule="uniform", valuess="mood"), "valuess"),
        ({**SMALL, "lexicons": {**SMALL["lexicons"], "mood": [["good", ""], ["bad", "坏"]]}}, "no form"),
    ]
    table = changed(
        of=["user"], name="x", rule="categorical", values="mood", parents=["mood"], table=[[0.5, 0.4], [1, 0]]
    )
    cases.append((table, "sums to 0.9"))
    cases.append((changed(of=["user"], name="x", rule="categorical", values="mood", table=[[1], [0]]), "rows"))
    cases.append((changed(of=["user"], name="x", rule="mixture", values="mood", probabilities=[0.5]), "sum to 0.5"))
    for document, mention in cases:
        with pytest.raises(PalateError) as caught:
            build(document)
        assert mention in str(caught.value), caught.value


def test_a_network_of_ones_own_comes_from_a_file(tmp_path: Any) -> None:
    import json

    (tmp_path / "mine.json").write_text(json.dumps(SMALL))
    assert Network.load(tmp_path / "mine.json").counts == {"user": 1, "friend": 3}
    (tmp_path / "broken.toml").write_text("name = [")
    with pytest.raises(DataError, match=r"broken\.toml"):
        Network.load(tmp_path / "broken.toml")
    with pytest.raises(UnknownNameError, match="friend"):
        Network.load(tmp_path / "mine.json").with_counts(frend=2)
    with pytest.raises(ConfigError):
        default_network().with_counts(relative=11)


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """A random network: each attribute has a table over some of those before it."""
    sizes = draw(st.lists(st.integers(2, 4), min_size=1, max_size=5))
    lexicons = {f"words{at}": [[f"w{at}{k}", f"词{at}{k}"] for k in range(size)] for at, size in enumerate(sizes)}
    attributes = []
    for at, size in enumerate(sizes):
        parents = draw(st.lists(st.integers(0, at - 1), max_size=2, unique=True)) if at else []
        rows = int(np.prod([sizes[p] for p in parents])) if parents else 1
        raw = draw(st.lists(st.lists(st.integers(1, 9), min_size=size, max_size=size), min_size=rows, max_size=rows))
        table = [[x / sum(row) for x in row] for row in raw]
        names = [f"a{p}" for p in parents]
        attributes.append(
            {"of": ["user"], "name": f"a{at}", "rule": "categorical", "values": f"words{at}", "parents": names}
            | {"table": table}
        )
    entity = [{"type": "user", "kind": "user", "count": 1}]
    return {"name": "random", "entity": entity, "lexicons": lexicons, "attribute": attributes[::-1]}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(networks())
def test_any_network_is_sampled_from_its_joint_distribution(document: dict[str, Any]) -> None:
    network = build(document)
    profiles = network.sample(3000, seed=5)
    for (owner, name), conditional in network.nodes.items():
        parents = [profiles.codes[network.parent(owner, p)][:, 0] for p in conditional.parents]
        sizes = [len(network.lexicons[network.lexicon_of[network.parent(owner, p)] or ""]) for p in conditional.parents]
        row = np.ravel_multi_index(parents, sizes) if parents else np.zeros(3000, dtype=int)
        codes = profiles.codes[owner, name][:, 0]
        for state, probabilities in enumerate(conditional.table):  # type: ignore[attr-defined]
            seen = codes[row == state]
            if len(seen) * min(probabilities) > 5:
                counts = np.bincount(seen, minlength=len(probabilities))
                assert chisquare(counts, np.asarray(probabilities) * len(seen)).pvalue > 1e-6
