"""Data sets that models are scored on, and no fit sees."""
