"""The dialects, one folder each. They never import one another."""
