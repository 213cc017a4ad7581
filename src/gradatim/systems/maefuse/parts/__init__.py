"""The parts of MaeFuse: encoder, decoder, CFM and MFM."""
