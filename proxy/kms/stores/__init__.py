"""Implementations of the KeyStore port; only the module itself imports its driver."""
