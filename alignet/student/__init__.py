"""Students: backbones fine-tuned on the labelled triplets."""
