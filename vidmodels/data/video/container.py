"""What is special about a video file before its frames: opening, time, turn.

FFmpeg opens more than videos and says little of what it cannot open; here that
becomes a video stream or a `BadVideo` with the reason.
"""

import pathlib
import stat
import struct
from typing import Any, BinaryIO

import av
import numpy as np

# Containers whose stamps follow the order of decoding, not of showing.
UNORDERED = frozenset({'avi'})
# FFmpeg opens text as the output of a terminal, and would film it.
_TEXT = frozenset({'tty', 'bin', 'adf', 'idf', 'xbin'})
NO_FILE = 'no such file'
_FALLBACK_FPS = 25.0  # FFmpeg's own guess for streams that do not say


class BadVideo(Exception):
  """A file that gives no frame; `reason` says why in a few words."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


def look(path: pathlib.Path) -> None:
  """Looks whether a file is there, without opening it.

  Raises:
    BadVideo: if it is not, or is no file.
  """
  try:
    status = path.stat()
  except (FileNotFoundError, NotADirectoryError) as e:
    raise BadVideo(NO_FILE) from e
  except PermissionError as e:
    raise BadVideo('permission denied') from e
  except (OSError, ValueError) as e:  # a name too long, or with a NUL
    raise BadVideo(str(e)) from e
  if stat.S_ISDIR(status.st_mode):
    raise BadVideo('is a directory')
  if not stat.S_ISREG(status.st_mode):
    raise BadVideo('is not a regular file')
  if not status.st_size:
    raise BadVideo('empty file')


def open_video(path: pathlib.Path, threads: int) -> Any:
  """Opens a file, its video stream ready to decode.

  Returns:
    The PyAV container, which the caller closes.

  Raises:
    BadVideo: if there is no video stream to be had.
  """
  look(path)
  try:
    # `file:` lets a name start with - or hold a colon.
    container = av.open(f'file:{path}')
  except FileNotFoundError as e:
    raise BadVideo(NO_FILE) from e
  except PermissionError as e:
    raise BadVideo('permission denied') from e
  except av.FFmpegError as e:
    raise BadVideo(_why_not(path, e)) from e
  except UnicodeEncodeError as e:
    raise BadVideo('file name is not UTF-8') from e
  except (OSError, ValueError) as e:
    raise BadVideo(str(e)) from e
  try:
    if not container.streams:
      raise BadVideo(_why_not(path, None))
    stream = video_stream(container)
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = 'SLICE' if threads == 1 else 'AUTO'
  except BaseException:
    container.close()
    raise
  return container


def video_stream(container: Any) -> Any:
  """The first video stream that is no cover picture.

  Raises:
    BadVideo: if there is none, or no video at all.
  """
  name = container.format.name
  if name in _TEXT:
    raise BadVideo('text, not a video')
  if name.endswith('_pipe') or name == 'image2':
    raise BadVideo('a single image, not a video')
  covers = av.stream.Disposition.attached_pic  # of music files
  streams = [s for s in container.streams.video if not s.disposition & covers]
  if not streams:
    kinds = sorted({s.type for s in container.streams})
    raise BadVideo(f'no video stream ({", ".join(kinds)} only)')
  if streams[0].codec_context is None:
    raise BadVideo('no decoder for its codec')
  return streams[0]


def _why_not(path: pathlib.Path, error: av.FFmpegError | None) -> str:
  """Why FFmpeg could not open a file that is there."""
  size = path.stat().st_size
  with open(path, 'rb') as f:
    head = f.read(512)
    if head[4:8] == b'ftyp' and not _has_index(f, size):
      return 'cut short: an MP4 without its index (moov)'
  if head.lstrip()[:9].lower().startswith((b'<!doctype', b'<html', b'<?xml')):
    return 'a web page, not a video'
  if error is None or isinstance(error, av.error.InvalidDataError):
    return 'not a video that FFmpeg knows'
  return f'FFmpeg: {error.strerror}'


def _has_index(f: BinaryIO, size: int) -> bool:
  """Whether the boxes at an MP4's top level include the index."""
  at = 0
  while at + 8 <= size:
    f.seek(at)
    length, kind, long = struct.unpack('>I4sQ', f.read(16).ljust(16, b'\0'))
    if kind == b'moov':
      return at + length <= size
    at += max(8, long if length == 1 else length or size)
  return False


def frame_rate(stream: Any) -> float:
  """Frames a second by the header, on average."""
  # A raw stream has no stamps to take an average of; there it is a guess.
  rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
  if stream.start_time is None:
    rates[:2] = rates[1::-1]
  return next((float(rate) for rate in rates if rate), _FALLBACK_FPS)


def start_time(container: Any, stream: Any) -> float | None:
  """When the video starts on its own clock, seconds; None if unknown."""
  if container.format.name in UNORDERED or stream.start_time is None:
    return None
  return float(stream.start_time * stream.time_base)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
  """How coded (right, down) maps to shown: (right, down) = (ax+cy, bx+dy)."""
  # By its key: iterating gives the data in PyAV 18 and the keys in 19.
  data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
  if data is None:
    return 1, 0, 0, 1
  a, b, _, c, d = np.frombuffer(bytes(data), '<i4')[:5].tolist()
  return a, b, c, d


def turned(
  frame_HWC: np.ndarray, matrix: tuple[int, int, int, int]
) -> np.ndarray:
  """The frame as shown: turned in quarters and mirrored, as FFmpeg does."""
  a, b, c, d = matrix
  if abs(a) >= abs(b):
    return frame_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
  return frame_HWC.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]


def rotation(matrix: tuple[int, int, int, int]) -> int:
  """Degrees clockwise; a mirror image counts by where its top goes."""
  a, b, _, d = matrix
  if abs(a) >= abs(b):
    return 180 if d < 0 else 0
  return 90 if b > 0 else 270
