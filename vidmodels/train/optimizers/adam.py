"""Adam with coupled weight decay, as torch's: the decay enters the moments."""

import optax

from vidmodels import config as cfg

READS = ('weight_decay', 'decay', 'decays', 'b1', 'b2', 'eps')


def build(
  optim: cfg.Optim, learning_rate: optax.Schedule, decay_mask
) -> optax.GradientTransformation:
  """Decay, then optax's Adam."""
  return optax.chain(
    optax.add_decayed_weights(optim.weight_decay, decay_mask),
    optax.adam(learning_rate, b1=optim.b1, b2=optim.b2, eps=optim.eps),
  )
