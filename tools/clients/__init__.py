"""Official clients and agents against the running gateway. See docs/client-matrix.md."""
