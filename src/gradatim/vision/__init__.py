"""Blocks, losses and metrics that at least two systems share."""
