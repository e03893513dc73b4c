"""The teacher: an affine map on a frozen backbone's features, fitted to people's choice distributions."""
