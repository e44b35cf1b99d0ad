"""Puts a recipe's optimiser and schedule together, as optax transformations.

  rate = make_schedule(config.optim, examples=240_000, batch=64)
  tx = make_optimizer(config.optim, rate, params)

Each optimiser is one file in `optimizers/`, each schedule one in `schedules/`;
a new file there is a new choice. This file adds what all of them share: the
length of the run, the scale and the warm-up of the rate, the parameters that do
not decay, and gradient clipping.
"""

import re
from typing import Any

import jax
import numpy as np
import optax

from vidmodels import config as cfg
from vidmodels.fields import modules_with, refuse_unread
from vidmodels.nn import stacked_blocks
from vidmodels.train.sharding import parameter_path
from vidmodels.typing import InputError, unknown_name


def check(optim: cfg.Optim) -> None:
  """Refuses unknown names, fields that disagree and fields without effect."""
  for field, folder in (('name', 'optimizers'), ('schedule', 'schedules')):
    modules = modules_with(f'train.{folder}', 'build')
    name = getattr(optim, field)
    if name not in modules:
      raise InputError(unknown_name(f'optim.{field}', name, modules))
    for other in sorted({f for m in modules.values() for f in m.READS}):
      if other not in modules[name].READS:
        readers = [n for n, m in modules.items() if other in m.READS]
        refuse_unread(optim, other, f'optim.{field}={" or ".join(readers)}')
    if hasattr(modules[name], 'check'):
      modules[name].check(optim)
  if bool(optim.epochs) == bool(optim.steps):
    raise InputError(
      f'got optim.epochs={optim.epochs} and steps={optim.steps}; expected one '
      'of them above 0; set one'
    )
  try:
    re.compile(optim.decay_skip)
  except re.error as error:
    raise InputError(
      f'got optim.decay_skip={optim.decay_skip!r}, which is no regular '
      f'expression: {error}; expected one over the paths of parameters; try '
      "'bias|scale'"
    ) from error
  if not optim.warmup:
    refuse_unread(optim, 'warmup_lr', 'optim.warmup above 0')
  if not optim.weight_decay:
    refuse_unread(optim, 'decay_skip', 'optim.weight_decay above 0')


def total_steps(optim: cfg.Optim, *, examples: int, batch: int) -> int:
  """Steps of the whole run; an epoch is examples / batch steps, not rounded."""
  return optim.steps or max(round(optim.epochs * examples / batch), 1)


def lr_scale(optim: cfg.Optim, *, batch: int) -> float:
  """The factor of all learning rates, by the linear rule."""
  return batch / optim.lr_batch if optim.lr_batch else 1.0


def peak_lr(optim: cfg.Optim, *, batch: int) -> float:
  """The peak learning rate, scaled to our batch if the recipe asks for it."""
  return optim.lr * lr_scale(optim, batch=batch)


def make_schedule(
  optim: cfg.Optim, *, examples: int, batch: int
) -> optax.Schedule:
  """Learning rate as a function of the step.

  Warm-up is linear from `warmup_lr` to the value of the main schedule at the
  step where the warm-up ends. The clock of the main schedule starts at step 0
  and does not restart after the warm-up.
  """
  total = total_steps(optim, examples=examples, batch=batch)
  unit = 1.0 if optim.steps else examples / batch
  peak, warm = peak_lr(optim, batch=batch), round(optim.warmup * unit)
  if warm >= total:
    raise InputError(
      f'got optim.warmup={optim.warmup:g} '
      f'{"steps" if optim.steps else "epochs"}, which are {warm} steps of a '
      f'run of {total}; expected a warm-up inside the run; shorten it or '
      'lengthen the run'
    )
  main = modules_with('train.schedules', 'build')[optim.schedule].build(
    optim, peak=peak, total=total, unit=unit
  )
  if not warm:
    return main
  start = optim.warmup_lr * lr_scale(optim, batch=batch)
  ramp = optax.linear_schedule(start, float(main(warm)), warm)
  return lambda step: jax.numpy.where(step < warm, ramp(step), main(step))


def make_optimizer(
  optim: cfg.Optim, learning_rate: optax.Schedule, params: Any
) -> optax.GradientTransformation:
  """Clipping by global norm, then the recipe's optimiser.

  `params` may be abstract: weight decay skips some of its paths.
  """
  shares = decay_shares(params, optim.decay_skip)
  optimizer = modules_with('train.optimizers', 'build')[optim.name]
  mask = jax.tree.map(lambda share: bool(np.any(share)), shares)
  main = optimizer.build(optim, learning_rate, mask)
  if any(isinstance(share, np.ndarray) for share in jax.tree.leaves(shares)):
    main = _hide_undecayed(main, shares)
  if not optim.clip_norm:
    return main
  return optax.chain(optax.clip_by_global_norm(optim.clip_norm), main)


def decay_shares(params: Any, skip: str) -> Any:
  """1.0 where weight decay applies, 0.0 where it does not.

  `skip` is a regex over the paths. Where it matches some blocks of a stacked
  leaf, the leaf's share is an array, [blocks, 1, ...].
  """

  def share_of(key_path: tuple, leaf: Any) -> float | np.ndarray:
    rows = stacked_blocks.row_paths(parameter_path(key_path))
    shares = [float(not (skip and re.search(skip, row))) for row in rows]
    if len(set(shares)) == 1:
      return shares[0]
    column = np.asarray(shares, np.float32)
    return column.reshape(-1, *[1] * (len(leaf.shape) - 1))

  shares = jax.tree_util.tree_map_with_path(share_of, params)
  if skip and all(np.all(share) for share in jax.tree.leaves(shares)):
    path = parameter_path(jax.tree_util.tree_leaves_with_path(params)[0][0])
    raise InputError(
      f'got optim.decay_skip={skip!r}, which matches no parameter; expected a '
      f'regex over paths such as {stacked_blocks.row_paths(path)[0]!r}'
    )
  return shares


def _hide_undecayed(
  tx: optax.GradientTransformation, shares: Any
) -> optax.GradientTransformation:
  """An optimiser that sees 0 for weights that do not decay.

  A mask of optax is of whole leaves, and these are some blocks of a leaf. An
  optimiser reads weights for their decay alone.
  """

  def update(updates, state, params):
    seen = jax.tree.map(
      lambda p, share: p * share if isinstance(share, np.ndarray) else p,
      params,
      shares,
    )
    return tx.update(updates, state, seen)

  return optax.GradientTransformation(tx.init, update)
