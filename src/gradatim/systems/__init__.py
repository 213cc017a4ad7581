"""Research systems, one folder each; the core finds them by folder name."""
