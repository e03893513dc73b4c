"""The paper's own data: THINGS' official archive, ImageNet and Levels."""
