"""Samples: reading images, color, keyed randomness, batches."""
