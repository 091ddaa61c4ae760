"""The checks, one module a subject; each holds its own in ``CHECKS``."""
