"""Files in and out: the only room that knows formats and (x, y, z)."""
