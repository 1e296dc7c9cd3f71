"""A child process that is killed, as for want of memory on the host."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
