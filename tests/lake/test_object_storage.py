"""What the store needs of object storage, asked of the server itself before the store is tried on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lake.store import Lake
from tests.conftest import BUCKET
from tests.lake.rows import METRICS, OUTPUTS, metrics, outputs, replay, values_of

if TYPE_CHECKING:
    from tests.conftest import ObjectStore

WRITERS = 8


def test_a_conditional_put_succeeds_once(object_store: ObjectStore) -> None:
    from botocore.exceptions import ClientError

    client = object_store.client()
    try:
        client.put_object(Bucket=BUCKET, Key="conditional", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=BUCKET, Key="conditional", Body=b"second", IfNoneMatch="*")
        body = client.get_object(Bucket=BUCKET, Key="conditional")["Body"]
        with body:
            assert body.read() == b"first"
    finally:
        client.close()


def test_of_eight_conditional_puts_at_once_one_wins(object_store: ObjectStore) -> None:
    from botocore.exceptions import ClientError

    client = object_store.client()

    def wins(key: str) -> bool:
        try:
            client.put_object(Bucket=BUCKET, Key=key, Body=b"x", IfNoneMatch="*")
        except ClientError:
            return False
        return True

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            for number in range(3):
                assert sum(pool.map(wins, [f"raced-{number}"] * WRITERS)) == 1
    finally:
        client.close()


def test_eight_writers_lose_nothing_and_double_nothing(object_store: ObjectStore, tmp_path) -> None:
    """Each writer inserts three keys of its own, upserts a shared one, and appends one token that all share."""
    prefix = tmp_path.name

    def write(writer: int) -> int:
        lake = object_store.lake(prefix)
        for number in range(3):
            lake.upsert(METRICS, metrics({f"own-{writer}-{number}": number, "shared": writer}))
        return lake.append(OUTPUTS, outputs("run", range(5)), token="the same").rows_written

    with ThreadPoolExecutor(WRITERS) as pool:
        landed = sum(pool.map(write, range(WRITERS)))
    lake = object_store.lake(prefix)
    assert landed == lake.row_count(OUTPUTS) == 5
    values = values_of(lake)
    assert values.pop("shared") in range(WRITERS)
    assert values == {f"own-{writer}-{number}": number for writer in range(WRITERS) for number in range(3)}
    assert replay(lake, METRICS).equals(lake.read(METRICS).sort("run_id"))


def test_a_lake_in_object_storage_asks_for_conditional_puts() -> None:
    assert Lake.open("s3://bucket/lake").storage_options == {"aws_conditional_put": "etag"}
