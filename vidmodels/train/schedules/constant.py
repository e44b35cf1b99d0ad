"""The peak rate for the whole run."""

import optax

from vidmodels import config as cfg

READS = ()


def build(
  optim: cfg.Optim, *, peak: float, total: int, unit: float
) -> optax.Schedule:
  """The same rate at every step."""
  return optax.constant_schedule(peak)
