"""Which file holds a clip of Kinetics.

One of its own, `<id>_<start:06d>_<end:06d>`, in a folder called as its class or
anywhere; or the whole video, called `<id>`, out of which the clip is cut; or,
in some copies, the clip called `<id>`. That last is no name where a video gives
several clips: then it is none of them.
"""

import collections
import dataclasses
import pathlib

import av

from vidmodels.data.datasets.build_listing import named
from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.video import container

_PROBED = 3  # files named by id alone that are opened
_SLACK_S = 2.0  # by which a ten-second clip may be longer


@dataclasses.dataclass(frozen=True)
class KineticsClip:
  """A line of a csv: a stretch of a video, whole seconds."""

  youtube_id: str
  start_s: int
  end_s: int
  label: str

  @property
  def name(self) -> str:
    """What its own file is called, and no other clip of the csv."""
    return f'{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}'

  def files(self) -> list[str]:
    """Where a file of its own may be, below the folder; the best first."""
    return self._in_folders(self.name)

  def whole_files(self) -> list[str]:
    """Where a file named by the id alone may be."""
    return self._in_folders(self.youtube_id)

  def all_files(self) -> list[str]:
    """Both, the clip's own first."""
    return self.files() + self.whole_files()

  def _in_folders(self, name: str) -> list[str]:
    if not self.label:
      return [name]
    folders = (self.label, self.label.replace(' ', '_'))
    return [*(f'{folder}/{name}' for folder in folders), name]


def rows_of(
  clips: list[KineticsClip], labels: list[tuple[int, ...]], files: VideoFiles
) -> tuple[list[VideoRow], list[str]]:
  """A row a clip, and what to say of files named by id alone.

  Args:
    clips: in the order of the csv.
    labels: of each.
    files: where the videos are.
  """
  whole = [
    clip
    for clip in clips
    if not files.has(*clip.files()) and files.has(*clip.whole_files())
  ]
  cut = bool(whole) and not _are_clips(whole, files)
  by_id = set(whole)
  shared = set() if cut else _shared(clips, by_id, files)
  rows = []
  for clip, found in zip(clips, labels, strict=True):
    names = clip.files() if clip in shared else clip.all_files()
    if files.folder is None:  # nobody looks for files: the video is its id
      names = [clip.youtube_id]
    path, times = files.find(*names), {}
    if cut and clip in by_id:
      times = dict(start_s=float(clip.start_s), end_s=float(clip.end_s))
    rows.append(
      VideoRow(
        path=path,
        video=clip.name,
        labels=found,
        seconds=float(clip.end_s - clip.start_s),
        **times,
      )
    )
  meant = 'the clips are cut out by time' if cut else 'they are the clips'
  said = f'files named by their id alone; {meant}'
  return rows, _taken_notes(by_id - shared, said) + _shared_notes(shared)


def _shared(
  clips: list[KineticsClip], by_id: set[KineticsClip], files: VideoFiles
) -> set[KineticsClip]:
  """Clips whose only file may as well be another clip of their video."""
  ids = {clip.youtube_id for clip in by_id}
  paths = {
    clip: files.find(*clip.whole_files())
    for clip in clips
    if clip.youtube_id in ids
  }
  names = collections.defaultdict(set)
  for clip, path in paths.items():
    names[path].add(clip.name)
  return {clip for clip in by_id if len(names[paths[clip]]) > 1}


def _taken_notes(taken: set[KineticsClip], said: str) -> list[str]:
  names = {clip.name for clip in taken}
  return [f'{len(names)} clips have {said}'] if names else []


def _shared_notes(shared: set[KineticsClip]) -> list[str]:
  if not shared:
    return []
  names = sorted({clip.name for clip in shared})
  videos = len({clip.youtube_id for clip in shared})
  return [
    f'{len(names)} clips of {videos} videos have no file of their own, only '
    'one named by the id, which may be any of them; they count as missing: '
    + named(names)
  ]


def _are_clips(whole: list[KineticsClip], files: VideoFiles) -> bool:
  """Whether files named by id hold the clips and not the whole videos.

  A video reaches to where its clip ends; a clip is ten seconds long. Those
  whose clips end last tell the two apart, so a few of them are opened.
  """
  clips = videos = opened = 0
  for clip in sorted(whole, key=lambda clip: -clip.end_s):
    duration_s = _duration_s(files.find(*clip.whole_files()))
    if duration_s is None:
      continue
    is_short = duration_s <= clip.end_s - clip.start_s + _SLACK_S
    reaches = duration_s >= clip.end_s - _SLACK_S
    clips += is_short and not reaches
    videos += reaches and not is_short
    opened += 1
    if opened == _PROBED:
      break
  return clips > 0 and not videos


def _duration_s(path: pathlib.Path) -> float | None:
  try:
    with container.open_video(path, 1) as opened:
      return opened.duration / av.time_base if opened.duration else None
  except container.BadVideo:
    return None
