"""Other people's files: THINGS, ImageNet, Levels, similarity matrices and public picture data sets."""
