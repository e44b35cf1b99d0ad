"""DualFormer's tables and figures (arXiv 2112.04674), and its release."""
