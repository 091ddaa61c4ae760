"""HTTP: bytes and status, nothing decided here but what a request is and whether it is well formed."""
