"""MaeFuse: fuses a registered infrared and visible image into one."""
