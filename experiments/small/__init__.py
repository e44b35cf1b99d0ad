"""Comparisons at a laptop's size that no table of a paper prints."""
