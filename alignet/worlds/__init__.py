"""Worlds: pictures with a hierarchy of labels and human choices about them, in one folder format."""
