from __future__ import annotations

import numpy as np
import pytest

from palate.reproduce.planted_drift import DriftConfig, DriftWorld

SMALL = DriftConfig(num_items=40, num_clusters=8, num_users=300, length=12, max_since=5)


def test_every_item_is_in_two_clusters_and_followed_by_another_in_each() -> None:
    world = DriftWorld(SMALL)
    counts = np.bincount(np.concatenate(world.members), minlength=41)
    assert counts.tolist() == [0] + [2] * 40
    for cluster, items in enumerate(world.members):
        followers = world.follower[cluster, items]
        assert sorted(followers) == sorted(items)
        assert (followers != items).all()


def test_chances_by_hand() -> None:
    world = DriftWorld(SMALL)
    first, items = 0, world.members[0]
    last = int(items[0])
    chances = world.chances(np.array([first]), np.array([last]))[0]
    follower = world.follower[first, last]
    zipf = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()
    place = items.tolist().index(follower)
    assert chances[follower] == pytest.approx(0.95 * (0.6 + 0.4 * zipf[place]) + 0.05 / 40)
    assert chances[0] == 0
    assert chances.sum() == pytest.approx(1)
    outside = next(item for item in range(1, 41) if item not in items)
    stranger = world.chances(np.array([first]), np.array([outside]))[0]
    assert stranger[outside] == pytest.approx(0.05 / 40)
    assert stranger[items] == pytest.approx(0.95 * zipf + 0.05 / 40)


def test_users_do_what_the_chances_say() -> None:
    world = DriftWorld(SMALL.replace(num_users=4000))
    items, clusters = world.drawn.log.items.reshape(4000, 12), world.drawn.clusters
    follows = world.follower[clusters[:, 1:], items[:, :-1]]
    known = follows > 0
    followed = (items[:, 1:] == follows)[known].mean()
    expected = np.concatenate([world.chances(clusters[:, t], items[:, t - 1]) for t in range(1, 12)])
    expected = expected[np.arange(len(expected)), follows.T.ravel()][known.T.ravel()].mean()
    assert followed == pytest.approx(expected, abs=0.01)


def test_since_counts_items_of_the_new_cluster_before_the_test_item() -> None:
    drawn = DriftWorld(SMALL).drawn
    last = drawn.clusters[:, -1:]
    run = (drawn.clusters[:, ::-1] == last).cumprod(1).sum(1)  # items at the end in the last cluster
    switched = drawn.since >= 0
    assert (run[switched] == drawn.since[switched] + 1).all()
    assert (run[~switched] == 12).all()
    assert set(drawn.since.tolist()) == {-1, 0, 1, 2, 3, 4}
    assert switched.mean() == pytest.approx(0.75, abs=0.08)


def test_no_ranking_beats_the_true_chances() -> None:
    world = DriftWorld(SMALL)
    items = world.drawn.log.items.reshape(300, 12)
    followed = world.follower[world.drawn.clusters[:, -1], items[:, -2]] == items[:, -1]
    ranks = world.best_ranks()
    assert (ranks[followed] == 1).all()  # the follower is always the likeliest
    assert (ranks >= 1).all()
    popular = np.argsort(np.argsort(-np.bincount(items[:, :-1].ravel(), minlength=41)[1:])) + 1
    assert (1 / ranks).mean() > 1.5 * (1 / popular[items[:, -1] - 1]).mean()


def test_same_seed_same_log() -> None:
    first, again = DriftWorld(SMALL).drawn, DriftWorld(SMALL).drawn
    other = DriftWorld(SMALL.replace(seed=1)).drawn
    assert (first.log.items == again.log.items).all()
    assert (first.log.items != other.log.items).any()
