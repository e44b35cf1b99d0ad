"""Clips of a video file to records whose frames are JPEGs.

options = encode.Options(short_side=256, fps=10)
for i, record, damage in encode.make_records(path, rows, names, options): ...
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import clip_reader
from vidmodels.data.records import video_record
from vidmodels.data.video import decode
from vidmodels.data.video.container import BadVideo, VideoInfo
from vidmodels.data.video.decode import Picture, RgbPicture
from vidmodels.data.video.video_file import name_memory_errors
from vidmodels.typing import InputError

# A protobuf message holds 2 GiB; everything but the JPEGs is small.
_MOST_BYTES = 2**31 - 2**24
# Some containers round stamps to a millisecond: a frame may be that late.
_GRAIN_US = 1000
_Frame = TypeVar('_Frame')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How videos become records."""

  short_side: int = 0  # to shrink frames to, pixels; 0 keeps them
  quality: int = 95  # of the JPEGs, 1 to 100
  fps: float = 0.0  # to resample to by time stamps; 0 keeps every frame

  def __post_init__(self):
    problem = None
    if not 1 <= self.quality <= 100:
      problem = f'JPEG quality {self.quality}; expected 1 to 100; try 95'
    elif self.short_side < 0:
      problem = f'short side {self.short_side}; expected 0 (keep) or more'
    elif not 0 <= self.fps <= 1000:
      problem = f'{self.fps:g} fps; expected 0 (keep) to 1000'
    if problem:
      raise InputError(f'got {problem}')


def make_records(
  path: pathlib.Path,
  rows: Sequence[VideoRow],
  label_texts: Sequence[tuple[str, ...]],
  options: Options,
) -> Iterator[tuple[int, video_record.Record | BadVideo, int]]:
  """Decodes the file of all rows once and makes a record of each.

  `label_texts` are the class names of each row. Yields (index in `rows`, record
  or the reason for none, packets and frames that did not decode completely), in
  the order of the ends of the clips.
  """

  def start_clip(_: int, info: VideoInfo) -> _RecordBuilder:
    return _RecordBuilder(info.width, info.height, info.fps, options)

  ranges = [clip_reader.row_range(row) for row in rows]
  for i, clip, damage in clip_reader.read_clips(path, ranges, start_clip):
    try:
      if isinstance(clip, BadVideo):
        raise clip
      with name_memory_errors(path):
        record = clip.record(rows[i], label_texts[i])
      yield i, record, damage
    except BadVideo as e:
      yield i, e, 0


def record_from_frames(
  frames_THWC: np.ndarray,
  *,
  fps: float,
  video: str,
  labels: tuple[int, ...],
  label_texts: tuple[str, ...],
  options: Options,
) -> video_record.Record:
  """Makes a record of a clip's frames, uint8 and RGB, at least one.

  `fps` is 0 if unknown, and then the record has no times. Raises BadVideo if
  the frames cannot become JPEGs.
  """
  if options.fps and not fps:
    raise InputError(
      f'got {options.fps:g} fps to resample to, but the frame rate of {video} '
      'is unknown; expected 0 fps (keep every frame)'
    )
  _, height, width, _ = frames_THWC.shape
  builder = _RecordBuilder(width, height, fps or 1.0, options)
  for t, frame_HWC in enumerate(frames_THWC):
    builder.add(RgbPicture(frame_HWC), round(t * 1e6 / fps) if fps else 0)
  row = VideoRow(path=pathlib.Path(), video=video, labels=labels)
  record = builder.record(row, label_texts)
  if fps:
    return record
  untimed_n = np.full(len(record.frames), video_record.UNTIMED, np.int64)
  return dataclasses.replace(record, timestamps_us=untimed_n, fps=0.0, end_us=0)


class _RecordBuilder:
  """Collects the JPEGs of a clip, of all frames or at a chosen rate."""

  def __init__(self, width: int, height: int, fps: float, options: Options):
    """Starts a clip with frames of a size, at the rate of the header."""
    self._size = decode.shrink_size(width, height, options.short_side)
    self._header_fps = fps
    self._options = options
    self._jpegs: list[bytes] = []
    self._times_us: list[int] = []
    self._bytes = 0
    self._resampler = Resampler[Picture](options.fps)

  def add(self, picture: Picture, time_us: int) -> None:
    """Adds the next frame."""
    self._keep(self._resampler.push(picture, time_us))

  def _keep(self, frames: Iterator[tuple[Picture, int]]) -> None:
    for picture, time_us in frames:
      jpeg = picture.jpeg(self._size, self._options.quality)
      self._bytes += len(jpeg) + 32  # stamps and keys take less
      if self._bytes > _MOST_BYTES:
        raise BadVideo(
          'over 2 GB as a record: shrink it with --short-side, --fps or '
          '--quality'
        )
      self._jpegs.append(jpeg)
      self._times_us.append(time_us)

  def record(
    self, row: VideoRow, label_texts: tuple[str, ...]
  ) -> video_record.Record:
    """The record of the clip, once all frames are added."""
    self._keep(self._resampler.end(source_fps=self._header_fps))
    fps = self._options.fps or measured_rate(self._times_us, self._header_fps)
    start_us = round(row.start_s * 1e6)
    return video_record.Record(
      frames=self._jpegs,
      timestamps_us=np.asarray(self._times_us, np.int64),
      fps=fps,
      height=self._size[1],
      width=self._size[0],
      labels=row.labels,
      label_texts=label_texts,
      video=row.video,
      start_us=start_us,
      end_us=start_us + self._times_us[-1] + round(1e6 / fps),
    )


class Resampler(Generic[_Frame]):
  """Chooses the frame that is shown at each multiple of 1 / fps.

  Frames come with the microseconds at which they are shown. With an fps above
  the source's, frames are repeated; with 0, each is given once as it comes.
  """

  def __init__(self, fps: float):
    self._fps = fps
    self._k = 0  # the next multiple
    self._shown: tuple[_Frame, int] | None = None

  def push(self, frame: _Frame, time_us: int) -> Iterator[tuple[_Frame, int]]:
    """Takes the next frame; yields what was shown until its time."""
    if not self._fps:
      yield frame, time_us
      return
    yield from self._until(time_us)
    self._shown = (frame, time_us)

  def end(self, *, source_fps: float) -> Iterator[tuple[_Frame, int]]:
    """Yields the rest; the last frame is shown for 1 / source_fps."""
    if self._shown is None:
      return
    if not self._k:  # a single frame, however short it is shown
      yield self._shown[0], 0
      self._k = 1
    yield from self._until(self._shown[1] + 1e6 / source_fps)

  def _until(self, time_us: float) -> Iterator[tuple[_Frame, int]]:
    while self._shown:
      due_us = round(self._k * 1e6 / self._fps)
      if due_us + _GRAIN_US >= time_us:
        return
      yield self._shown[0], due_us
      self._k += 1


def resample(
  frames: Iterable[tuple[_Frame, int]], *, fps: float, source_fps: float
) -> Iterator[tuple[_Frame, int]]:
  """Yields what a `Resampler` chooses of all frames of a source."""
  resampler = Resampler[_Frame](fps)
  for frame, time_us in frames:
    yield from resampler.push(frame, time_us)
  yield from resampler.end(source_fps=source_fps)


def measured_rate(times_us: Sequence[int], header_fps: float) -> float:
  """The rate of the stamps; the header's exact rate if they agree."""
  if len(times_us) < 2 or times_us[-1] <= 0:
    return header_fps
  fps = (len(times_us) - 1) * 1e6 / times_us[-1]
  # Stamps in whole milliseconds move the rate of short clips by up to 1 %.
  return header_fps if abs(fps / header_fps - 1) < 0.01 else fps
