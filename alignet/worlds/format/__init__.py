"""The world format: reading and writing its tables, and decoding its pictures."""
