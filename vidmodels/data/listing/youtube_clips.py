"""Clips of YouTube videos, listed and named as Kinetics does.

A csv lists `label,youtube_id,time_start,time_end,split`. The file of a clip is
one of these:

- `<id>_<start:06d>_<end:06d>`, in a folder called as its class, or anywhere;
- the whole video, called `<id>`, from which the clip is cut;
- in some copies, the clip itself, called `<id>`. If a video gives several
  clips, such a file could be any of them and is used for none.
"""

import collections
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence

import av

from vidmodels.data.listing.rows import VideoRow, join_names
from vidmodels.data.listing.text_files import parse_int
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.video import container
from vidmodels.typing import InputError

COLUMNS = ('youtube_id', 'time_start', 'time_end', 'split')
_ID = re.compile(r'[\w-]{11}', re.ASCII)
_MOST_S = 999_999  # file names have six digits
_PROBED = 3  # files named by id alone that are opened
_SLACK_S = 2.0  # a ten-second clip may be so much longer


@dataclasses.dataclass(frozen=True)
class YoutubeClip:
  """A line of a csv: a part of a video, in whole seconds."""

  youtube_id: str
  start_s: int
  end_s: int
  label: str

  @property
  def name(self) -> str:
    """The clip's name, which is that of its own file."""
    return f'{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}'

  def files(self, name: str = '') -> list[str]:
    """Paths of the clip's own file below the folder, the best one first."""
    name = name or self.name
    folders = (self.label, self.label.replace(' ', '_')) if self.label else ()
    return [*(f'{folder}/{name}' for folder in folders), name]

  def whole_files(self) -> list[str]:
    """Paths of a file named by the id alone."""
    return self.files(self.youtube_id)


def parse_clip(fields: Mapping[str, str]) -> YoutubeClip:
  """The clip of one line of a csv; its label is '' if there is none."""
  youtube_id = fields['youtube_id'].strip()
  if not _ID.fullmatch(youtube_id):
    raise InputError(
      f'got youtube_id {youtube_id[:40]!r}; expected 11 letters, digits, - and '
      '_; a spreadsheet program spoils ids that begin with -: try fetching the '
      'file again'
    )
  start_s = parse_int(fields['time_start'], most=_MOST_S)
  end_s = parse_int(fields['time_end'], most=_MOST_S)
  if end_s <= start_s:
    raise InputError(
      f'got a clip from {start_s} to {end_s} s; expected the end after the '
      'start'
    )
  label = fields.get('label', '').strip()
  return YoutubeClip(youtube_id, start_s, end_s, label)


def find_clips(
  clips: Sequence[YoutubeClip],
  labels: Sequence[tuple[int, ...]],
  files: VideoFiles,
) -> tuple[list[VideoRow], list[str]]:
  """A row for each clip, and notes on files named by the id alone."""
  whole = [
    clip
    for clip in clips
    if not files.has(*clip.files()) and files.has(*clip.whole_files())
  ]
  cut = bool(whole) and not _are_clips(whole, files)
  by_id = set(whole)
  shared = set() if cut else _find_shared(clips, by_id, files)
  rows = []
  for clip, clip_labels in zip(clips, labels, strict=True):
    names = clip.files()
    if files.folder is None:  # nobody looks for files: the video is its id
      names = [clip.youtube_id]
    elif clip not in shared:
      names += clip.whole_files()
    is_cut = cut and clip in by_id
    rows.append(
      VideoRow(
        path=files.find(*names),
        video=clip.name,
        labels=clip_labels,
        start_s=float(clip.start_s) if is_cut else 0.0,
        end_s=float(clip.end_s) if is_cut else None,
        seconds=float(clip.end_s - clip.start_s),
      )
    )
  notes = []
  if count := len({clip.name for clip in by_id - shared}):
    use = 'the clips are cut out by time' if cut else 'they are the clips'
    notes = [f'{count} clips have files named by their id alone; {use}']
  if shared:
    shared_names = sorted({clip.name for clip in shared})
    videos = len({clip.youtube_id for clip in shared})
    notes.append(
      f'{len(shared_names)} clips of {videos} videos have no file of their '
      'own, only one named by the id, which may be any of them; they count as '
      f'missing: {join_names(shared_names)}'
    )
  return rows, notes


def _find_shared(
  clips: Sequence[YoutubeClip], by_id: set[YoutubeClip], files: VideoFiles
) -> set[YoutubeClip]:
  """Clips whose only file could also be another clip of their video."""
  ids = {clip.youtube_id for clip in by_id}
  clips = [clip for clip in clips if clip.youtube_id in ids]
  paths = {clip: files.find(*clip.whole_files()) for clip in clips}
  names = collections.defaultdict(set)
  for clip, path in paths.items():
    names[path].add(clip.name)
  return {clip for clip in by_id if len(names[paths[clip]]) > 1}


def _are_clips(whole: list[YoutubeClip], files: VideoFiles) -> bool:
  """Whether files named by id hold the clips, and not the whole videos.

  A whole video is at least as long as the end of its clip; a clip is ten
  seconds long. A late clip tells the two apart best, so the files of the latest
  few are opened.
  """
  clips = videos = 0
  latest = sorted(whole, key=lambda clip: -clip.end_s)
  durations = ((c, _duration_s(files.find(*c.whole_files()))) for c in latest)
  known = ((c, seconds) for c, seconds in durations if seconds is not None)
  for clip, duration_s in itertools.islice(known, _PROBED):
    is_short = duration_s <= clip.end_s - clip.start_s + _SLACK_S
    reaches = duration_s >= clip.end_s - _SLACK_S
    clips += is_short and not reaches
    videos += reaches and not is_short
  return clips > 0 and not videos


def _duration_s(path: pathlib.Path) -> float | None:
  try:
    with container.open_video(path, 1) as opened:
      return opened.duration / av.time_base if opened.duration else None
  except container.BadVideo:
    return None
