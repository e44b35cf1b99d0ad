"""What a published data set is, and what the reader of its files receives.

  def read(dataset: Dataset, request: Request) -> Listing: ...

  DATASETS = (
    Dataset(name='mine', title='Mine', splits={'train': 0, 'test': 0},
            metric='top1', flip=FlipPolicy('free'), read=read, lists=('mine',)),
  )

A module beside this one with such a `DATASETS` adds data sets, without an edit
elsewhere. Its class lists are `class_lists/<name>.txt` beside it.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

from vidmodels.data.listing.rows import Listing
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """Which split of a data set to read, and from which files."""

  annotations: pathlib.Path  # the official file, or the folder with all of them
  # videos: the folder with the videos, in any subfolders; None to read only the
  # annotations: then every path is only a name
  videos: pathlib.Path | None
  split: str  # one of the data set's splits
  # classes: what labels refer to, instead of the official list
  classes: ClassList | None = None

  @functools.cached_property
  def files(self) -> VideoFiles:
    """The video files; the folder is read at the first use."""
    return VideoFiles(self.videos)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """A published data set."""

  name: str  # what `prepare` calls it
  title: str  # what people call it
  # splits: number of clips of each official split; 0 if not published
  splits: Mapping[str, int]
  metric: str  # the one its papers print: 'top1', 'map', 'action_top1', ...
  flip: FlipPolicy  # what a mirror does to its labels
  read: Callable[['Dataset', Request], Listing]  # reads its official files
  task: Task = SINGLE  # what its labels are
  # reported_split: the split that papers report on: 'val' where the labels of
  # the test split are not published
  reported_split: str = 'test'
  # lists: names of class lists in `class_lists/`, one for each head, in order;
  # empty if the official files have the classes
  lists: tuple[str, ...] = ()
  aliases: tuple[str, ...] = ()  # other names for it
  # mirror: pairs of labels that trade places in a mirror, as decimals: the
  # meaning of `swap` without pairs (`FlipPolicy.parse(text, mirror)`)
  mirror: tuple[tuple[str, str], ...] = ()
  # usual_s: about how long a clip is, for estimates where nothing says
  usual_s: float = 10.0
  # folder: holds `class_lists/`; the registry sets the folder of the module
  folder: pathlib.Path = pathlib.Path(__file__).parent

  def classes(self) -> ClassList:
    """The official class list; of several heads, `head/name` end to end.

    Raises:
      InputError: if the list is not part of this library.
    """
    if not self.lists:
      raise InputError(
        f'{self.title} has no class list here; expected it in the official '
        'files; try --classes FILE'
      )
    folder = self.folder / 'class_lists'
    loaded = [_load_list(folder / f'{name}.txt') for name in self.lists]
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
        f'{self.title} has no split {split!r}; expected one of '
        f'{", ".join(self.splits)}; try another --split'
      )


@functools.cache
def _load_list(path: pathlib.Path) -> ClassList:
  return ClassList.load(path)
