"""Linen blocks that families share: patches, positions, attention, MLP, drop.

A block gets its numbers (epsilon, activation, rates) from the family that uses
it: no two papers agree on them, and Flax's defaults suit none. A part that one
family alone uses is in that family's file.
"""
