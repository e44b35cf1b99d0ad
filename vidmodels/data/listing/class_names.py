"""From class names to labels, exactly or in any Unicode spelling.

'é' is one letter in Unicode (NFC), or 'e' and an accent (NFD). A Mac writes NFD
into folder names, most other systems write NFC. Names that are collected from a
source become NFC; a label finds its class in either spelling.
"""

import unicodedata
from collections.abc import Iterable

from vidmodels.data.listing.rows import note_names
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def normalize_name(name: str) -> str:
  """The name in NFC: every letter as one character, where Unicode has it."""
  return name if name.isascii() else unicodedata.normalize('NFC', name)


class ExactNames:
  """Labels by class name alone: '7' is not a label in an official file."""

  def __init__(self, classes: ClassList):
    self.classes = classes
    self._labels = {name: i for i, name in enumerate(classes.names)}

  def __contains__(self, name: str) -> bool:
    return name in self._labels

  def label(self, name: str) -> int:
    """The label of a class; an unknown name is an error with the nearest."""
    if name in self._labels:
      return self._labels[name]
    if name.removeprefix('-').isdecimal():
      raise InputError(
        f'got label {name[:40]!r}; expected the name of a class, such as '
        f'{self.classes.names[0]!r}'
      )
    return self.classes.index(name[:200])


class AnySpelling:
  """Labels by class name or index, in any Unicode spelling.

  The exact name of a class goes before a name that only looks the same.
  """

  def __init__(self, classes: ClassList):
    self._classes = classes
    self._labels = {normalize_name(n): i for i, n in enumerate(classes.names)}
    self._labels |= {name: i for i, name in enumerate(classes.names)}

  def __contains__(self, name: str) -> bool:
    return name in self._labels or normalize_name(name) in self._labels

  def label(self, text: str) -> int:
    """The label of a class; an unknown name is an error with the nearest."""
    for name in (text, normalize_name(text)):
      if name in self._labels:
        return self._labels[name]
    return self._classes.index(text)


def note_spellings(names: Iterable[str]) -> list[str]:
  """A note on class names that occur in two Unicode spellings."""
  first: dict[str, str] = {}
  twice = {
    normalize_name(name)
    for name in names
    if first.setdefault(normalize_name(name), name) != name
  }
  what = 'class names come in two Unicode spellings (NFC and NFD); each is one'
  return note_names(f'{what} class', sorted(twice))
