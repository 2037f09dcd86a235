"""The command line: encode, decode, info, drive, demo, train, finetune, bench, call, call-server.

Exit codes: 0 ok, 1 an error inside facecodec, 2 usage or settings, 3 media or no face, 4 bitstream,
5 weights, 6 network (a server or peer that cannot be reached, or refuses), 130 interrupted, 143 terminated.
"""

from facecodec.cli.app import main

__all__ = ["main"]
