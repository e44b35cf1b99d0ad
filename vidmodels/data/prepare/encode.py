"""The clips of one video file to records: their frames as JPEGs."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import clip_reader
from vidmodels.data.records import video_record
from vidmodels.data.video import picture as video_picture
from vidmodels.data.video.decode import BadVideo
from vidmodels.data.video.picture import Picture, Still
from vidmodels.typing import InputError

# A protobuf message holds 2 GiB; the rest of a record is small.
_MOST_BYTES = 2**31 - 2**24
# Some containers round stamps to a millisecond; a frame may be that late.
_GRAIN_US = 1000
_Frame = TypeVar('_Frame')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How videos become records.

  Attributes:
    short_side: frames are shrunk to it, pixels; smaller ones stay; 0 keeps all.
    quality: of the JPEGs, 1 to 100.
    fps: frames a second to resample to by time stamps; 0 keeps every frame.

  Raises:
    InputError: if one is out of its range.
  """

  short_side: int = 0
  quality: int = 95
  fps: float = 0.0

  def __post_init__(self):
    wrong = None
    if not 1 <= self.quality <= 100:
      wrong = f'JPEG quality {self.quality} came; wanted 1 to 100'
    elif self.short_side < 0:
      wrong = f'short side {self.short_side} came; wanted 0 (keep) or more'
    elif not 0 <= self.fps <= 1000:
      wrong = f'{self.fps:g} fps came; wanted 0 (keep) to 1000'
    if wrong:
      raise InputError(wrong)


def make_records(
  path: pathlib.Path,
  rows: Sequence[VideoRow],
  texts: Sequence[tuple[str, ...]],
  options: Options,
) -> Iterator[tuple[int, video_record.Record | BadVideo, int]]:
  """Decodes a file once to a record a row.

  Args:
    path: the file that all the rows are of.
    rows: clips of it.
    texts: the class names of each row.
    options: of the records.

  Yields:
    The row's place in `rows`, its record or why there is none, and its packets
    and frames that did not decode whole; by the end of the clips.
  """
  wanted = [clip_reader.of_row(row) for row in rows]
  make = lambda i, info: _Jpegs(info.width, info.height, info.fps, options)
  for i, clip, damage in clip_reader.read(path, wanted, make):
    if isinstance(clip, BadVideo):
      yield i, clip, 0
      continue
    try:
      yield i, clip.record(rows[i], texts[i]), damage
    except BadVideo as e:
      yield i, e, 0


def from_frames(
  frames_THWC: np.ndarray,
  *,
  fps: float,
  video: str,
  labels: tuple[int, ...],
  label_texts: tuple[str, ...],
  options: Options,
) -> video_record.Record:
  """A record of frames that are decoded already.

  Args:
    frames_THWC: uint8, RGB, at least one.
    fps: of the frames; 0 if nobody knows, and then the record has no times.
    video: its name.
    labels: its classes.
    label_texts: their names.
    options: of the record.

  Raises:
    BadVideo: if the frames cannot become JPEGs.
    InputError: if they are to be resampled and have no rate.
  """
  if options.fps and not fps:
    raise InputError(
      f'{options.fps:g} fps were asked of {video}, whose own rate nobody says; '
      'wanted 0 fps (keep every frame)'
    )
  clip = _Jpegs(*frames_THWC.shape[2:0:-1], fps or 1.0, options)
  for t, frame_HWC in enumerate(frames_THWC):
    clip.add(Still(frame_HWC), round(t * 1e6 / fps) if fps else 0)
  row = VideoRow(path=pathlib.Path(), video=video, labels=labels)
  record = clip.record(row, label_texts)
  if fps:
    return record
  untimed_n = np.full(len(record.frames), video_record.UNTIMED, np.int64)
  return dataclasses.replace(record, timestamps_us=untimed_n, fps=0.0, end_us=0)


class _Jpegs:
  """A clip under way: the JPEGs of its frames, all or at a chosen rate."""

  def __init__(self, width: int, height: int, fps: float, options: Options):
    """Starts a clip of frames of a size, at a rate by the header."""
    self._size = video_picture.shrunk(width, height, options.short_side)
    self._header_fps = fps
    self._options = options
    self._jpegs: list[bytes] = []
    self._times_us: list[int] = []
    self._bytes = 0
    self._resampler = Resampler(options.fps) if options.fps else None

  def add(self, picture: Picture | Still, time_us: int) -> None:
    """Takes the next frame."""
    if self._resampler is None:
      self._keep(picture, time_us)
      return
    for shown, shown_us in self._resampler.push(picture, time_us):
      self._keep(shown, shown_us)

  def _keep(self, picture: Picture | Still, time_us: int) -> None:
    jpeg = picture.jpeg(self._size, self._options.quality)
    self._bytes += len(jpeg) + 32  # stamps and keys are less
    if self._bytes > _MOST_BYTES:
      raise BadVideo(
        'over 2 GB as a record: shrink it with --short-side, --fps or --quality'
      )
    self._jpegs.append(jpeg)
    self._times_us.append(time_us)

  def record(
    self, row: VideoRow, texts: tuple[str, ...]
  ) -> video_record.Record:
    """The clip, now whole, as a record."""
    if self._resampler is not None:
      for shown, shown_us in self._resampler.end(source_fps=self._header_fps):
        self._keep(shown, shown_us)
    fps = self._options.fps or rate(self._times_us, self._header_fps)
    start_us = round(row.start_s * 1e6)
    return video_record.Record(
      frames=self._jpegs,
      timestamps_us=np.asarray(self._times_us, np.int64),
      fps=fps,
      height=self._size[1],
      width=self._size[0],
      labels=row.labels,
      label_texts=texts,
      video=row.video,
      start_us=start_us,
      end_us=start_us + self._times_us[-1] + round(1e6 / fps),
    )


class Resampler(Generic[_Frame]):
  """Which frame is shown at each multiple of 1 / fps.

  fps may lie above the source's; then frames come several times.
  """

  def __init__(self, fps: float):
    self._fps = fps
    self._k = 0  # the multiple that is due
    self._shown: tuple[_Frame, int] | None = None

  def push(self, frame: _Frame, time_us: int) -> Iterator[tuple[_Frame, int]]:
    """Takes the next frame; yields what was shown until it came."""
    yield from self._until(time_us)
    self._shown = (frame, time_us)

  def end(self, *, source_fps: float) -> Iterator[tuple[_Frame, int]]:
    """Yields the rest; the last frame is shown for 1 / source_fps."""
    if self._shown is None:
      return
    if not self._k:  # however short it is shown
      yield self._shown[0], 0
      self._k = 1
    yield from self._until(self._shown[1] + 1e6 / source_fps)

  def _until(self, time_us: float) -> Iterator[tuple[_Frame, int]]:
    while self._shown and self._due_us + _GRAIN_US < time_us:
      yield self._shown[0], self._due_us
      self._k += 1

  @property
  def _due_us(self) -> int:
    return round(self._k * 1e6 / self._fps)


def resample(
  frames: Iterable[tuple[_Frame, int]], *, fps: float, source_fps: float
) -> Iterator[tuple[_Frame, int]]:
  """Yields the frame that is shown at each multiple of 1 / fps.

  Args:
    frames: frames with the microseconds at which they are shown.
    fps: of the result; above the source's, frames come several times.
    source_fps: says how long the last frame is shown.
  """
  resampler = Resampler(fps)
  for frame, time_us in frames:
    yield from resampler.push(frame, time_us)
  yield from resampler.end(source_fps=source_fps)


def rate(times_us: Sequence[int], header_fps: float) -> float:
  """The rate the stamps show; the header's exact one if they agree."""
  if len(times_us) < 2 or times_us[-1] <= 0:
    return header_fps
  shown_fps = (len(times_us) - 1) * 1e6 / times_us[-1]
  # 1 %: whole milliseconds in the stamps move the rate of short clips so far.
  return header_fps if abs(shown_fps / header_fps - 1) < 0.01 else shown_fps
