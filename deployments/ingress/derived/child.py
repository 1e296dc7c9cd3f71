"""The child process that makes one derived file. Its arguments are the kind, the file to read and the file to write.

child_process.py starts it, without the server's environment variables.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from deployments.ingress.child_process import limit_process
from deployments.ingress.derived.child_process import HAS_NO_AUDIO, MAX_MAKE_S
from deployments.ingress.derived.contents import (
    NoAudio,
    write_audio,
    write_last_frame,
    write_spritesheet,
    write_thumbnail,
)
from deployments.ingress.derived.conversions import write_gif, write_mov, write_webm
from storage.outputs.store import DerivedFile

WRITERS: Mapping[DerivedFile, Callable[[Path, Path], None]] = MappingProxyType(
    {
        DerivedFile.AUDIO: write_audio,
        DerivedFile.LAST_FRAME: write_last_frame,
        DerivedFile.THUMBNAIL: write_thumbnail,
        DerivedFile.SPRITESHEET: write_spritesheet,
        DerivedFile.WEBM: write_webm,
        DerivedFile.MOV: write_mov,
        DerivedFile.GIF: write_gif,
    }
)


def main() -> int:
    """Make the file, and return the exit code."""
    kind, source, target = DerivedFile(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    limit_process(MAX_MAKE_S)
    try:
        WRITERS[kind](source, target)
    except NoAudio:
        return HAS_NO_AUDIO
    return 0


if __name__ == "__main__":
    sys.exit(main())
