"""Rate and quality of this codec and of what people would use instead, on the same frames, from real bytes.

Reading order. ``sequences`` makes clips ready (``pictures``: lossless files, planes, Lanczos); ``anchors``
codes them with conventional encoders (``ffmpeg`` runs those, ``bytestream`` strips what they write), ``own``
with this codec (in an ``own_process``). ``jobs`` names what there is to make and hashes what it depends on
(``digests``), of which a ``plan`` has many; ``points`` makes one of rate and ``quality``, the cache has it
``kept``, and ``keeping`` takes over those of earlier results. ``sweep`` makes all of them on ``workers``;
``results`` is what a run leaves, with the ``machine`` it was made on.

``report`` makes of that what people read: ``curves`` (hulls), ``compare`` (BD-rates over clips) and ``leads``
(rates from which others are ahead) of the ``measures``, ``wording``, ``tables``, ``spreadsheets``, plots
(``drawing``, ``svg``) and ``previews`` that ``showcase`` finds.
"""
