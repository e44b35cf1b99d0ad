"""Class names that look the same: 'é' is one letter in Unicode, or 'e' and '´'.

A Mac writes the second (NFD) into folder names, most else the first (NFC).
Names that are found go into a class list as NFC, and a label finds its class in
either.
"""

import unicodedata
from collections.abc import Iterable

from vidmodels.data.datasets.build_listing import named
from vidmodels.data.records.class_list import ClassList


def nfc(name: str) -> str:
  """The name with each letter as one, as far as Unicode has it."""
  return name if name.isascii() else unicodedata.normalize('NFC', name)


class Spelt:
  """Labels by class name or index, in any Unicode spelling.

  A name that is in the list as it stands goes before one that only looks so.
  """

  def __init__(self, classes: ClassList):
    self._classes = classes
    self._labels = {nfc(name): i for i, name in enumerate(classes.names)}
    self._labels |= {name: i for i, name in enumerate(classes.names)}

  def __contains__(self, name: str) -> bool:
    return name in self._labels or nfc(name) in self._labels

  def label(self, said: str) -> int:
    """The label of a class.

    Raises:
      InputError: if there is no such class.
    """
    for name in (said, nfc(said)):
      if name in self._labels:
        return self._labels[name]
    return self._classes.index(said)


def spelt_twice(names: Iterable[str]) -> list[str]:
  """A note on names that are found in two spellings, and are one class."""
  first: dict[str, str] = {}
  again = {
    nfc(name) for name in names if first.setdefault(nfc(name), name) != name
  }
  if not again:
    return []
  return [
    f'{len(again)} class names come in two Unicode spellings (NFC and NFD); '
    f'each is one class: {named(sorted(again))}'
  ]
