"""Metrics, protocols, uncertainty, significance."""
