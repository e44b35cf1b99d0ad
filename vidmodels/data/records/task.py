"""What the labels of a data set are: how many a video has, and of what.

  task = Task.parse('verb=97,noun=300')
  task.parts(397)  # {'verb': slice(0, 97), 'noun': slice(97, 397)}

Labels are numbers in one class list. A set with several questions (the verb and
the noun of EPIC) also has one list, that of its heads one after the other, so
that one hash and one axis K serve all of them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np

from vidmodels import checked_json
from vidmodels.typing import InputError, Positive

LabelKind = Literal['single', 'multi', 'any']
_HEAD = re.compile(r'(\w+)=(\d{1,6})', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
  """How the labels of a set are used.

  'single': a video has one class of each head. 'multi': it has any number of
  classes, or none; each is a question of its own (Charades). 'any': it has one
  or more classes, and each is a right answer (whole videos of ActivityNet).
  """

  kind: LabelKind = 'single'  # one of the three
  # heads: (name, classes) of the parts of the class list, in its order; empty
  # if the whole list is one question. Only for 'single'.
  heads: tuple[tuple[str, int], ...] = ()

  def __post_init__(self):
    names = [name for name, _ in self.heads]
    if self.kind not in get_args(LabelKind):
      raise InputError(
        f'got labels of kind {self.kind!r}; expected single, multi or any'
      )
    if self.heads and self.kind != 'single':
      raise InputError(
        f'got labels of kind {self.kind!r} with the heads {names}; expected '
        'heads for single labels only'
      )
    if len(set(names)) != len(names) or not all(
      name.isidentifier() and size > 0 for name, size in self.heads
    ):
      raise InputError(
        f'got the heads {self.heads}; expected different names, each with at '
        'least one class'
      )

  @classmethod
  def parse(cls, text: str) -> Self:
    """Reads 'single', 'multi', 'any' or heads such as 'verb=97,noun=300'."""
    for kind in get_args(LabelKind):
      if text == kind:
        return cls(kind)
    heads = []
    for part in text.split(','):
      match = _HEAD.fullmatch(part.strip())
      if match is None:
        raise InputError(
          f'got labels {text!r}; expected single, multi, any, or heads; try '
          'verb=97,noun=300'
        )
      heads.append((match[1], int(match[2])))
    return cls(heads=tuple(heads))

  @property
  def sizes(self) -> tuple[int, ...]:
    """Classes of each head; empty without heads."""
    return tuple(size for _, size in self.heads)

  def parts(self, classes: int) -> dict[str, slice]:
    """Where each head's classes lie in the list; {'': all} without heads."""
    if not self.heads:
      return {'': slice(0, classes)}
    if sum(self.sizes) != classes:
      raise InputError(
        f'got the heads {dict(self.heads)} with {classes} classes; expected '
        f'{sum(self.sizes)}, the heads one after the other'
      )
    ends = np.cumsum(self.sizes).tolist()
    return {
      name: slice(end - size, end)
      for (name, size), end in zip(self.heads, ends, strict=True)
    }

  def check(self, labels: Sequence[int], classes: int) -> None:
    """Raises InputError if a video of this set cannot have these labels."""
    for label in labels:
      if not 0 <= label < classes:
        raise InputError(
          f'got label {label}; expected 0 to {classes - 1}; try the class list '
          'that the records were made with'
        )
    if len(set(labels)) != len(labels):
      raise InputError(f'got labels {tuple(labels)}; expected each class once')
    if self.kind == 'any' and not labels:
      raise InputError('got no label; expected at least one class')
    if self.kind != 'single':
      return
    parts = self.parts(classes)
    fits = len(labels) == len(parts) and all(
      part.start <= label < part.stop
      for label, part in zip(labels, parts.values(), strict=True)
    )
    if not fits:
      expected = ' and '.join(f'one {name}' for name in parts if name)
      raise InputError(
        f'got labels {tuple(labels)}; expected {expected or "one class"} for '
        'every video'
      )

  def row(self, labels: Sequence[int], classes: int) -> np.ndarray:
    """The labels of a video, once checked, as a row of a batch.

    int32 [] for one class, int32 [heads] for one of each head (numbers in the
    whole list), else float32 [K] with 1 at each class.
    """
    self.check(labels, classes)
    if self.kind == 'single':
      label_x = np.asarray(labels, np.int32)
      return label_x if self.heads else label_x[0]
    label_K = np.zeros(classes, np.float32)
    label_K[list(labels)] = 1
    return label_K

  def blank(self, classes: int) -> np.ndarray:
    """The labels of a padded row; shaped as `row`."""
    if self.kind != 'single':
      return np.zeros(classes, np.float32)
    starts = [part.start for part in self.parts(classes).values()]
    return np.asarray(starts if self.heads else 0, np.int32)

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    return {'kind': self.kind, 'heads': [list(head) for head in self.heads]}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """Reads what `to_json` wrote; InputError for anything else."""
    return cls(**checked_json.fields(value, _FIELDS, name='the task'))


_FIELDS = {'kind': LabelKind, 'heads': tuple[tuple[str, Positive], ...]}
SINGLE = Task()
