"""Discriminator and generator pairs; each file has one pair with the same interface.

`Discriminator(images (B, C, H, W) in [-1, 1])` returns features (B, D) and logits (B, num_logits);
`Generator(z (B, Z))` returns images (B, C, H, W) in (-1, 1) and draws its own z with `sample_latent`.
"""
