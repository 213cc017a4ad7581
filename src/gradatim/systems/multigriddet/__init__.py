"""MultiGridDet: detects objects; each is predicted by the cells around its center."""
