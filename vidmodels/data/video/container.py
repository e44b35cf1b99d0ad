"""Opens video files: the video stream, its times and its orientation.

FFmpeg opens more than videos and says little about what it cannot open. Here a
file is an open video stream or a `BadVideo` with the reason. Only containers
that hold their own frames are opened: a playlist would read other files, those
that its author names.

  with container.open_video(pathlib.Path('a.mp4'), threads=1) as opened:
    stream = container.video_stream(opened)
"""

import contextlib
import dataclasses
import errno
import pathlib
import stat
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from vidmodels import files
from vidmodels.data.video.video_file import (
  NO_FILE,
  BadVideo,
  VideoFile,
  refuse_unreadable,
  require_memory,
  system_reason,
)

__all__ = [
  *('DECODE_ORDER_FORMATS', 'NO_FILE', 'UPRIGHT', 'BadVideo', 'Matrix'),
  *('OpenVideo', 'VideoInfo', 'check_video_file', 'display_matrix'),
  *('frame_rate', 'open_video', 'read_video_info', 'rotation_degrees'),
  *('start_time', 'starts_as_picture', 'turn_upright', 'video_stream'),
]

# Containers whose time stamps follow the order of decoding, not of showing.
DECODE_ORDER_FORMATS = frozenset({'avi'})
# FFmpeg's names of the containers that may be opened, and of the sound files
# that are told to be such. Not here is what reads other files (hls, concat,
# dash, imf, image2, sdp), text that FFmpeg renders as a film (tty, bin), and
# single pictures.
_CONTAINERS = (
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,live_flv,kux,'
  'ogg,gif,apng,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,m4v,mpegvideo,vc1,dirac,'
  'cavsvideo,avs2,avs3,mjpeg,yuv4mpegpipe,nut,nsv,nuv,rm,wtv,mxf,gxf,lxf,dv,dhav,'
  'swf,mp3,aac,ac3,eac3,flac,wav,aiff,amr,caf,w64'
)
_READ_BYTES = 1 << 17  # the most that FFmpeg asks for at once
_OPTIONS = {'format_whitelist': _CONTAINERS, 'protocol_whitelist': 'file'}
# PyAV 18 raises an error for a title that is not UTF-8 unless it is told not
# to; later releases do not have the argument.
_TAGS: dict[str, Any] = (
  {'metadata_errors': 'replace'} if av.__version__ < '19' else {}
)
# Pixels of a frame; 8K has half as many. FFmpeg itself decodes frames of 268
# million, 1.2 GB with their RGB, of a file of 1 KB.
LARGEST_FRAME = 1 << 26
# What the first bytes of a file are that no container above is.
_PICTURES = (b'\xff\xd8\xff', b'\x89PNG', b'BM', b'II*\0', b'MM\0*', b'8BPS')
_PLAYLISTS = ('#extm3u', 'ffconcat', '<mpd', '[playlist]')
_FALLBACK_FPS = 25.0  # FFmpeg's own guess for streams that do not say

Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
  """What the header and the first frame of a file say about its video."""

  width: int  # as shown, after rotation, pixels
  height: int  # as shown, after rotation, pixels
  fps: float  # the average frame rate according to the header
  frames: int  # according to the header: 0 if absent, often too many if present
  duration_s: float  # according to the header; 0 if absent
  codec: str  # its FFmpeg name
  pix_fmt: str  # of the coded frames, FFmpeg's name
  rotation: int  # degrees clockwise, 0, 90, 180 or 270, that frames were turned


class OpenVideo:
  """An open container; reading from it raises the machine's errors.

  `format`, `streams` and `duration` are the container's.
  """

  def __init__(self, file: VideoFile, container: Any):
    self._file, self._container = file, container
    self.format, self.streams = container.format, container.streams
    self.duration = container.duration  # in 1 / av.time_base s, or None

  def demux(self, stream: Any) -> Iterator[av.Packet]:
    """Yields the packets of a stream, the last of them empty."""
    packets = self._container.demux(stream)
    while True:
      with self._file.raise_errors():
        packet = next(packets, None)
      if packet is None:
        return
      yield packet

  def seek(self, stamp: int, **options: Any) -> None:
    """Goes to the last key frame at a stamp or before it, as PyAV does."""
    with self._file.raise_errors():
      self._container.seek(stamp, **options)

  def close(self) -> None:
    """Closes the container and its file."""
    self._container.close()
    self._file.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()


def check_video_file(path: pathlib.Path) -> None:
  """Raises BadVideo unless the path is a non-empty file; does not open it.

  Raises ReadError if the machine does not say what the path is.
  """
  try:
    status = files.retry_reading(path, path.stat)
  except (FileNotFoundError, NotADirectoryError) as e:
    raise BadVideo(NO_FILE) from e
  except files.ReadError:
    raise
  except (OSError, ValueError) as e:  # the name is too long or contains a NUL
    raise BadVideo(system_reason(e)) from e
  if stat.S_ISDIR(status.st_mode):
    raise BadVideo('is a directory')
  if not stat.S_ISREG(status.st_mode):
    raise BadVideo('is not a regular file')
  if not status.st_size:
    raise BadVideo('empty file')


def open_video(path: pathlib.Path, threads: int) -> OpenVideo:
  """Opens a file with its video stream ready to decode; the caller closes it.

  Raises BadVideo if it has no video stream that FFmpeg can decode, ReadError if
  the machine fails.
  """
  check_video_file(path)
  file = VideoFile(path)
  opened = None
  try:
    opened = OpenVideo(file, _open_container(file))
    if not opened.streams:
      raise BadVideo(_explain_failure(path, None))
    stream = video_stream(opened)
    _bound_frames(stream.codec_context)
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = 'SLICE' if threads == 1 else 'AUTO'
  except BaseException:
    (opened or file).close()
    raise
  return opened


def _bound_frames(context: Any) -> None:
  """Refuses frames of a size that no video has, as claimed and as decoded."""
  width, height = context.width, context.height
  if width * height > LARGEST_FRAME:
    raise BadVideo(f'claims frames of {width} x {height} pixels')
  context.options = {'max_pixels': str(LARGEST_FRAME)}


def _open_container(file: VideoFile) -> Any:
  try:
    with file.raise_errors():
      return av.open(file, options=_OPTIONS, buffer_size=_READ_BYTES, **_TAGS)
  except av.error.PermissionError as e:
    refuse_unreadable(file.path, e)
    raise BadVideo(_explain_failure(file.path, e)) from e
  except files.ReadError as e:
    if e.errno == errno.EACCES:
      refuse_unreadable(file.path, e)
    raise
  except MemoryError:
    raise
  except av.FFmpegError as e:
    require_memory()
    raise BadVideo(_explain_failure(file.path, e)) from e


def video_stream(container: Any) -> Any:
  """The first video stream that is not a cover picture, or BadVideo."""
  covers = av.stream.Disposition.attached_pic  # of music files
  streams = [s for s in container.streams.video if not s.disposition & covers]
  if not streams:
    kinds = sorted({s.type for s in container.streams})
    raise BadVideo(f'no video stream ({", ".join(kinds)} only)')
  if streams[0].codec_context is None:
    raise BadVideo('no decoder for its codec')
  return streams[0]


def _explain_failure(path: pathlib.Path, error: av.FFmpegError | None) -> str:
  """Why FFmpeg does not open a file, in a few words."""
  head, has_index = files.retry_reading(path, lambda: _read_head(path))
  if not has_index:
    return 'cut short: an MP4 without its index (moov)'
  text = head.decode(errors='replace').lstrip('\ufeff \t\r\n').lower()
  if any(mark in text for mark in _PLAYLISTS):
    return 'a playlist, which names other files'
  if text.startswith(('<!doctype', '<html', '<?xml')):
    return 'a web page, not a video'
  if starts_as_picture(head):
    return 'a single image, not a video'
  # The last character may be cut.
  if all(c != '\ufffd' and (c >= ' ' or c in '\t\r\n') for c in text[:-3]):
    return 'text, not a video'
  # EINVAL: FFmpeg knows it, but it is not one of the containers above.
  unknown = (av.error.InvalidDataError, av.error.ArgumentError)
  if error is None or isinstance(error, unknown):
    return 'not a video that FFmpeg knows'
  # Matroska's answer to a file that ends too early; reading itself is watched
  # by `VideoFile`.
  if error.errno == errno.EIO:
    return 'cut short: it ends within its header'
  return f'FFmpeg: {error.strerror}'


def starts_as_picture(head: bytes) -> bool:
  """Whether a file with these first 12 bytes is a single picture."""
  is_webp = head[:4] == b'RIFF' and head[8:12] == b'WEBP'
  return head.startswith(_PICTURES) or is_webp


def _read_head(path: pathlib.Path) -> tuple[bytes, bool]:
  """The first bytes of a file, and False if it is an MP4 without its index."""
  with open(path, 'rb') as f:
    head = f.read(512)
    is_mp4 = head[4:8] == b'ftyp'
    return head, not is_mp4 or _has_index(f, path.stat().st_size)


def _has_index(f: BinaryIO, size: int) -> bool:
  """Whether the boxes at the top level of an MP4 include a whole index."""
  at = 0
  while at + 8 <= size:
    f.seek(at)
    length, kind, long = struct.unpack('>I4sQ', f.read(16).ljust(16, b'\0'))
    if kind == b'moov':
      return at + length <= size
    at += max(8, long if length == 1 else length or size)
  return False


def frame_rate(stream: Any) -> float:
  """The average frames a second according to the header."""
  # A raw stream has no stamps to average; its `average_rate` is a guess.
  rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
  if stream.start_time is None:
    rates[:2] = rates[1::-1]
  return next((float(rate) for rate in rates if rate), _FALLBACK_FPS)


def start_time(container: Any, stream: Any) -> float | None:
  """When the video starts on its own clock, seconds; None if unknown."""
  unordered = container.format.name in DECODE_ORDER_FORMATS
  if unordered or stream.start_time is None:
    return None
  return float(stream.start_time * stream.time_base)


def display_matrix(frame: av.VideoFrame) -> Matrix:
  """(a, b, c, d): coded (right, down) is shown at (ax + cy, bx + dy).

  To be asked once a file, of its first frame: a frame and its side data refer
  to each other, so both stay until Python looks for garbage (300 frames of 4K
  held 2.6 GB). A small copy is asked, for the same reason.
  """
  with contextlib.suppress(av.FFmpegError, ValueError):  # of odd pixels
    frame = frame.reformat(width=16, height=16, format='gray')
  # By its key: iterating gives the data in PyAV 18 and the keys in 19.
  side_data: Any = frame.side_data
  data = side_data.get(SideDataType.DISPLAYMATRIX)
  if data is None:
    return UPRIGHT
  a, b, _, c, d = np.frombuffer(bytes(data), '<i4')[:5].tolist()
  return a, b, c, d


def turn_upright(frame_HWC: np.ndarray, matrix: Matrix) -> np.ndarray:
  """Turns a frame in quarters and mirrors it, as FFmpeg does to show it."""
  a, b, c, d = matrix
  if abs(a) >= abs(b):
    return frame_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
  return frame_HWC.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]


def rotation_degrees(matrix: Matrix) -> int:
  """Degrees clockwise; for a mirror image, where the top of the frame goes."""
  a, b, _, d = matrix
  if abs(a) >= abs(b):
    return 180 if d < 0 else 0
  return 90 if b > 0 else 270


def read_video_info(
  container: Any, frame: av.VideoFrame, matrix: Matrix
) -> VideoInfo:
  """Describes an open file by its header, a frame and its display matrix."""
  stream = video_stream(container)
  degrees = rotation_degrees(matrix)
  height, width = frame.height, frame.width
  if degrees in (90, 270):
    height, width = width, height
  if stream.duration is not None:
    duration_s = float(stream.duration * stream.time_base)
  else:
    duration_s = (container.duration or 0) / 1e6
  return VideoInfo(
    width=width,
    height=height,
    fps=frame_rate(stream),
    frames=stream.frames,
    duration_s=duration_s,
    codec=stream.codec_context.name,
    pix_fmt=frame.format.name,
    rotation=degrees,
  )
