"""A finished run again: other seeds, one choice changed, other settings."""
