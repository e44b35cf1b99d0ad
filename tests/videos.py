"""Writes small video files of every kind, and damages them."""

import fractions
import pathlib
import struct

import av
import numpy as np

MS = fractions.Fraction(1, 1000)
FULL = av.video.reformatter.ColorRange.JPEG
UNIT = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def moving(frames=12, height=32, width=48, level=60):
  """A square on grey, four pixels further right in every frame."""
  video_THWC = np.full((frames, height, width, 3), level, np.uint8)
  for t in range(frames):
    left = 4 * t % (width - 8)
    video_THWC[t, 8:16, left : left + 8] = (250, 200, 40)
  return video_THWC


def write(
  path,
  video_THWC,
  *,
  codec='libx264',
  pix_fmt='yuv420p',
  fps=10,
  format=None,
  options=None,
  mux=None,
  times=None,
  audio='',
  full_range=False,
):
  """Writes RGB frames; `audio` says which stream comes first, if any.

  times: of the frames, in 1/1000 s; evenly spaced by default.
  """
  path = pathlib.Path(path)
  if options is None:
    options = {'qp': '4'} if codec == 'libx264' else {}
  with av.open(str(path), 'w', format=format, options=mux or {}) as container:
    tracks = {}
    for kind in {'first': 'av', 'last': 'va'}.get(audio, 'v'):
      if kind == 'a':
        tracks['a'] = container.add_stream('aac', rate=8000)
      else:
        tracks['v'] = container.add_stream(codec, rate=fps, options=options)
    stream = tracks['v']
    stream.height, stream.width = video_THWC[0].shape[:2]
    stream.pix_fmt = pix_fmt
    full_range = full_range or pix_fmt in ('gray', 'yuvj420p')
    if full_range:
      stream.codec_context.color_range = FULL
    if times is not None:
      stream.codec_context.time_base = MS
    for t, frame_HWC in enumerate(video_THWC):
      frame = av.VideoFrame.from_ndarray(frame_HWC, format='rgb24')
      if full_range:
        frame = frame.reformat(format=pix_fmt, dst_color_range=FULL)
        frame.color_range = FULL
      if times is not None:
        frame.pts, frame.time_base = times[t], MS
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
    if 'a' in tracks:
      sound(container, tracks['a'])
  return path


def sound(container, stream, blocks=8):
  for k in range(blocks):
    wave = np.sin(np.arange(1024) / 9).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, format='fltp', layout='mono')
    frame.rate, frame.pts = 8000, 1024 * k
    container.mux(stream.encode(frame))
  container.mux(stream.encode())


def write_sound(path):
  with av.open(str(path), 'w') as container:
    sound(container, container.add_stream('aac', rate=8000))
  return path


def with_matrix(path, a, b, c, d):
  """Sets the display matrix of an MP4's track: (x, y) to (ax+cy, bx+dy)."""
  data = path.read_bytes()
  at = data.index(UNIT, data.index(b'tkhd'))
  matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
  path.write_bytes(data[:at] + struct.pack('>9i', *matrix) + data[at + 36 :])
  return path


def cut_short(path, share):
  """Keeps the first part of a file."""
  data = path.read_bytes()
  path.write_bytes(data[: int(len(data) * share)])
  return path


def flip_bits(path, *, bytes=60, start=0.34, end=0.9, seed=0):
  """Changes random bytes between two shares of a file."""
  rng = np.random.default_rng(seed)
  data = bytearray(path.read_bytes())
  low, high = int(len(data) * start), int(len(data) * end)
  for at in rng.choice(np.arange(low, high), bytes, replace=False):
    data[at] ^= int(rng.integers(1, 256))
  path.write_bytes(data)
  return path


def remux(source, target, *, copy):
  """Copies the video packets that `copy(packet)` returns, stamps changed."""
  with av.open(str(source)) as old, av.open(str(target), 'w') as new:
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(video=0):
      if packet.dts is None:
        continue
      packet = copy(packet)
      if packet is not None:
        packet.stream = stream
        new.mux(packet)
  return target
