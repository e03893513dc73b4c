"""Notebooks as the stages of one run."""
