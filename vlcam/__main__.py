"""``python -m vlcam``: the ``vlcam`` command."""

import sys

from vlcam.cli import main

if __name__ == "__main__":
    sys.exit(main())
