"""Half a cosine from the peak to `final_lr`, over the whole run."""

import optax

from vidmodels import config as cfg

READS = ('final_lr',)


def build(
  optim: cfg.Optim, *, peak: float, total: int, unit: float
) -> optax.Schedule:
  """optax's cosine; it starts at step 0, so a warm-up covers its beginning."""
  return optax.cosine_decay_schedule(peak, total, optim.final_lr / optim.lr)
