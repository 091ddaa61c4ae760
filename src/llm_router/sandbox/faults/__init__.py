"""The fault lab: faults from a file, that the simulated providers commit over real HTTP."""
