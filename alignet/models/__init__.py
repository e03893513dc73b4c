"""Backbones: their weights, their features, what they share with a fine-tuned copy, and models in other formats."""
