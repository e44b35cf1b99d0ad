"""What an official file listed becomes a listing, with all there is to say."""

import os
import pathlib
from collections.abc import Sequence

from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.video_files import VideoFiles, video_of_frames
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

_NAMED = 5  # how many of many a note names


class ClassNames:
  """Labels by class name alone: '7' is no label in an official file."""

  def __init__(self, classes: ClassList):
    self.classes = classes
    self._labels = {name: i for i, name in enumerate(classes.names)}

  def __contains__(self, name: str) -> bool:
    return name in self._labels

  def label(self, name: str) -> int:
    """The label of a class.

    Raises:
      InputError: if no class has this name, with the nearest.
    """
    if name not in self._labels and name.removeprefix('-').isdecimal():
      raise InputError(
        f'label {name[:40]!r} came; wanted the name of a class, as '
        f'{self.classes.names[0]!r}'
      )
    if name in self._labels:
      return self._labels[name]
    return self.classes.index(name[:200])  # says which is the nearest


def gather(
  dataset: Dataset,
  request: Request,
  rows: Sequence[VideoRow],
  files: VideoFiles,
  *,
  classes: ClassList,
  labelled: bool = True,
  notes: Sequence[str] = (),
) -> Listing:
  """Keeps every name once, and counts what is odd.

  The notes say which names came with two meanings, and which fit several files.
  How far the list is from the official count, and which classes have no clip,
  is said by whoever reports on it.

  Args:
    dataset: what was asked for.
    request: how.
    rows: a row an entry of the file, in its order, names perhaps twice.
    files: where the videos were looked for.
    classes: what the labels refer to.
    labelled: False if nobody published the labels of this split.
    notes: what else to say.

  Raises:
    InputError: if there is no row, or videos were wanted and none is there, or
      two clips of unlike labels are one file.
  """
  if not rows:
    raise InputError(
      f'{request.annotations} lists no clip for the split {request.split}; '
      f'wanted the official file of {dataset.title}'
    )
  kept, duplicates, clashes = _once(rows)
  if request.videos is not None and not files.used:
    raise _no_video(request, files, kept)
  sharing = same_files(kept) if len(files) else []
  clashing = 'listed again with another label or time; the first counts'
  return Listing(
    rows=tuple(kept),
    classes=classes,
    task=dataset.task,
    flip=dataset.flip,
    labelled=labelled,
    expected=dataset.splits.get(request.split, 0),
    duplicates=tuple(duplicates),
    outside=files.unused(),
    notes=(
      *notes,
      *sharing,
      *_said(clashing, clashes),
      *_said('in several places; the first path counts', files.ambiguous),
    ),
  )


def _once(
  rows: Sequence[VideoRow],
) -> tuple[list[VideoRow], list[str], list[str]]:
  """Rows with every name once, names that came again, and unlike before."""
  first: dict[str, VideoRow] = {}
  again, clashes = [], {}
  for row in rows:
    before = first.setdefault(row.video, row)
    if before is not row:
      again.append(row.video)
      said = (before.labels, before.start_s, before.end_s)
      if said != (row.labels, row.start_s, row.end_s):
        clashes[row.video] = None
  return list(first.values()), again, list(clashes)


def same_files(rows: Sequence[VideoRow]) -> list[str]:
  """Notes on clips of other names that are the same stretch of one file.

  Annotators may give one stretch two classes; of whole files one clip took the
  file of another, which shows if their labels differ.

  Raises:
    InputError: if two clips are one whole file and differ in their labels.
  """
  first: dict[tuple[str, float, float | None], VideoRow] = {}
  again = []
  for row in rows:
    before = first.setdefault((_file(row.path), row.start_s, row.end_s), row)
    if before is row or not os.path.exists(row.path):
      continue
    is_whole = not row.start_s and row.end_s is None
    if is_whole and before.labels != row.labels:
      raise InputError(
        f'{row.path} is the only file for {before.video} and for {row.video}, '
        'whose labels differ; wanted a file for each; put files of one name '
        'in folders called as their classes, or unlist one of the two'
      )
    again.append(f'{row.video} (as {before.video})')
  return _said('the same stretch of the same file as another clip', again)


def _file(path: pathlib.Path) -> str:
  """The path without '..', for which links must be looked at."""
  return os.path.realpath(path) if '..' in path.parts else str(path)


def named(names: Sequence[str]) -> str:
  """The first of many names, and how many more there are."""
  more = f', and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
  return ', '.join(names[:_NAMED]) + more


def _said(what: str, names: Sequence[str]) -> list[str]:
  return [f'{len(names)} {what}: {named(names)}'] if names else []


def _no_video(
  request: Request, files: VideoFiles, rows: Sequence[VideoRow]
) -> InputError:
  move = ''
  if files.images and not len(files):
    came = f'{files.images} images and no video: extracted frames are not read'
    folder, image = os.path.split(files.image)
    command = video_of_frames(folder or 'CLIP', image)
    move = f', or make a video of each folder: {command}'
  else:
    came = f'{len(files)} video files, none of them listed'
    came += ''.join(f', as {name}' for name in files.unused()[:1])
  return InputError(
    f'{request.videos} holds {came}; wanted {rows[0].path.name} and {len(rows)}'
    ' others like it; give the folder with the videos with --videos' + move
  )
