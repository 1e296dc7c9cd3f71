"""Opens the output store for a url."""

from pathlib import Path

from storage.outputs.s3_options import S3Options
from storage.outputs.store import OutputStore


def open_output_store(url: str, s3: S3Options | None = None) -> OutputStore:
    """Open the store at `url`: file:FOLDER or s3://BUCKET/PREFIX. Raises ValueError for any other url."""
    scheme, _, location = url.partition(":")
    if scheme == "file" and location:
        from storage.outputs.local import LocalOutputStore

        return LocalOutputStore(Path(location))
    bucket, _, prefix = location.removeprefix("//").partition("/")
    if scheme == "s3" and location.startswith("//") and bucket:
        from storage.outputs.s3 import S3OutputStore

        return S3OutputStore(bucket, prefix, s3 or S3Options())
    raise ValueError(f"outputs.url must be file:FOLDER or s3://BUCKET/PREFIX, not {url!r}")
