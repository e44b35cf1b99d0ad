"""What a mirror does to the labels of a data set."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class FlipPolicy:
  """What a horizontal mirror does to the labels of a data set.

  'free': labels stay. 'forbid': a mirrored clip has no valid label, so nothing
  may flip. 'swap': each pair of classes trades labels ('left' and 'right'),
  the others stay. Nothing is assumed: who says nothing gets 'forbid'.

  Attributes:
    kind: one of the three.
    pairs: class names (or decimal labels) that trade places; only for 'swap'.

  Raises:
    InputError: if pairs and kind do not go together or a class is in two pairs.
  """

  kind: Literal['free', 'forbid', 'swap'] = 'forbid'
  pairs: tuple[tuple[str, str], ...] = ()

  def __post_init__(self):
    if self.kind not in ('free', 'forbid', 'swap'):
      raise InputError(
        f'flip policy {self.kind!r} came; wanted free, forbid or '
        'swap:left=right,...; say what a mirror does to the labels'
      )
    if (self.kind == 'swap') != bool(self.pairs):
      raise InputError(
        f'flip policy {self.kind!r} came with {len(self.pairs)} pairs; wanted '
        'pairs for swap and for nothing else, as in swap:left=right'
      )
    flat = [name for pair in self.pairs for name in pair]
    for name in flat:
      if not name or flat.count(name) > 1:
        raise InputError(
          f'flip policy has class {name!r} {flat.count(name)} times; wanted '
          'each class in at most one pair; correct swap:a=b,c=d'
        )

  @classmethod
  def parse(cls, text: str, mirror: Sequence[tuple[str, str]] = ()) -> Self:
    """Reads 'free', 'forbid', 'swap:left=right,3=4' or 'swap'.

    Args:
      text: the policy.
      mirror: the data set's own pairs, which 'swap' alone means.

    Raises:
      InputError: if the text is none of these.
    """
    kind, _, rest = text.strip().partition(':')
    pairs = tuple(
      tuple(name.strip() for name in pair.split('='))
      for pair in rest.split(',')
      if pair.strip()
    )
    if any(len(pair) != 2 for pair in pairs):
      raise InputError(
        f'flip policy {text!r} came; wanted pairs as in '
        'swap:left=right,up=down; give labels as numbers if a name has = or ,'
      )
    if kind == 'swap' and not rest.strip():
      pairs = tuple(mirror)
    return cls(kind, pairs)

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    return {'kind': self.kind, 'pairs': [list(pair) for pair in self.pairs]}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """The policy that `to_json` wrote."""
    return cls(value['kind'], tuple((a, b) for a, b in value['pairs']))

  def check(self, classes: ClassList, task: Task = SINGLE) -> None:
    """Looks whether a set can have this policy.

    Args:
      classes: of the set.
      task: what its labels are.

    Raises:
      InputError: if a pair names a class that the set lacks, or trades answers
        to two questions: then a mirrored clip would have two verbs or none.
    """
    indices = [
      tuple(classes.index(name) for name in pair) for pair in self.pairs
    ]
    flat = [index for pair in indices for index in pair]
    if len(set(flat)) != len(flat):
      raise InputError(
        f'flip pairs {self.pairs} name a class twice, by name and by number; '
        'wanted each class in at most one pair'
      )
    parts = task.parts(len(classes)).values()
    for (one, other), pair in zip(indices, self.pairs, strict=True):
      if not any({one, other} <= {*range(p.start, p.stop)} for p in parts):
        raise InputError(
          f'flip pair {pair[0]}={pair[1]} trades classes of two of the heads '
          f'{dict(task.heads)}; wanted both of one'
        )

  def label_map(self, classes: ClassList) -> np.ndarray:
    """The label of each class's mirror image, int64 [K].

    Raises:
      InputError: if the policy forbids to flip, or a pair's class is unknown.
    """
    if self.kind == 'forbid':
      raise InputError(
        'a flip was asked of a data set that forbids it (a mirrored clip may '
        'have another label); wanted augment.flip=0, or prepare the set again '
        'with --flip=free or --flip=swap:left=right'
      )
    self.check(classes)
    label_K = np.arange(len(classes))
    for pair in self.pairs:
      a, b = (classes.index(name) for name in pair)
      label_K[a], label_K[b] = b, a
    return label_K
