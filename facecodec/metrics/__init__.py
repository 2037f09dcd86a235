"""What the benchmark and the training measure pictures and tracks by.

``psnr`` and ``ssim`` (fidelity), ``landmark`` (distance and expression), ``temporal`` (flicker), and with
torch and weights of others (``weight_files``): ``perceptual`` (LPIPS), ``dists`` and ``identity`` (SFace).
All take decoded values against source values and know nothing about streams.
"""
