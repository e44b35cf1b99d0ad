"""One video to one record: its frames as JPEGs, all or at a chosen rate."""

import dataclasses
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from vidmodels.data import decode, records
from vidmodels.data.annotations import Row

# Some containers round stamps to a millisecond; a frame may be that late.
_GRAIN_US = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How videos become records.

  Attributes:
    short_side: frames are shrunk to it, pixels; smaller ones stay; 0 keeps all.
    quality: of the JPEGs, 1 to 100.
    fps: frames a second to resample to by time stamps; 0 keeps every frame.
  """

  short_side: int = 0
  quality: int = 95
  fps: float = 0.0


def make_record(
  row: Row, label_texts: tuple[str, ...], options: Options
) -> tuple[records.Record, int]:
  """Decodes a video to a record.

  Returns:
    The record, and the packets and frames that did not decode whole.

  Raises:
    BadVideo: if there is no frame to be had.
  """
  jpegs, times_us, shape, before = [], [], (0, 0), None
  with decode.read_video(
    row.path,
    start_s=row.start_s,
    end_s=row.end_s,
    short_side=options.short_side,
  ) as reading:
    header_fps = reading.info.fps
    frames = reading
    if options.fps:
      frames = resample(reading, fps=options.fps, source_fps=header_fps)
    for frame_HWC, time_us in frames:
      shape = frame_HWC.shape
      same = frame_HWC is before
      jpegs.append(jpegs[-1] if same else _jpeg(frame_HWC, options.quality))
      times_us.append(time_us)
      before = frame_HWC
  fps = options.fps or _rate(times_us, header_fps)
  start_us = round(row.start_s * 1e6)
  record = records.Record(
    frames=jpegs,
    timestamps_us=np.asarray(times_us, np.int64),
    fps=fps,
    height=shape[0],
    width=shape[1],
    labels=row.labels,
    label_texts=label_texts,
    video=row.video,
    start_us=start_us,
    end_us=start_us + times_us[-1] + round(1e6 / fps),
  )
  return record, reading.damage


def resample(
  frames: Iterable[tuple[np.ndarray, int]], *, fps: float, source_fps: float
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields the frame that is shown at each multiple of 1 / fps.

  Args:
    frames: frames with the microseconds at which they are shown.
    fps: of the result; above the source's, frames come several times.
    source_fps: says how long the last frame is shown.
  """
  shown, k, time_us = None, 0, 0
  for frame_HWC, time_us in frames:
    while shown is not None and round(k * 1e6 / fps) + _GRAIN_US < time_us:
      yield shown, round(k * 1e6 / fps)
      k += 1
    shown = frame_HWC
  end_us = time_us + 1e6 / source_fps
  while shown is not None and round(k * 1e6 / fps) + _GRAIN_US < end_us:
    yield shown, round(k * 1e6 / fps)
    k += 1


def _rate(times_us: list[int], header_fps: float) -> float:
  """The rate the stamps show; the header's exact one if they agree."""
  if len(times_us) < 2 or times_us[-1] <= 0:
    return header_fps
  shown_fps = (len(times_us) - 1) * 1e6 / times_us[-1]
  # 1 %: whole milliseconds in the stamps move the rate of short clips so far.
  return header_fps if abs(shown_fps / header_fps - 1) < 0.01 else shown_fps


def _jpeg(frame_HWC: np.ndarray, quality: int) -> bytes:
  bgr_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
  flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
  try:
    done, data = cv2.imencode('.jpg', bgr_HWC, flags)
  except cv2.error:
    done = False
  if not done:
    height, width, _ = frame_HWC.shape
    raise decode.BadVideo(f'frames of {width}x{height} cannot become JPEGs')
  return data.tobytes()
