"""What the labels of a data set are: how many a video has, and of what.

Labels are numbers in one class list. A set with several questions (EPIC's verb
and noun) has one list too, its heads' lists end to end, so that one hash and
one axis K serve all of them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from vidmodels.typing import InputError

_HEAD = re.compile(r'(\w+)=(\d{1,6})', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Task:
  """How the labels of a set are to be taken.

  'single': a video has one class of each head. 'multi': it has any number of
  classes, none included; each is a question of its own (Charades). 'any': it
  has one or more, and each of them is a right answer (ActivityNet's whole
  videos).

  Attributes:
    kind: one of the three.
    heads: (name, classes) of the parts of the class list, in its order; empty
      if the whole list is one question. Only for 'single'.

  Raises:
    InputError: if kind and heads do not go together.
  """

  kind: Literal['single', 'multi', 'any'] = 'single'
  heads: tuple[tuple[str, int], ...] = ()

  def __post_init__(self):
    names = [name for name, _ in self.heads]
    if self.kind not in ('single', 'multi', 'any'):
      raise InputError(
        f'labels of kind {self.kind!r} came; wanted single, multi or any'
      )
    if self.heads and self.kind != 'single':
      raise InputError(
        f'labels of kind {self.kind!r} came with the heads {names}; wanted '
        'heads for single labels only'
      )
    if len(set(names)) != len(names) or not all(
      name.isidentifier() and size > 0 for name, size in self.heads
    ):
      raise InputError(
        f'the heads {self.heads} came; wanted different names, each with at '
        'least one class'
      )

  @classmethod
  def parse(cls, text: str) -> Self:
    """Reads 'single', 'multi', 'any' or heads such as 'verb=97,noun=300'.

    Raises:
      InputError: if the text is none of these.
    """
    heads = [_HEAD.fullmatch(part.strip()) for part in text.split(',')]
    if all(heads):
      return cls(heads=tuple((m[1], int(m[2])) for m in heads))
    if text not in ('single', 'multi', 'any'):
      raise InputError(
        f'labels {text!r} came; wanted single, multi, any, or heads as in '
        'verb=97,noun=300'
      )
    return cls(text)

  @property
  def sizes(self) -> tuple[int, ...]:
    """Classes of each head; empty without heads."""
    return tuple(size for _, size in self.heads)

  def parts(self, classes: int) -> dict[str, slice]:
    """Where each head's classes lie in the list; {'': all} without heads.

    Raises:
      InputError: if the heads do not add up to so many classes.
    """
    if not self.heads:
      return {'': slice(0, classes)}
    if sum(self.sizes) != classes:
      raise InputError(
        f'the heads {dict(self.heads)} came with {classes} classes; wanted '
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
          f'label {label} came; wanted 0 to {classes - 1}; give the class list '
          'that the records were made with'
        )
    if len(set(labels)) != len(labels):
      raise InputError(f'labels {tuple(labels)} came; wanted each class once')
    if self.kind == 'any' and not labels:
      raise InputError('no label came; wanted at least one class')
    if self.kind != 'single':
      return
    parts = self.parts(classes)
    fits = len(labels) == len(parts) and all(
      part.start <= label < part.stop
      for label, part in zip(labels, parts.values(), strict=True)
    )
    if not fits:
      wanted = ' and '.join(f'one {name}' for name in parts if name)
      raise InputError(
        f'labels {tuple(labels)} came; wanted {wanted or "one class"} for '
        'every video'
      )

  def row(self, labels: Sequence[int], classes: int) -> np.ndarray:
    """The labels of a video as they stand in a batch.

    Returns:
      int32 [] for one class, int32 [heads] for one of each head (numbers in
      the whole list), else float32 [K] with 1 at each class.

    Raises:
      InputError: as `check`.
    """
    self.check(labels, classes)
    if self.kind == 'single':
      label_x = np.asarray(labels, np.int32)
      return label_x if self.heads else label_x[0]
    label_K = np.zeros(classes, np.float32)
    label_K[list(labels)] = 1
    return label_K

  def blank(self, classes: int) -> np.ndarray:
    """What stands for the labels of a padded row; shaped as `row`."""
    if self.kind != 'single':
      return np.zeros(classes, np.float32)
    starts = [part.start for part in self.parts(classes).values()]
    return np.asarray(starts if self.heads else 0, np.int32)

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    return {'kind': self.kind, 'heads': [list(head) for head in self.heads]}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """The task that `to_json` wrote."""
    return cls(value['kind'], tuple((n, int(k)) for n, k in value['heads']))


SINGLE = Task()
