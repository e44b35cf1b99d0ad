"""Space-time Mixing Attention for Video Transformer 2106.05968."""
