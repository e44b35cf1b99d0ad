"""What a published data set is, and what the reader of its files is asked.

Each module beside this one that has `DATASETS` adds data sets; `registry.py`
finds them.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

from vidmodels.data.listing.rows import Listing
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

_LISTS = pathlib.Path(__file__).parent / 'class_lists'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What is wanted of a data set.

  Attributes:
    annotations: the official file, or the folder with all of them.
    videos: the folder with the videos, however deep; None if only the
      annotations are to be looked at, and then every path is a mere name.
    split: one of the data set's splits.
    classes: what the user says labels refer to, instead of the official list.
  """

  annotations: pathlib.Path
  videos: pathlib.Path | None
  split: str
  classes: ClassList | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """A published data set.

  Attributes:
    name: what `prepare` calls it.
    title: what people call it.
    splits: clips of each official split; 0 where nobody says.
    metric: the one its papers print: 'top1', 'map', 'action_top1', ...
    reported_split: the split that papers report on: 'val' where the labels of
      the test split are not published.
    flip: what a mirror does to its labels.
    mirror: pairs of labels that trade places in a mirror, as decimals: what
      `swap` without pairs means (`FlipPolicy.parse(text, mirror)`).
    read: reads its official files.
    task: what its labels are.
    lists: names of files in `class_lists/`, one a head, in order; none if the
      classes are in the user's own files.
    aliases: other names for it.
    usual_s: about how long a clip is, for estimates where nothing says.
  """

  name: str
  title: str
  splits: Mapping[str, int]
  metric: str
  flip: FlipPolicy
  read: Callable[['Dataset', Request], Listing]
  task: Task = SINGLE
  reported_split: str = 'test'
  lists: tuple[str, ...] = ()
  aliases: tuple[str, ...] = ()
  mirror: tuple[tuple[str, str], ...] = ()
  usual_s: float = 10.0

  def classes(self) -> ClassList:
    """The official class list: of several heads, `head/name` end to end.

    Raises:
      InputError: if the list is not part of this library.
    """
    if not self.lists:
      raise InputError(
        f'{self.title} has no class list here: it is in the official files'
      )
    loaded = [_class_list(name) for name in self.lists]
    if not self.task.heads:
      return loaded[0]
    return ClassList.from_names(
      [
        f'{head}/{name}'
        for (head, _), part in zip(self.task.heads, loaded, strict=True)
        for name in part.names
      ]
    )

  def check_split(self, split: str) -> None:
    """Raises InputError if there is no such split."""
    if split not in self.splits:
      raise InputError(
        f'{self.title} has no split {split!r}; wanted one of '
        f'{", ".join(self.splits)}; give it with --split'
      )


@functools.cache
def _class_list(name: str) -> ClassList:
  return ClassList.load(_LISTS / f'{name}.txt')
