"""Fields of a recipe that contradict each other, or that nothing would read."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import Any

from vidmodels.typing import InputError

if typing.TYPE_CHECKING:
  from vidmodels.config import Config


def check(config: 'Config') -> None:
  """Refuses contradictions and fields without effect.

  Raises:
    InputError: naming the fields, what they are and what was wanted.
  """
  for holds, message in (*_schedule(config), *_shapes(config)):
    if not holds:
      raise InputError(message)
  _check_read(config)


def _schedule(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of the optimiser, each with what to say if it does not."""
  optim = config.optim
  has_steps = bool(optim.milestones or optim.factors)
  return (
    (
      bool(optim.epochs) != bool(optim.steps),
      f'optim has epochs={optim.epochs} and steps={optim.steps}; set one',
    ),
    (
      (optim.schedule == 'step') == has_steps,
      f'optim.schedule is {optim.schedule!r} with milestones '
      f'{optim.milestones}; milestones and factors belong to "step" alone',
    ),
    (
      len(optim.milestones) == len(optim.factors),
      'optim.milestones and optim.factors must have one value each per drop',
    ),
    (
      _compiles(optim.decay_skip),
      f'optim.decay_skip {optim.decay_skip!r} is no regular expression',
    ),
  )


def _shapes(config: 'Config') -> tuple[tuple[bool, str], ...]:
  """What must hold of data, clips, batches and meshes."""
  clip, sizes = config.clip, dataclasses.astuple(config.mesh)
  low, high = config.augment.short_side
  return (
    (config.data.dir, 'data.dir is empty; give the folder that prepare wrote'),
    (
      config.init_from
      or (config.init_head, config.init_positions) == ('auto', ''),
      f'init_head={config.init_head!r} and init_positions='
      f'{config.init_positions!r} say how a file is read and init_from names '
      'none; give it, or leave both at their defaults',
    ),
    (
      clip.sampling == 'dense' or (clip.stride, clip.unit) == (1.0, 'frame'),
      f'clip.stride={clip.stride} {clip.unit} means nothing to segment '
      'sampling, which spans the video; leave both at 1 frame',
    ),
    (
      config.batch % config.accumulate == 0,
      f'batch {config.batch} does not divide into '
      f'accumulate={config.accumulate} equal microbatches',
    ),
    (
      len(config.data.mean) == len(config.data.std) == 3
      and min(config.data.std) > 0,
      f'data.mean {config.data.mean} and data.std {config.data.std} need three '
      'values each, std above 0',
    ),
    (
      all(s == -1 or s >= 1 for s in sizes) and sizes.count(-1) <= 1,
      f'mesh is {sizes}; wanted sizes of at least 1, at most one of them -1',
    ),
    (
      clip.size <= low <= high,
      f'augment.short_side is {(low, high)} with crops of {clip.size} pixels; '
      f'wanted clip.size <= low <= high, or the crop is larger than the frame',
    ),
    (
      config.views.short_side in (0, *range(clip.size, 1 << 16)),
      f'views.short_side {config.views.short_side} is under the crop of '
      f'{clip.size} pixels; give at least that, or 0 for the crop itself',
    ),
  )


def _check_read(config: 'Config') -> None:
  """Refuses fields that another field makes idle."""
  optim, clip = config.optim, config.clip
  for section, fields, read, reason in (
    ('optim', 'momentum nesterov', optim.name == 'sgd', 'optim.name=sgd'),
    ('optim', 'b1 b2 eps', optim.name == 'adamw', 'optim.name=adamw'),
    ('optim', 'final_lr', optim.schedule == 'cosine', 'optim.schedule=cosine'),
    ('optim', 'warmup_lr', optim.warmup > 0, 'optim.warmup above 0'),
    (
      'optim',
      'decay_skip',
      optim.weight_decay > 0,
      'optim.weight_decay above 0',
    ),
    ('clip', 'short', clip.sampling == 'dense', 'clip.sampling=dense'),
    ('loss', 'token_share', bool(config.loss.teacher), 'loss.teacher'),
  ):
    if not read:
      _refuse_unread(section, getattr(config, section), fields.split(), reason)


def _compiles(regex: str) -> bool:
  try:
    re.compile(regex)
  except re.error:
    return False
  return True


def _refuse_unread(
  section: str, values: Any, fields: Sequence[str], reason: str
) -> None:
  """A field that nothing reads must not be set: its author expects effect."""
  for name in fields:
    value = getattr(values, name)
    if value != getattr(type(values)(), name):
      raise InputError(
        f'{section}.{name} is {value!r} and nothing reads it without {reason}; '
        'leave it at its default'
      )
