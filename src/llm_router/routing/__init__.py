"""Pure decisions: which deployments may be called, in which order, and when to move on."""
