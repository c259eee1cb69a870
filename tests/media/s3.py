"""An S3 server in this process, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "media"
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@contextmanager
def s3_server(bucket: str = BUCKET) -> Iterator[str]:
    """Its URL; the bucket is there, and nothing else. All servers of a process have the same buckets: one at a time."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urlopen(Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()
    client = boto3.client("s3", endpoint_url=url, **KEYS)
    client.create_bucket(Bucket=bucket)
    client.close()
    try:
        yield url
    finally:
        server.stop()


def object_names(url: str, bucket: str) -> list[str]:
    client = boto3.client("s3", endpoint_url=url, **KEYS)
    listed = client.list_objects_v2(Bucket=bucket).get("Contents", ())
    client.close()
    return [found["Key"] for found in listed]


def lose_object(url: str, bucket: str, name: str) -> None:
    client = boto3.client("s3", endpoint_url=url, **KEYS)
    client.delete_object(Bucket=bucket, Key=name)
    client.close()
