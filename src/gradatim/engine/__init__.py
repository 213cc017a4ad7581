"""Carries plans out: device, parts, optimizer, loop, stage, run."""
