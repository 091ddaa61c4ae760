"""Several worker processes, one process that owns the stores: the way between them."""
