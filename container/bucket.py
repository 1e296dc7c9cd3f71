"""Make the bucket of compose.yaml: python bucket.py BUCKET ENDPOINT. Waits until the server is there."""

import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

PATIENCE_S = 60.0
SERVER_ERROR = 500
THERE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def make_bucket(bucket: str, endpoint_url: str) -> None:
    """Make it, or find it made. Raises what the server said last when it is not ready within a minute."""
    client = boto3.client("s3", endpoint_url=endpoint_url)
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.create_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError) as error:
            if _is_there(error):
                return
            if not _may_pass(error) or time.monotonic() > give_up:
                raise
            time.sleep(1)
        else:
            return


def _is_there(error: Exception) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in THERE


def _may_pass(error: Exception) -> bool:
    """Whether the server may only be starting: nobody listens yet, the connection breaks, or the answer is a 5xx."""
    if isinstance(error, ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) >= SERVER_ERROR
    return isinstance(error, HTTPClientError)


if __name__ == "__main__":
    make_bucket(sys.argv[1], sys.argv[2])
