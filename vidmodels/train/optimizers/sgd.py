"""SGD with momentum.

Weight decay is coupled to the gradient, as in torch, and the code of all five
papers relies on it: g + wd * p enters the momentum.
"""

import optax

from vidmodels import config as cfg

READS = ('weight_decay', 'decay', 'decays', 'momentum', 'nesterov')


def build(
  optim: cfg.Optim, learning_rate: optax.Schedule, decay_mask
) -> optax.GradientTransformation:
  """Decay, then SGD."""
  return optax.chain(
    optax.add_decayed_weights(optim.weight_decay, decay_mask),
    optax.sgd(learning_rate, momentum=optim.momentum, nesterov=optim.nesterov),
  )
