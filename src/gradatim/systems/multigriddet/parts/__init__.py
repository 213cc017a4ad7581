"""The networks of MultiGridDet."""
