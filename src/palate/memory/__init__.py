"""Simulate a life, ask about it, measure what a memory recalls."""
