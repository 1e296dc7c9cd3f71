"""Makes `python -m ltx2_client` the same as the command `ltx2`."""

import sys

from ltx2_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
