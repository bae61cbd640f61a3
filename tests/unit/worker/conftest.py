"""What the tests of the worker's parts share."""

import pytest

from core import log


@pytest.fixture(scope="session", autouse=True)
def logs_as_in_production() -> None:
    """Without this a traceback is drawn with every local variable in it, which takes seconds for tensors."""
    log.configure()
