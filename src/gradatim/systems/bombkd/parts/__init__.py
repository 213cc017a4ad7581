"""BombKD's parts, one file each."""
