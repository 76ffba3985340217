"""One real studio for all tests of the REST routes: an engine takes long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running_studio import RunningStudio, running_studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture(scope="session")
def picture(studio: RunningStudio) -> dict[str, object]:
    """A finished job with one picture."""
    view = studio.make(prompt="a green hill, unmistakable")
    assert view["status"] == "done", view
    return dict(view["images"][0])
