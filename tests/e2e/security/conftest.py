"""One Holdfast with two repositories, for all tests of this directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster import places
from tests.cluster.kubectl import kubectl
from tests.e2e.town import apply, holdfast, install, lose_holdfast
from tests.support.s3 import S3Server, running_server

# Each repository's engine: one in a directory, one in a bucket.
ENGINES: Final = {"default": "kopia", "bucket": "restic"}


@pytest.fixture(scope="package")
def cluster(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    install()
    directory = tmp_path_factory.mktemp("repository")
    with running_server(tmp_path_factory.mktemp("s3"), address=places.NODE_ADDRESS) as server:
        where = {
            "default": ("--directory", str(directory)),
            "bucket": ("--s3", f"http://{server.endpoint}/{server.bucket}/base", "--insecure"),
        }
        for name, engine in ENGINES.items():
            written = holdfast("render", "repository", name, "--engine", engine, *where[name])
            secret, repository = yaml.safe_load_all(written)
            if name == "bucket":
                secret["stringData"] |= server.environment
            apply(yaml.safe_dump_all([secret, repository]))
        kubectl("wait", "--for=condition=Ready", "repository", "--all", "--timeout=120s")
        yield server
        lose_holdfast()
