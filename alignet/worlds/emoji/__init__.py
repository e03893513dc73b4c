"""The embedded world: emoji, a taxonomy made by people, and SIMULATED participants."""
