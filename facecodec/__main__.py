"""``python -m facecodec``: the same as the ``facecodec`` command."""

import sys

from facecodec.cli import main

if __name__ == "__main__":
    sys.exit(main())
