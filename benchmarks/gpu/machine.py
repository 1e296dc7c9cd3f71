"""Reads the GPU's clocks, power, temperature and throttling reasons. Figures of a throttled GPU are misleading."""

import shutil
import subprocess

ASKED = (
    "clocks.sm", "clocks.mem", "power.draw", "power.limit", "temperature.gpu", "clocks_event_reasons.active",
    "memory.used", "driver_version",
)  # fmt: skip
TIMEOUT_S = 10.0


def look() -> dict[str, str]:
    """The values of `nvidia-smi` for the first GPU, by its own names. Empty if there is no `nvidia-smi`."""
    if (command := shutil.which("nvidia-smi")) is None:
        return {}
    asked = [command, "--id=0", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return dict(zip(ASKED, (value.strip() for value in answer.strip().split(",")), strict=False))
