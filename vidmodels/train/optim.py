"""Schedules and optimisers, as optax transformations.

SGD couples weight decay to the gradient, as torch does and all five papers'
code relies on: g + wd * p enters the momentum. AdamW decouples it.
"""

import re

import jax
import optax

from vidmodels import config as cfg
from vidmodels.fields import refuse_unread
from vidmodels.train.sharding import parameter_path
from vidmodels.typing import InputError, unknown_name

# The fields of `optim` that each optimiser and each schedule reads.
OPTIMISERS = {'sgd': 'momentum nesterov', 'adamw': 'b1 b2 eps'}
SCHEDULES = {'step': 'milestones factors', 'cosine': 'final_lr', 'constant': ''}


def check(optim: cfg.Optim) -> None:
  """Refuses unknown names, fields that disagree and fields without effect.

  Raises:
    InputError: names the field, its value and what was expected.
  """
  for field, known in (('name', OPTIMISERS), ('schedule', SCHEDULES)):
    if getattr(optim, field) not in known:
      raise InputError(
        unknown_name(f'optim.{field}', getattr(optim, field), known)
      )
  if bool(optim.epochs) == bool(optim.steps):
    raise InputError(
      f'got optim.epochs={optim.epochs} and steps={optim.steps}; expected one '
      'of them above 0; set one'
    )
  if (optim.schedule == 'step') != bool(optim.milestones or optim.factors):
    raise InputError(
      f'got optim.schedule={optim.schedule!r} with milestones '
      f'{optim.milestones} and factors {optim.factors}; expected both with '
      '"step" and neither without, as they belong to "step" alone'
    )
  if len(optim.milestones) != len(optim.factors):
    raise InputError(
      f'got {len(optim.milestones)} optim.milestones and {len(optim.factors)} '
      'optim.factors; expected one value each per drop'
    )
  try:
    re.compile(optim.decay_skip)
  except re.error as error:
    raise InputError(
      f'got optim.decay_skip={optim.decay_skip!r}, which is no regular '
      f'expression: {error}; expected one over the paths of parameters; try '
      "'bias|scale'"
    ) from error
  for name, fields in OPTIMISERS.items():
    if name != optim.name:
      refuse_unread(optim, fields, f'optim.name={name}')
  if optim.schedule != 'cosine':
    refuse_unread(optim, 'final_lr', 'optim.schedule=cosine')
  if not optim.warmup:
    refuse_unread(optim, 'warmup_lr', 'optim.warmup above 0')
  if not optim.weight_decay:
    refuse_unread(optim, 'decay_skip', 'optim.weight_decay above 0')


def total_steps(optim: cfg.Optim, *, examples: int, batch: int) -> int:
  """Steps of the whole run; an epoch is examples / batch steps, not rounded."""
  return optim.steps or max(round(optim.epochs * examples / batch), 1)


def lr_scale(optim: cfg.Optim, *, batch: int) -> float:
  """What all learning rates are multiplied with, by the linear rule."""
  return batch / optim.lr_batch if optim.lr_batch else 1.0


def peak_lr(optim: cfg.Optim, *, batch: int) -> float:
  """The peak learning rate, scaled to our batch when the recipe asks for it."""
  return optim.lr * lr_scale(optim, batch=batch)


def make_schedule(
  optim: cfg.Optim, *, examples: int, batch: int
) -> optax.Schedule:
  """Learning rate as a function of the step.

  Warm-up is linear from `warmup_lr` to where the main schedule stands at its
  end. `cosine` runs over the whole length (its clock does not restart after
  the warm-up); `step` multiplies the peak by a factor from each milestone on.

  Raises:
    InputError: if warm-up or milestones do not fit the length of the run.
  """
  total = total_steps(optim, examples=examples, batch=batch)
  unit = 1.0 if optim.steps else examples / batch
  peak, warm = peak_lr(optim, batch=batch), round(optim.warmup * unit)
  if warm >= total:
    raise InputError(
      f'optim.warmup {optim.warmup:g} {"steps" if optim.steps else "epochs"} '
      f'are {warm} steps, which do not fit a run of {total}; shorten it or '
      'lengthen the run'
    )
  if optim.schedule == 'cosine':
    main = optax.cosine_decay_schedule(peak, total, optim.final_lr / optim.lr)
  elif optim.schedule == 'step':
    main = _steps(optim, peak=peak, unit=unit, total=total)
  else:
    main = optax.constant_schedule(peak)
  if not warm:
    return main
  start = optim.warmup_lr * lr_scale(optim, batch=batch)
  ramp = optax.linear_schedule(start, float(main(warm)), warm)
  return lambda step: jax.numpy.where(step < warm, ramp(step), main(step))


def _steps(optim, *, peak, unit, total) -> optax.Schedule:
  """Piecewise constant: peak * factor from each milestone on."""
  edges = [round(m * unit) for m in optim.milestones]
  if edges != sorted(set(edges)) or edges[-1] >= total:
    raise InputError(
      f'optim.milestones {optim.milestones} are steps {edges} of a run of '
      f'{total}; wanted them rising and inside the run'
    )
  levels = [optax.constant_schedule(peak * f) for f in (1.0, *optim.factors)]
  return optax.join_schedules(levels, edges)


def decay_mask(params, skip: str):
  """True where weight decay applies; `skip` is a regex over the paths.

  Raises:
    InputError: if the regex matches no parameter at all.
  """
  mask = jax.tree_util.tree_map_with_path(
    lambda path, _: not (skip and re.search(skip, parameter_path(path))), params
  )
  if skip and all(jax.tree.leaves(mask)):
    raise InputError(
      f'optim.decay_skip {skip!r} matches no parameter; paths look like '
      f'{parameter_path(jax.tree_util.tree_leaves_with_path(params)[0][0])!r}'
    )
  return mask


def make_optimizer(
  optim: cfg.Optim, learning_rate: optax.Schedule, params
) -> optax.GradientTransformation:
  """Clipping by global norm, then SGD or AdamW.

  Args:
    optim: the recipe's section.
    learning_rate: what `schedule` made.
    params: (abstract) tree, for the paths that weight decay skips.
  """
  mask = decay_mask(params, optim.decay_skip)
  if optim.name == 'sgd':
    main = optax.chain(
      optax.add_decayed_weights(optim.weight_decay, mask),
      optax.sgd(
        learning_rate, momentum=optim.momentum, nesterov=optim.nesterov
      ),
    )
  else:
    main = optax.adamw(
      learning_rate,
      b1=optim.b1,
      b2=optim.b2,
      eps=optim.eps,
      weight_decay=optim.weight_decay,
      mask=mask,
    )
  if not optim.clip_norm:
    return main
  return optax.chain(optax.clip_by_global_norm(optim.clip_norm), main)
