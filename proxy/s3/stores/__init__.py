"""Implementations of the state ports; only the module itself imports its driver."""
