"""Implementations of the KeyProvider port."""
