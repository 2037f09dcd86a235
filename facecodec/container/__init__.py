"""Files: units one after the other, with an index at the end."""

from facecodec.container.fcv import DamagedUnit, FcvReader, FcvWriter, UnitAt

__all__ = ["DamagedUnit", "FcvReader", "FcvWriter", "UnitAt"]
