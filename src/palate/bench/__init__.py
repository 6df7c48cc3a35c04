"""A grid of cells, manifests, leaderboard, report."""
