"""Worlds of one's own: a checked folder in the world format, or a new one from class folders of pictures."""
