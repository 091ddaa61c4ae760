"""Simulated upstreams that speak the providers' real formats over real HTTP on the loopback."""
