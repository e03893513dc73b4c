"""Measurements of speed and memory: `make bench` runs what bench/tasks/ compares, side by side.

The other files that can be run are studies, each with a CSV of its own: their first lines say how.
"""
