"""How messages are cut from a byte stream."""
