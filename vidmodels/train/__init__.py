"""From batches to weights: mesh, step, loop, checkpoints.

Reading order: `feed` -> `step` -> `losses`, then `loop`, which calls them.
"""
