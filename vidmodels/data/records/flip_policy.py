"""What a horizontal mirror does to the labels of a data set.

policy = FlipPolicy.parse('swap:left=right')
policy.label_map(classes)  # the label of each class's mirror image
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, cast

import numpy as np

from vidmodels import checked_json
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

FlipKind = Literal['free', 'forbid', 'swap']
_FIELDS = {'kind': FlipKind, 'pairs': tuple[tuple[str, str], ...]}


@dataclasses.dataclass(frozen=True)
class FlipPolicy:
  """What a horizontal mirror does to the labels of a data set.

  'free': labels stay. 'forbid': a mirrored clip has no valid label, so nothing
  may flip. 'swap': the classes of each pair trade labels ('left' and 'right'),
  the others stay. Nothing is assumed: the default is 'forbid'.
  """

  kind: FlipKind = 'forbid'  # one of the three
  # pairs: class names (or decimal labels) that trade labels; only for 'swap'
  pairs: tuple[tuple[str, str], ...] = ()

  def __post_init__(self):
    if self.kind not in ('free', 'forbid', 'swap'):
      raise InputError(
        f'got flip policy {self.kind!r}; expected free, forbid or swap; try '
        'swap:left=right,... to say what a mirror does to the labels'
      )
    if (self.kind == 'swap') != bool(self.pairs):
      raise InputError(
        f'got flip policy {self.kind!r} with {len(self.pairs)} pairs; expected '
        'pairs for swap and for nothing else; try swap:left=right'
      )
    flat = [name for pair in self.pairs for name in pair]
    for name in flat:
      if not name or flat.count(name) > 1:
        raise InputError(
          f'got class {name!r} {flat.count(name)} times in a flip policy; '
          'expected each class in at most one pair; try swap:a=b,c=d'
        )

  @classmethod
  def parse(cls, text: str, mirror: Sequence[tuple[str, str]] = ()) -> Self:
    """Reads 'free', 'forbid', 'swap:left=right,3=4' or 'swap'.

    'swap' alone means `mirror`, the data set's own pairs.
    """
    kind, _, rest = text.strip().partition(':')
    pairs: list[tuple[str, str]] = []
    for pair in rest.split(','):
      names = [name.strip() for name in pair.split('=')]
      if len(names) == 2:
        pairs.append((names[0], names[1]))
      elif pair.strip():
        raise InputError(
          f'got flip policy {text!r}; expected pairs of classes; try '
          'swap:left=right,up=down, with numbers for names with = or ,'
        )
    if kind == 'swap' and not rest.strip():
      pairs = list(mirror)
    return cls(cast(FlipKind, kind), tuple(pairs))

  def to_text(self) -> str:
    """What `parse` reads, as --flip takes it."""
    pairs = ','.join('='.join(pair) for pair in self.pairs)
    return f'{self.kind}:{pairs}' if pairs else self.kind

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    return {'kind': self.kind, 'pairs': [list(pair) for pair in self.pairs]}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """Reads what `to_json` wrote; InputError for anything else."""
    return cls(**checked_json.fields(value, _FIELDS, name='the flip policy'))

  def check(self, classes: ClassList, task: Task = SINGLE) -> None:
    """Raises InputError unless a set can have this policy.

    A pair of classes of two heads is wrong too: a mirrored clip would then have
    two verbs or none.
    """
    indices = [
      tuple(classes.index(name) for name in pair) for pair in self.pairs
    ]
    flat = [index for pair in indices for index in pair]
    if len(set(flat)) != len(flat):
      raise InputError(
        f'got flip pairs {self.pairs} with a class twice, by name and by '
        'number; expected each class in at most one pair'
      )
    parts = task.parts(len(classes)).values()
    for (one, other), pair in zip(indices, self.pairs, strict=True):
      if not any({one, other} <= {*range(p.start, p.stop)} for p in parts):
        raise InputError(
          f'got flip pair {pair[0]}={pair[1]}, which trades classes of two of '
          f'the heads {dict(task.heads)}; expected two classes of one head'
        )

  def label_map(self, classes: ClassList) -> np.ndarray:
    """The label of each class's mirror image, int64 [K]."""
    if self.kind == 'forbid':
      raise InputError(
        'got a flip for a data set that forbids it (a mirrored clip may have '
        'another label); expected augment.flip=0; try that, or prepare the set '
        'again with --flip=free or --flip=swap:left=right'
      )
    self.check(classes)
    label_K = np.arange(len(classes))
    for pair in self.pairs:
      a, b = (classes.index(name) for name in pair)
      label_K[a], label_K[b] = b, a
    return label_K
