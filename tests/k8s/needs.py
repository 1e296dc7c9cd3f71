"""Requirements of the Kubernetes tests. `.ci/run` installs them; the tests are skipped if one is missing."""

import os
import shutil
import sys

import pytest


def _missing(*programs: str) -> str:
    """The reason why the tests cannot run here; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces are made by root on Linux"
    return ", ".join(f"{program} is not installed" for program in programs if shutil.which(program) is None)


NAMESPACES = _missing("ip", "unshare", "nsenter", "kubectl")
CLUSTER = NAMESPACES or _missing("redis-server", "dnsmasq")
needs_nftables = pytest.mark.skipif(bool(NAMESPACES or _missing("nft")), reason=NAMESPACES or _missing("nft"))
needs_cluster = pytest.mark.skipif(bool(CLUSTER), reason=CLUSTER)
