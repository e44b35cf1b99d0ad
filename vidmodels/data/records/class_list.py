"""The classes of a data set, in order.

  classes = ClassList.load('records/classes.txt')
  classes.names[3], classes.index('walk'), classes.sha256

The order defines what a label means. So the list is a file of its own
(`classes.txt`, one name a line), and its hash travels with records, checkpoints
and results.
"""

import dataclasses
import difflib
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Self

from vidmodels import checked_json, files
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, InputError, brief

CLASSES_FILE = 'classes.txt'


def _is_name(name: object) -> bool:
  """Whether it is one line of text; half a surrogate pair is none."""
  if not isinstance(name, str) or not name.strip():
    return False
  has_halves = any('\ud800' <= letter <= '\udfff' for letter in name)
  return not has_halves and len(name.splitlines()) == 1


@dataclasses.dataclass(frozen=True)
class ClassList:
  """Class names; the position of a name is its label."""

  names: tuple[str, ...]  # K names, all different, none empty

  def __post_init__(self):
    if not self.names:
      raise InputError(
        'got a class list without a class; expected at least one name; try a '
        'file with one name a line'
      )
    first: dict[str, int] = {}
    for i, name in enumerate(self.names):
      if not _is_name(name):
        raise InputError(
          f'got {brief(name)} as class {i}; expected one line of text that is '
          'not empty; try to correct the class list'
        )
      if name in first:
        raise InputError(
          f'got class {brief(name)} twice, as {first[name]} and as {i}; '
          'expected every name once; try to correct the class list'
        )
      first[name] = i

  @classmethod
  def from_names(cls, names: Sequence[str]) -> Self:
    """A class list in the order given."""
    return cls(tuple(names))

  @classmethod
  def load(cls, path: AnyPath) -> Self:
    """Reads a UTF-8 file with one class name a line."""
    path = files.place(path)
    try:
      text = checked_json.read_bytes(path).decode('utf-8-sig')
    except (OSError, UnicodeDecodeError, checked_json.JsonError) as e:
      raise InputError(
        f'got {path} for a class list, which cannot be read ({e}); expected a '
        'UTF-8 text file with one class name a line'
      ) from e
    try:
      lines = text.rstrip().replace('\r\n', '\n').replace('\r', '\n')
      return cls(tuple(line.strip() for line in lines.split('\n')))
    except InputError as e:
      raise InputError(f'{path}: {e}') from e

  def save(self, path: AnyPath) -> None:
    """Writes the names, one a line; the file appears whole or not at all."""
    write_atomically(files.place(path), self._text().encode())

  @property
  def sha256(self) -> str:
    """Hex digest of the names in order: equal iff labels mean the same."""
    return hashlib.sha256(self._text().encode()).hexdigest()

  def __len__(self) -> int:
    return len(self.names)

  def index(self, label: str | int) -> int:
    """The label of a class given by name or by decimal index.

    A string is first tried as a name, so a class may be called '7'.
    """
    if isinstance(label, str):
      label = label.strip()
      if label in self.names:
        return self.names.index(label)
      # No class list has 10**18 names, and Python does not read 5000 digits.
      if not label.removeprefix('-').isdecimal() or len(label) > 18:
        label = label[:200]
        hint = f'they run from {self.names[0]!r} to {self.names[-1]!r}'
        for near in difflib.get_close_matches(label, self.names, 1, 0.5):
          hint = f'did you mean {near!r}?'
        raise InputError(
          f'got label {label!r}; expected one of {len(self)} class names; '
          + hint
        )
    index = int(label)
    if not 0 <= index < len(self):
      raise InputError(
        f'got label {index}; expected 0 to {len(self) - 1} ({len(self)} '
        'classes, counted from 0); try to correct the label or the class list'
      )
    return index

  def first_difference(self, other: 'ClassList') -> str | None:
    """Where two lists differ, in words; None if they are the same."""
    pairs = zip(self.names, other.names, strict=False)
    for i, (ours, theirs) in enumerate(pairs):
      if ours != theirs:
        return f'class {i} is {brief(ours)} here and {brief(theirs)} there'
    if len(self) != len(other):
      return f'{len(self)} classes here and {len(other)} there'
    return None

  def check_same(self, bound: 'ClassList | None', dir: pathlib.Path) -> None:
    """Raises InputError unless the other splits of a folder have this list."""
    difference = bound and self.first_difference(bound)
    if difference:
      raise InputError(
        f'got a class list that differs from {dir / CLASSES_FILE}: '
        f'{difference} ("there" is that file); expected the list of the other '
        'splits there; try the same --classes, or another folder'
      )

  def _text(self) -> str:
    return '\n'.join(self.names) + '\n'
