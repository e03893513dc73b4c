"""Repetitions of a finished run with other seeds, with one choice changed, or with other settings."""
