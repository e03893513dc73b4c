"""A finished run to look into: choices, neighbours and the hierarchy, before and after alignment."""
