"""People's choices about triplets, as counts and as the choice distributions that VICE predicts."""
