"""Palate: from a log of who chose what to a chosen, calibrated, saved and served recommender."""

__version__ = "0.1.0.dev0"
