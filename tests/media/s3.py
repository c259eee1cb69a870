"""An S3 server in this process, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "media"
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@contextmanager
def s3_server(bucket: str = BUCKET) -> Iterator[str]:
    """Its URL; the bucket is there, and empty. All servers of a process have the same buckets."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url, **KEYS)
    client.create_bucket(Bucket=bucket)
    client.close()
    for name in object_names(url, bucket):
        lose_object(url, bucket, name)
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
