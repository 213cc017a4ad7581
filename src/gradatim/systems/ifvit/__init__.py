"""IFViT: matching of fingerprints by dense correspondences and embeddings of aligned prints."""
