"""Facts about a data set: its classes in order, and what a mirror does to them.

The order of the classes is what a label means, so it is a file of its own
(`classes.txt`, a name a line) and its hash travels with records, checkpoints
and results.
"""

import dataclasses
import difflib
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from vidmodels.typing import InputError

CLASSES_FILE = 'classes.txt'


@dataclasses.dataclass(frozen=True)
class ClassList:
  """Class names; a name's position is its label.

  Attributes:
    names: K names, all different, none empty.

  Raises:
    InputError: if a name is empty, doubled or spans lines, or there is none.
  """

  names: tuple[str, ...]

  def __post_init__(self):
    if not self.names:
      raise InputError(
        'a class list came without a class; wanted at least one name; give a '
        'file with one name a line'
      )
    first: dict[str, int] = {}
    for i, name in enumerate(self.names):
      if not name.strip() or len(name.splitlines()) != 1:
        raise InputError(
          f'class {i} came as {name!r}; wanted a name of one line that is not '
          'empty; correct the class list'
        )
      if name in first:
        raise InputError(
          f'class {name!r} came twice, as {first[name]} and as {i}; wanted '
          'every name once; correct the class list'
        )
      first[name] = i

  @classmethod
  def from_names(cls, names: Sequence[str]) -> Self:
    """A class list in the order given."""
    return cls(tuple(names))

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> Self:
    """Reads a file with one class name a line.

    Raises:
      InputError: if the file cannot be read or its names are unfit.
    """
    path = pathlib.Path(path)
    try:
      text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as e:
      raise InputError(
        f'class list {path} cannot be read ({e}); wanted a UTF-8 text file '
        'with one class name a line'
      ) from e
    try:
      return cls(tuple(line.strip() for line in text.rstrip().split('\n')))
    except InputError as e:
      raise InputError(f'{path}: {e}') from e

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the names, one a line; the file appears whole or not at all."""
    path = pathlib.Path(path)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    part.write_text(self._text(), encoding='utf-8')
    part.replace(path)

  @property
  def sha256(self) -> str:
    """Hex digest of the names in order: two sets agree on labels iff equal."""
    return hashlib.sha256(self._text().encode()).hexdigest()

  def __len__(self) -> int:
    return len(self.names)

  def index(self, label: str | int) -> int:
    """The label of a class given by name or by decimal index.

    A string is looked up as a name first, so a class may be called '7'.

    Raises:
      InputError: if no class has this name, or the index is out of range.
    """
    if isinstance(label, str):
      label = label.strip()
      if label in self.names:
        return self.names.index(label)
      if not label.removeprefix('-').isdecimal():
        near = difflib.get_close_matches(label, self.names, 1, 0.5)
        hint = (
          f'did you mean {near[0]!r}?'
          if near
          else (f'the classes run from {self.names[0]!r} to {self.names[-1]!r}')
        )
        raise InputError(
          f'label {label!r} came; wanted one of {len(self)} class names; {hint}'
        )
    index = int(label)
    if not 0 <= index < len(self):
      raise InputError(
        f'label {index} came; wanted 0 to {len(self) - 1} ({len(self)} '
        'classes, counted from 0); correct the label or the class list'
      )
    return index

  def first_difference(self, other: 'ClassList') -> str | None:
    """Where two lists part, in words; None if they are the same."""
    for i, (ours, theirs) in enumerate(
      zip(self.names, other.names, strict=False)
    ):
      if ours != theirs:
        return f'class {i} is {ours!r} here and {theirs!r} there'
    if len(self) != len(other):
      return f'{len(self)} classes here and {len(other)} there'
    return None

  def _text(self) -> str:
    return '\n'.join(self.names) + '\n'


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
  def parse(cls, text: str) -> Self:
    """Reads 'free', 'forbid' or 'swap:left=right,3=4'.

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
    return cls(kind, pairs)

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    return {'kind': self.kind, 'pairs': [list(pair) for pair in self.pairs]}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """The policy that `to_json` wrote."""
    return cls(value['kind'], tuple((a, b) for a, b in value['pairs']))

  def check(self, classes: ClassList) -> None:
    """Raises InputError if a pair names a class that the set lacks."""
    indices = [classes.index(name) for pair in self.pairs for name in pair]
    if len(set(indices)) != len(indices):
      raise InputError(
        f'flip pairs {self.pairs} name a class twice, by name and by number; '
        'wanted each class in at most one pair'
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
