"""'step': the peak rate times a factor from each milestone on."""

import jax.numpy as jnp
import numpy as np
import optax

from vidmodels import config as cfg
from vidmodels.typing import InputError

NAME = 'step'  # the usual name of this schedule
READS = ('milestones', 'factors')


def check(optim: cfg.Optim) -> None:
  """Expects one factor per milestone."""
  if not optim.milestones or len(optim.milestones) != len(optim.factors):
    raise InputError(
      f'got {len(optim.milestones)} optim.milestones and {len(optim.factors)} '
      'optim.factors for optim.schedule=step; expected one value each per '
      'drop; try optim.milestones=(11.0, 14.0) and optim.factors=(0.1, 0.01)'
    )


def build(
  optim: cfg.Optim, *, peak: float, total: int, unit: float
) -> optax.Schedule:
  """Piecewise constant; the milestones must rise and fit the run."""
  # As float32: 0.3 epochs of 10 steps are 3 and not 3.0000000000000004.
  edges = (np.asarray(optim.milestones) * unit).astype(np.float32)
  if np.any(np.diff(edges) <= 0) or edges[-1] > total - 1:
    raise InputError(
      f'got optim.milestones {optim.milestones}, which are steps '
      f'{edges.tolist()} of a run of {total}; expected rising milestones '
      'inside the run'
    )
  levels = (peak * np.asarray((1.0, *optim.factors))).astype(np.float32)

  def rate(step):
    drops = jnp.searchsorted(edges, step, side='right')
    return jnp.asarray(levels)[drops]

  return rate
