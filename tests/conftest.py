import pytest

pytest_plugins = ["tests.support.s3"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
