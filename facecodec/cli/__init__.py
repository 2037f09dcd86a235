"""The command line: ``facecodec encode | decode | info | drive | demo | train | finetune | bench``.

Exit codes: 0 ok, 1 an error inside facecodec, 2 usage or settings, 3 media or no face, 4 bitstream,
5 weights, 130 interrupted, 143 terminated.
"""

from facecodec.cli.app import main

__all__ = ["main"]
