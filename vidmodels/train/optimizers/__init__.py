"""Optimisers, one file each, found by file name: `optim.name` of a recipe.

A file `lion.py` in this folder is the optimiser 'lion'. It defines

  READS     the fields of a recipe's `optim` section that it uses, besides those
            that serve every optimiser: a recipe that sets a field which its
            optimiser does not read is refused
  build(optim, learning_rate, decay_mask) -> optax.GradientTransformation
            learning_rate: step -> rate; decay_mask: a tree over the parameters,
            True where weight decay applies

With `model.scan` a leaf holds a run of blocks, stacked along a new first axis.
So an optimiser works element by element: one that takes the norm of a leaf, or
factors it, would have to do so for each block. It reads parameters for their
decay alone: blocks that do not decay, of a leaf where others do, are 0 to it.

Clipping by global norm is applied to every optimiser (`train/optim.py`).
"""
