"""The video call. ``sender`` and ``receiver`` open no socket and read no clock."""
