"""Conventional codecs that facecodec is measured against."""
