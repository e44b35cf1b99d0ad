"""Which fields of a DualFormer contradict each other."""

import dataclasses

import numpy as np
from flax import linen as nn

from vidmodels.nn.attention import split_heads
from vidmodels.typing import InputError

PER_STAGE = (
  'layers',
  'heads',
  'mlp_ratios',
  'patterns',
  'windows',
  'fine',
  'coarse',
)
# Fields that one kind of level alone reads, and what says the same as leaving
# them alone, stage by stage.
UNREAD = {
  'L': {'windows': (1, 1, 1)},
  'G': {'fine': (), 'coarse': (), 'pooling': None},
}


def check_fields(model: nn.Module) -> None:
  """Raises InputError for fields of a model that cannot all be meant."""
  stages = len(model.widths)
  wanted = dict.fromkeys(PER_STAGE, stages) | {'rates': stages - 1}
  for name, size in wanted.items():
    if len(getattr(model, name)) != size:
      raise InputError(
        f'{name}={getattr(model, name)} and widths={model.widths} disagree; '
        f'wanted {size} values for {stages} stages'
      )
  for width, heads in zip(model.widths, model.heads, strict=True):
    split_heads(width, heads)
  for pattern, window in zip(model.patterns, model.windows, strict=True):
    _refuse_pattern(pattern, window)
  for target in (*model.fine, *model.coarse):
    if len(target) not in (0, 3):
      raise InputError(
        f'a scale aims at {target}; wanted (frames, rows, columns), or () for '
        'no such scale'
      )
  _refuse_unread(model)


def _refuse_pattern(pattern: str, window: tuple[int, ...]) -> None:
  if not pattern or set(pattern) - {'L', 'G'}:
    raise InputError(
      f"a stage's pattern is {pattern!r}; wanted letters L and G, e.g. 'LG'"
    )
  if 'L' in pattern and np.prod(window) == 1:
    raise InputError(
      f'pattern {pattern!r} looks at windows of a single token; say G for '
      'levels that look at the whole clip'
    )


def _refuse_unread(model: nn.Module) -> None:
  """Raises InputError for a field that is set and that nothing reads."""
  kinds = set(''.join(model.patterns))
  defaults = {f.name: f.default for f in dataclasses.fields(model)}
  unread = {}
  for kind in UNREAD.keys() - kinds:
    unread |= UNREAD[kind]
  for name, empty in unread.items():
    value = getattr(model, name)
    plain = empty is not None and all(part == empty for part in value)
    if value != defaults[name] and not plain:
      raise InputError(
        f'{name}={value} is read by no level of patterns={model.patterns}; '
        'leave it out or change the patterns'
      )
  if model.position == 'relative' and 'L' not in kinds:
    raise InputError(
      "position='relative' is a bias of local levels and there are none; "
      'choose another or change the patterns'
    )
