"""Limits counted in a Redis or Valkey server, for all nodes together. Needs the extra ``[redis]``."""
