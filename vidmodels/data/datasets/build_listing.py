"""Builds the listing of a split from the rows of its official file."""

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from vidmodels.data.datasets.dataset import Dataset, Request
from vidmodels.data.listing.rows import (
  Listing,
  VideoRow,
  note_names,
  note_shared_files,
)
from vidmodels.data.listing.text_files import find_beside
from vidmodels.data.listing.video_files import VideoFiles, video_of_frames
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError


def build_listing(
  dataset: Dataset,
  request: Request,
  rows: Sequence[VideoRow],
  *,
  classes: ClassList,
  labelled: bool = True,
  notes: Sequence[str] = (),
) -> Listing:
  """Keeps every name once, and notes what is odd.

  The notes list the names with two meanings, and those that fit several files.
  The report of `prepare` compares the official count, and names the classes
  without a clip.

  Args:
    dataset: the data set.
    request: what was asked for.
    rows: one for each entry of the file, in its order; names may be repeated.
    classes: what the labels refer to.
    labelled: False if the labels of this split are not published.
    notes: further notes of the reader.

  Raises:
    InputError: if there is no row, or videos are needed and none is there, or
      two clips with different labels are one file.
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
    labelled=labelled,
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


def mark_other_splits(
  files: VideoFiles,
  path: pathlib.Path,
  patterns: Mapping[str, Sequence[str]],
  read_names: Callable[[pathlib.Path, str], Iterable[str]],
) -> list[str]:
  """Marks the videos of other splits as known, so that they are not outside.

  Args:
    files: the videos.
    path: the official file of the split that is read.
    patterns: of each other split, file names of its official file, which is
      read if it lies beside `path`.
    read_names: gives the names of the videos in such a file of a split.

  Returns:
    A note for each file that cannot be read.
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
