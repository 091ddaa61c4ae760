"""Experiments, without any clock or store: the split, the figures, what can be concluded from them."""
