"""The fixtures of the end-to-end tests."""

from tests.e2e.conftest import endpoints, store_name

__all__ = ["endpoints", "store_name"]
