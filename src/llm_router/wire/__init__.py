"""Bytes to decisions: canonical form, dialects, relays. Pure: no clock, dice, sockets or logging."""
