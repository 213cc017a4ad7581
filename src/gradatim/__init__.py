"""gradatim: train composite vision models in stages."""
