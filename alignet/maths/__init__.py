"""Choices, triplets, losses, metrics and intervals: pure functions."""
