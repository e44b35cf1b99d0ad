"""Optimisers, one file each, found by file name: `optim.name` of a recipe.

A file `lion.py` in this folder is the optimiser 'lion'. It defines

  READS     the fields of a recipe's `optim` section that it uses, besides those
            that serve every optimiser: a recipe that sets a field which its
            optimiser does not read is refused
  build(optim, learning_rate, decay_mask) -> optax.GradientTransformation
            learning_rate: step -> rate; decay_mask: a tree over the parameters,
            True where weight decay applies

Clipping by global norm is applied to every optimiser (`train/optim.py`).
"""
