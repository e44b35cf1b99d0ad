"""AdamW: weight decay is decoupled from the gradient (arXiv 1711.05101)."""

import optax

from vidmodels import config as cfg

READS = ('weight_decay', 'decay', 'decays', 'b1', 'b2', 'eps')


def build(
  optim: cfg.Optim, learning_rate: optax.Schedule, decay_mask
) -> optax.GradientTransformation:
  """optax's AdamW."""
  return optax.adamw(
    learning_rate,
    b1=optim.b1,
    b2=optim.b2,
    eps=optim.eps,
    weight_decay=optim.weight_decay,
    mask=decay_mask,
  )
