"""Puts a recipe's optimiser and schedule together, as optax transformations.

  rate = make_schedule(config.optim, examples=240_000, batch=64)
  tx = make_optimizer(config.optim, rate, params)

Each optimiser is one file in `optimizers/`, each schedule one in `schedules/`;
a new file there is a new choice. This file adds what all of them share: the
length of the run, the scale, the clock and the warm-up of the rate, the
factors of rate and decay by parameter, and gradient clipping.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidmodels import config as cfg
from vidmodels.fields import modules_with, refuse_unread
from vidmodels.nn import stacked_blocks
from vidmodels.train import freezing
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
  for field in ('rates', 'decays'):
    for regex, _ in getattr(optim, field):
      _check_regex(f'optim.{field}', regex)
  if optim.rate_by == 'epoch' and optim.steps:
    raise InputError(
      f"got optim.rate_by='epoch' and optim.steps={optim.steps}: a run that is "
      'counted in steps has no epochs; expected optim.epochs; try '
      '--config.optim.rate_by=update'
    )
  if not optim.warmup:
    refuse_unread(optim, 'warmup_lr warmup_to', 'optim.warmup above 0')
  if not optim.weight_decay:
    refuse_unread(optim, 'decay decays', 'optim.weight_decay above 0')
  if not optim.clip_norm:
    refuse_unread(optim, 'clip_at', 'optim.clip_norm above 0')
  if optim.freeze:
    _check_regex('optim.freeze', optim.freeze)
  if optim.train != 'all':
    refuse_unread(optim, 'freeze', "optim.train='all'")
  if optim.decay != 'as_released':
    refuse_unread(optim, 'decays', "optim.decay='as_released'")


def _check_regex(field: str, regex: str) -> None:
  try:
    re.compile(regex)
  except re.error as error:
    raise InputError(
      f'got {regex!r} in {field}, which is no regular expression: {error}; '
      "expected one over the paths of parameters; try 'bias|scale'"
    ) from error


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

  The main schedule runs over the whole run: it starts at step 0 and does not
  restart after the warm-up. It is read at step t = max(step - late, 0), and
  with rate_by='epoch' at the first step of t's epoch. While t is less than W,
  the steps of the warm-up, with s the rate where that starts:

    warmup_to='schedule'  s + t / W (main(W) - s), so it meets the schedule
    warmup_to='peak'      s + t / W (peak - s), and then falls to the schedule
    warmup_to='scaled'    main(t) (1 - (1 - t / W) (1 - s / peak))

  Raises InputError for a warm-up or milestones outside of the run.
  """
  total = total_steps(optim, examples=examples, batch=batch)
  unit = 1.0 if optim.steps else examples / batch
  peak, warm = peak_lr(optim, batch=batch), optim.warmup * unit
  if round(warm) >= total:
    raise InputError(
      f'got optim.warmup={optim.warmup:g} '
      f'{"steps" if optim.steps else "epochs"}, which are {warm:g} steps of a '
      f'run of {total}; expected a warm-up inside the run; shorten it or '
      'lengthen the run'
    )
  main = modules_with('train.schedules', 'build')[optim.schedule].build(
    optim, peak=peak, total=total, unit=unit
  )
  if optim.rate_by == 'epoch':
    main = _by_epoch(main, unit, optim.epochs)
  rate = main
  if warm:
    start = optim.warmup_lr * lr_scale(optim, batch=batch)
    rate = _warm_up(optim, main, start=start, peak=peak, warm=warm, unit=unit)
  if not optim.late:
    return rate
  return lambda step: rate(jnp.maximum(step - optim.late, 0))


def _by_epoch(
  main: optax.Schedule, unit: float, epochs: float
) -> optax.Schedule:
  """The schedule's value at the first step of an epoch, in all of it.

  An epoch is looked up, since a quotient may fall on the wrong side of a whole
  number.
  """
  starts = (np.arange(math.ceil(epochs)) * unit).astype(np.float32)

  def rate(step):
    epoch = jnp.searchsorted(starts[1:], step, side='right')
    return main(jnp.asarray(starts)[epoch])

  return rate


def _warm_up(
  optim: cfg.Optim,
  main: optax.Schedule,
  *,
  start: float,
  peak: float,
  warm: float,
  unit: float,
) -> optax.Schedule:
  """`main` behind a warm-up of `warm` steps, as `make_schedule` says."""
  if optim.warmup_to == 'scaled':
    low = 1 - start / peak
    end, last = warm, warm
    if optim.rate_by == 'epoch' and not optim.late:
      # mmcv sets the full rate at step W, or else at the next epoch: where W
      # is no whole number the last rate of the warm-up stays until then.
      end, last = math.ceil(optim.warmup) * unit, math.floor(warm)

    def scaled(step):
      factor = 1 - (1 - jnp.minimum(step, last) / warm) * low
      return main(step) * jnp.where(step < end, factor, 1.0)

    return scaled
  top = peak if optim.warmup_to == 'peak' else float(main(warm))
  ramp = optax.linear_schedule(start, top, warm)
  return lambda step: jnp.where(step < warm, ramp(step), main(step))


def make_optimizer(
  optim: cfg.Optim, learning_rate: optax.Schedule, params: Any
) -> optax.GradientTransformation:
  """Clipping by global norm, then the recipe's optimiser.

  `params` may be abstract: factors of rate and decay go by their paths. What
  is frozen has no gradients, updates and moments; `init` and `update` of the
  result take all parameters.
  """
  part = functools.partial(freezing.trained, optim)
  optimizer = modules_with('train.optimizers', 'build')[optim.name]
  decays = part(decay_factors(optim, params))
  rates = part(rate_factors(optim, params))
  mask = jax.tree.map(lambda factor: bool(np.any(factor)), decays)
  main = optimizer.build(optim, learning_rate, mask)
  # The mask knows whole leaves, and none or all of the decay.
  masked = jax.tree.map(lambda f: 1.0 if np.all(f == 0) else f, decays)
  tx = _by_parameter(main, decays=masked, rates=rates)
  if optim.clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(optim.clip_norm), tx)
  if not freezing.is_on(optim):
    return tx
  return optax.GradientTransformation(
    lambda params: tx.init(part(params)),
    lambda grads, state, params: tx.update(grads, state, part(params)),
  )


def rate_factors(optim: cfg.Optim, params: Any) -> Any:
  """What multiplies the rate of each parameter: a number, or one a block.

  Where blocks of a stacked leaf differ it is an array, [blocks, 1, ...]. It is
  the factor in `rates` times layer_decay ** (depth of the head - its depth).
  """
  factors = _factors(params, optim.rates, 'optim.rates')
  if optim.layer_decay == 1:
    return factors
  depths = layer_depths(params)
  top = max(np.max(depth) for depth in jax.tree.leaves(depths))
  return jax.tree.map(
    lambda factor, depth: factor * optim.layer_decay ** (top - depth),
    factors,
    depths,
  )


# A block of a family by its numbers, a layer that starts a stage, and what
# comes behind all blocks. All else is the stem.
_BLOCK = re.compile(r'(?:stage_?(\d+)[_/])?(?:block|layer)_?(\d+)/')
_STAGE = re.compile(r'(stage|down)_?(\d+)/')
_TOP = re.compile(r'(norm|(token_)?head|temporal)/')


def layer_depths(params: Any) -> Any:
  """The depth of each parameter: the stem's is 0, the head's the greatest.

  Blocks count from 1 in the order of their numbers. What leads to a stage, such
  as its patches, goes with the stage's first block; the last norm and X-ViT's
  attention over time go with the head. A number, or an array as
  `rate_factors`.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  paths = {
    row
    for key_path, _ in leaves
    for row in stacked_blocks.row_paths(parameter_path(key_path))
  }
  numbers = lambda block: tuple(int(n or 0) for n in block.groups())
  blocks = sorted({numbers(b) for b in map(_BLOCK.match, paths) if b})
  if not blocks:
    raise InputError(
      f'got optim.layer_decay with parameters such as {min(paths)!r}, in which '
      'no block has a number; expected paths such as block_0/...; try '
      'optim.rates'
    )

  def depth_of(path: str) -> float:
    if block := _BLOCK.match(path):
      return blocks.index(numbers(block)) + 1.0
    if stage := _STAGE.match(path):
      first = (int(stage[2]) + (stage[1] == 'down'), 0)
      return 1.0 + sum(block < first for block in blocks)
    return len(blocks) + 1.0 if _TOP.match(path) else 0.0

  return _map_rows(depth_of, params)


def decay_factors(optim: cfg.Optim, params: Any) -> Any:
  """What multiplies `weight_decay` for each parameter, as `rate_factors`."""
  if optim.decay == 'no_norm_bias':
    return jax.tree_util.tree_map_with_path(_is_weight, params)
  pairs = optim.decays if optim.decay == 'as_released' else ()
  return _factors(params, pairs, 'optim.decays')


def _is_weight(key_path: tuple, leaf: Any) -> float:
  """0.0 for biases and what has one axis, as norms' scales have; else 1.0."""
  path = parameter_path(key_path)
  axes = len(leaf.shape) - stacked_blocks.is_stacked(path)
  return float(axes > 1 and not path.endswith('bias'))


def _factors(
  params: Any, pairs: Sequence[tuple[str, float]], field: str
) -> Any:
  """Each leaf's factor by the first pair whose regex its path contains.

  Raises InputError for a pair that decides about no parameter.
  """
  used: set[str] = set()

  def factor_of(path: str) -> float:
    for regex, factor in pairs:
      if re.search(regex, path):
        used.add(regex)
        return factor
    return 1.0

  factors = _map_rows(factor_of, params)
  for regex, factor in pairs:
    if regex not in used:
      path = parameter_path(jax.tree_util.tree_leaves_with_path(params)[0][0])
      raise InputError(
        f'got {(regex, factor)} in {field}, which matches no parameter, or '
        'none that an earlier pair does not; expected a regex over paths such '
        f'as {stacked_blocks.row_paths(path)[0]!r}'
      )
  return factors


def _map_rows(factor_of: Callable[[str], float], params: Any) -> Any:
  """`factor_of` each leaf's path; [blocks, 1, ...] where its blocks differ."""

  def of_leaf(key_path: tuple, leaf: Any) -> float | np.ndarray:
    rows = stacked_blocks.row_paths(parameter_path(key_path))
    factors = [factor_of(row) for row in rows]
    if len(set(factors)) == 1:
      return factors[0]
    column = np.asarray(factors, np.float32)
    return column.reshape(-1, *[1] * (len(leaf.shape) - 1))

  return jax.tree_util.tree_map_with_path(of_leaf, params)


def _by_parameter(
  tx: optax.GradientTransformation, *, decays: Any, rates: Any
) -> optax.GradientTransformation:
  """The optimiser with each parameter's own factor of decay and of rate.

  An optimiser reads weights for their decay alone, so it sees them times the
  factor of that. Every update is a multiple of the rate, and so it is
  multiplied; decoupled decay is a part of it.
  """
  scales = lambda factors: any(
    np.any(np.asarray(factor) != 1) for factor in jax.tree.leaves(factors)
  )
  if not scales(decays) and not scales(rates):
    return tx
  times = lambda x, factor: x if np.all(factor == 1) else x * factor

  def update(updates, state, params):
    seen = jax.tree.map(times, params, decays)
    updates, state = tx.update(updates, state, seen)
    return jax.tree.map(times, updates, rates), state

  return optax.GradientTransformation(tx.init, update)
