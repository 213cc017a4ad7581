"""IFViT: matches fingerprints, and shows by dense correspondences why."""
