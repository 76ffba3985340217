"""Fixtures of the library's tests."""

from __future__ import annotations

import pytest

from tests.support.network import block_network


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be made while the test runs."""
    block_network(monkeypatch)
