"""For all tests."""

from __future__ import annotations

import pytest

from engine.loading.torchvision_guard import guard_torchvision


def pytest_configure(config: pytest.Config) -> None:
    """Tests that run side by side send their warnings here by class; peft's cannot be imported without the guard."""
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None):
        guard_torchvision()
