"""'step': the peak rate times a factor from each milestone on."""

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
  edges = [round(m * unit) for m in optim.milestones]
  if edges != sorted(set(edges)) or edges[-1] >= total:
    raise InputError(
      f'got optim.milestones {optim.milestones}, which are steps {edges} of a '
      f'run of {total}; expected rising milestones inside the run'
    )
  levels = [optax.constant_schedule(peak * f) for f in (1.0, *optim.factors)]
  return optax.join_schedules(levels, edges)
