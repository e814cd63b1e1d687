"""A fresh key service for each test."""

import pytest

from tests.kms.harness import Kms


@pytest.fixture
async def kms() -> Kms:
    return await Kms().start()
