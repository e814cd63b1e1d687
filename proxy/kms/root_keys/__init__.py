"""Implementations of the RootKey port."""
