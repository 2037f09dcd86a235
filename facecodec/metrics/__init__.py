"""What the benchmark and the training measure pictures and tracks by.

``psnr``, ``ssim`` and ``ms_ssim`` (fidelity), ``landmark`` (distance and expression), ``temporal`` (flicker),
with an ffmpeg ``vmaf``, and with torch and weights of others (``weight_files``): ``perceptual`` (LPIPS),
``dists`` and ``identity`` (SFace). All take decoded values against source values and know nothing about
streams. ``bdrate`` compares curves of any of them over rate.
"""
