"""What a published data set is; what the reader of its files gets and returns.

  def read(dataset: Dataset, request: Request) -> Listing:
    rows = [VideoRow(path=request.files.find('a'), video='a', labels=(0,))]
    return build_listing(dataset, request, rows, classes=dataset.classes())

  DATASETS = (
    Dataset(name='mine', title='Mine', splits={'train': 0, 'test': 0},
            metric='top1', flip=FlipPolicy('free'), read=read, lists=('mine',)),
  )

A module beside this one with such a `DATASETS` adds data sets, without an edit
elsewhere. Its class lists are `class_lists/<name>.txt` beside it.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from vidmodels.data.listing.rows import (
  Listing,
  VideoRow,
  note_names,
  note_shared_files,
)
from vidmodels.data.listing.text_files import find_beside
from vidmodels.data.listing.video_files import VideoFiles, video_of_frames
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
    """The official class list; of several heads, `head/name` end to end."""
    if not self.lists:
      raise InputError(
        f'{self.title} has no class list here; expected it in the official '
        'files; try --classes FILE'
      )
    folder = self.folder / 'class_lists'
    loaded = [_load_list(folder / f'{name}.txt') for name in self.lists]
    if not self.task.heads:
      return loaded[0]
    names = [
      f'{head}/{name}'
      for (head, _), part in zip(self.task.heads, loaded, strict=True)
      for name in part.names
    ]
    return ClassList.from_names(names)

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


def build_listing(
  dataset: Dataset,
  request: Request,
  rows: Sequence[VideoRow],
  *,
  classes: ClassList,
  notes: Sequence[str] = (),
) -> Listing:
  """The listing of a split: keeps every name once, and notes what is odd.

  There is one row for each entry of the file, in its order; names may be
  repeated. The notes list the names with two meanings, and those that fit
  several files. It is an error if there is no row, if videos are needed and
  none is there, or if two clips with different labels are one file.
  """
  if not rows:
    raise InputError(
      f'{request.annotations} lists no clip for the split {request.split}; '
      f'expected the official file of {dataset.title}; try --annotations with '
      'that file'
    )
  files = request.files
  first: dict[str, VideoRow] = {}
  duplicates, clashes = [], []
  for row in rows:
    before = first.setdefault(row.video, row)
    if before is row:
      continue
    duplicates.append(row.video)
    meaning = (before.labels, before.start_s, before.end_s)
    if meaning != (row.labels, row.start_s, row.end_s):
      clashes.append(row.video)
  unique = tuple(first.values())
  if request.videos is not None and not files.used:
    raise _no_video(request, unique)
  return Listing(
    rows=unique,
    classes=classes,
    task=dataset.task,
    flip=dataset.flip,
    labelled=dataset.task.kind == 'multi' or any(row.labels for row in rows),
    expected=dataset.splits.get(request.split, 0),
    duplicates=tuple(duplicates),
    outside=files.unused(),
    notes=(
      *notes,
      *(note_shared_files(unique) if len(files) else ()),
      *note_names(
        'listed again with another label or time; the first counts',
        list(dict.fromkeys(clashes)),
      ),
      *note_names('in several places; the first path counts', files.ambiguous),
    ),
  )


def _no_video(request: Request, rows: Sequence[VideoRow]) -> InputError:
  files, hint = request.files, ''
  if files.images and not len(files):
    content = f'{files.images} images and no video: extracted frames'
    content += ' are not read'
    folder, image = os.path.split(files.image)
    command = video_of_frames(folder or 'CLIP', image)
    hint = f', or make a video of each folder: {command}'
  else:
    content = f'{len(files)} video files, none of them listed'
    content += ''.join(f', such as {name}' for name in files.unused()[:1])
  return InputError(
    f'{request.videos} holds {content}; expected {rows[0].path.name} and '
    f'{len(rows)} others like it; try the folder with the videos with '
    f'--videos{hint}'
  )


def mark_other_splits(
  files: VideoFiles,
  path: pathlib.Path,
  patterns: Mapping[str, Sequence[str]],
  read_names: Callable[[pathlib.Path, str], Iterable[str]],
) -> list[str]:
  """Marks the videos of other splits as known, so that they are not outside.

  The official file of each split fits one of its `patterns`, and is read, by
  `read_names(file, split)`, if it lies beside `path`. Returns a note for each
  file that cannot be read.
  """
  notes = []
  for split in patterns if len(files) else ():
    other = find_beside(path, patterns[split])
    try:
      for name in read_names(other, split) if other else ():
        files.mark_known(name)
    except InputError as e:
      notes.append(f'videos of the {split} split count as outside: {e}')
  return notes
