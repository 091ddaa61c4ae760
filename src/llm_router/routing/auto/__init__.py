"""``auto``: how hard a prompt is, what a better model would add, and whether that is worth its price."""
