"""Make the bucket of compose.yaml: python bucket.py BUCKET ENDPOINT. Waits until the server is there."""

import sys
import time

import boto3
from botocore.exceptions import ClientError, EndpointConnectionError

PATIENCE_S = 60.0
THERE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def make_bucket(bucket: str, endpoint_url: str) -> None:
    """Make it, or find it made. Raises EndpointConnectionError when nobody answers for a minute."""
    client = boto3.client("s3", endpoint_url=endpoint_url)
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.create_bucket(Bucket=bucket)
        except EndpointConnectionError:
            if time.monotonic() > give_up:
                raise
            time.sleep(1)
        except ClientError as error:
            if error.response["Error"]["Code"] not in THERE:
                raise
            return
        else:
            return


if __name__ == "__main__":
    make_bucket(sys.argv[1], sys.argv[2])
