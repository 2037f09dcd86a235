"""What the benchmark and the training measure pictures and tracks by.

``psnr`` and ``ssim`` (fidelity), ``perceptual`` (LPIPS; the only module here that needs torch),
``landmark`` (distance and expression) and ``temporal`` (flicker). All take decoded values against
source values and know nothing about streams.
"""
