"""IFViT: fingerprints compared by dense correspondences and by fixed-length embeddings."""
