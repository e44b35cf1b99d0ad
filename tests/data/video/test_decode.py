"""Decoding: the right pixels, the right way up, at the right time."""

import gc
import os
import re
import subprocess
import sys

import av
import numpy as np
import psutil
import pytest
import reading_memory
import videos

from vidmodels.data.video import container, decode, frame_reader

MOVING = videos.moving()


def read(path, **more):
  """Frames and stamps of a file; also says how much was damaged."""
  reading = decode.VideoReader(path, **more)
  pairs = list(reading)
  frames = np.stack([frame_HWC for frame_HWC, _ in pairs])
  return frames, [time_us for _, time_us in pairs], reading.damage


def far(one, other):
  """Mean distance of two videos in levels."""
  return abs(one.astype(int) - other).mean()


def corners():
  """Red top left, green top right, blue bottom left."""
  frame_HWC = np.zeros((32, 48, 3), np.uint8)
  frame_HWC[:16, :24, 0] = 255
  frame_HWC[:16, 24:, 1] = 255
  frame_HWC[16:, :24, 2] = 255
  return np.stack([frame_HWC] * 3)


@pytest.fixture(scope='module')
def long(tmp_path_factory):
  """Eight seconds with a key frame every two, B-frames between."""
  path = tmp_path_factory.mktemp('long') / 'long.mp4'
  options = {'g': '20', 'bf': '2', 'qp': '10'}
  return videos.write(path, videos.moving(80), options=options)


def test_frames_have_the_order_and_times_in_which_they_are_shown(tmp_path):
  frames, times_us, damage = read(videos.write(tmp_path / 'a.mp4', MOVING))
  assert frames.dtype == np.uint8
  assert frames.shape == MOVING.shape
  assert far(frames, MOVING) < 3
  assert times_us == [100_000 * t for t in range(12)]
  assert damage == 0


def test_probe_describes_the_video(tmp_path):
  path = videos.write(tmp_path / 'a.mp4', MOVING)
  assert decode.probe(path) == container.VideoInfo(
    width=48,
    height=32,
    fps=10.0,
    frames=12,
    duration_s=1.2,
    codec='h264',
    pix_fmt='yuv420p',
    rotation=0,
  )


@pytest.mark.parametrize(
  ('matrix', 'degrees', 'turned'),
  [
    # (a, b, c, d): coded (right, down) goes to (a x + c y, b x + d y).
    ((0, 1, -1, 0), 90, lambda f: np.rot90(f, -1, (1, 2))),
    ((-1, 0, 0, -1), 180, lambda f: np.rot90(f, 2, (1, 2))),
    ((0, -1, 1, 0), 270, lambda f: np.rot90(f, 1, (1, 2))),
    ((-1, 0, 0, 1), 0, lambda f: f[:, :, ::-1]),
    ((1, 0, 0, -1), 180, lambda f: f[:, ::-1]),
    ((0, 1, 1, 0), 90, lambda f: f.swapaxes(1, 2)),
  ],
)
def test_frames_are_turned_by_the_display_matrix(
  tmp_path, matrix, degrees, turned
):
  path = videos.write(tmp_path / 'a.mp4', corners())
  frames, *_ = read(videos.with_matrix(path, *matrix))
  want = turned(corners())
  assert frames.shape == want.shape
  assert far(frames, want) < 12  # colours bleed where corners meet
  info = decode.probe(path)
  assert info.rotation == degrees
  assert (info.height, info.width) == want.shape[1:3]


@pytest.mark.parametrize(
  ('name', 'codec', 'pix_fmt'),
  [
    ('a.mp4', 'libx264', 'yuv420p'),
    ('a.mp4', 'libx264', 'yuvj420p'),  # full range
    ('a.mp4', 'libx264', 'yuv420p10le'),
    ('a.mp4', 'libx264', 'yuv444p'),
    ('a.mp4', 'libx264', 'gray'),
    ('a.mp4', 'libx265', 'yuv420p'),
    ('a.webm', 'libvpx-vp9', 'yuv420p'),
    ('full.webm', 'libvpx-vp9', 'yuv420p'),  # full range by a flag alone
    ('a.avi', 'mjpeg', 'yuvj420p'),
    ('a.mkv', 'ffv1', 'yuv420p'),
    ('a.gif', 'gif', 'rgb8'),
  ],
)
def test_black_grey_and_white_survive_every_pixel_format(
  tmp_path, name, codec, pix_fmt
):
  ramp = np.repeat(np.uint8([0, 128, 255]), 32)
  video = np.broadcast_to(ramp[None, None, :, None], (3, 64, 96, 3))
  path = tmp_path / name
  options = {'x265-params': 'log-level=none'} if codec == 'libx265' else None
  videos.write(
    path,
    video,
    codec=codec,
    pix_fmt=pix_fmt,
    options=options,
    full_range=name == 'full.webm',
  )
  frames, *_ = read(path)
  for i, level in enumerate((0, 128, 255)):
    patch = frames[:, 4:-4, 32 * i + 4 : 32 * i + 28].astype(int)
    # A GIF of 3-3-2 bits has no grey of its own.
    assert abs(patch - level).max() <= (50 if codec == 'gif' else 2), level
    if pix_fmt == 'yuv420p10le':
      assert abs(patch - level).max() == 0  # 253 for white without its flag


def test_stamps_of_a_changing_rate_are_kept(tmp_path):
  times = [0, 100, 200, 500, 600, 650, 700, 1300, 1400, 1500, 1600, 1700]
  path = videos.write(tmp_path / 'a.mp4', MOVING, times=times)
  frames, times_us, _ = read(path)
  assert times_us == [1000 * t for t in times]
  assert far(frames, MOVING) < 3


@pytest.mark.parametrize('start', [3000, 123])
def test_the_first_frame_is_at_zero_wherever_the_file_starts(tmp_path, start):
  times = [start + 100 * t for t in range(12)]
  path = videos.write(tmp_path / 'a.mkv', MOVING, times=times)
  assert read(path)[1] == [100_000 * t for t in range(12)]


@pytest.mark.parametrize('codec', ['mpeg4', 'libx264'])
def test_an_avi_keeps_the_order_shown_with_even_times(tmp_path, codec):
  path = tmp_path / 'a.avi'
  quality = {'b': '2M'} if codec == 'mpeg4' else {'qp': '4'}
  videos.write(path, MOVING, codec=codec, options={'bf': '2', **quality})
  if codec == 'libx264':  # what makes an AVI odd
    with av.open(str(path)) as container:
      stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps)
  frames, times_us, _ = read(path)
  assert far(frames, MOVING) < 6
  assert times_us == [100_000 * t for t in range(12)]


def test_a_stream_without_stamps_gets_even_ones(tmp_path):
  path = videos.write(tmp_path / 'a.h264', MOVING, format='h264')
  frames, times_us, _ = read(path)
  assert far(frames, MOVING) < 3
  assert times_us == [100_000 * t for t in range(12)]


def test_a_stamp_that_does_not_rise_is_set_after_the_last(tmp_path):
  path = videos.write(tmp_path / 'a.mkv', MOVING)
  packet = frame_reader.FrameReader(path, threads=1)
  times = []
  for stamp in (0.0, 0.1, 0.3, 0.0, 0.1, None, 0.9):  # at 10 frames a second
    packet._last_s = packet._stamp(stamp)
    times.append(round(packet._last_s, 6))
  packet.close()
  assert times == [0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.9]


@pytest.mark.parametrize(
  ('start_s', 'end_s'),
  [(0, 0.45), (1.0, 1.5), (2.35, 4.0), (4.0, 4.1), (5.95, None), (7.85, 99)],
)
def test_a_time_range_has_the_frames_of_the_complete_video(
  long, start_s, end_s
):
  frames, times_us, _ = read(long)
  end = end_s if end_s is not None else 100
  inside = [start_s - 1e-6 <= t / 1e6 < end - 1e-6 for t in times_us]
  cut, cut_us, damage = read(long, start_s=start_s, end_s=end_s)
  assert np.array_equal(cut, frames[inside])
  first = times_us[inside.index(True)]
  assert cut_us == [
    t - first for t, i in zip(times_us, inside, strict=True) if i
  ]
  assert damage == 0


@pytest.mark.parametrize('name', ['a.mkv', 'a.avi', 'a.ts', 'a.h264'])
def test_a_late_time_range_is_exact_in_every_container(tmp_path, name):
  path = tmp_path / name
  video_THWC = videos.moving(60)
  options = {'g': '15', 'bf': '2', 'qp': '10'}
  form = 'h264' if name == 'a.h264' else None
  videos.write(path, video_THWC, options=options, format=form)
  frames, *_ = read(path)
  cut, cut_us, _ = read(path, start_s=3.75, end_s=4.5)
  assert len(frames) == 60
  assert np.array_equal(cut, frames[38:45])
  assert cut_us == [100_000 * t for t in range(7)]


def test_a_late_time_range_does_not_decode_earlier_frames(long, monkeypatch):
  decoded = []
  stamp = frame_reader.FrameReader._stamp
  monkeypatch.setattr(
    frame_reader.FrameReader,
    '_stamp',
    lambda *args: decoded.append(1) or stamp(*args),
  )
  read(long, start_s=6.5, end_s=7.0)
  assert len(decoded) < 25  # from the key frame at 6 s, not from 0


@pytest.mark.parametrize(('start_s', 'end_s'), [(9.0, None), (1.0, 1.0)])
def test_a_time_range_without_a_frame_is_bad(long, start_s, end_s):
  with pytest.raises(container.BadVideo, match='no frame from'):
    read(long, start_s=start_s, end_s=end_s)


@pytest.mark.parametrize(
  ('short_side', 'shape'),
  [(0, (32, 48)), (16, (16, 24)), (20, (20, 30)), (64, (32, 48))],
)
def test_frames_are_shrunk_to_a_short_side_and_never_enlarged(
  tmp_path, short_side, shape
):
  path = videos.write(tmp_path / 'a.mp4', MOVING)
  assert read(path, short_side=short_side)[0].shape[1:3] == shape
  videos.with_matrix(path, 0, 1, -1, 0)
  assert read(path, short_side=short_side)[0].shape[1:3] == shape[::-1]


def test_frames_that_change_size_get_the_size_of_the_first(tmp_path):
  small = videos.write(tmp_path / 'a.h264', MOVING, format='h264')
  large = videos.moving(5, 64, 96)
  large = videos.write(tmp_path / 'b.h264', large, format='h264')
  small.write_bytes(small.read_bytes() + large.read_bytes())
  frames, times_us, _ = read(small)
  assert frames.shape == (17, 32, 48, 3)
  assert times_us == [100_000 * t for t in range(17)]


def test_damage_loses_frames_and_is_counted(tmp_path):
  noise = np.random.default_rng(0).integers(0, 255, (60, 32, 48, 3), np.uint8)
  front = {'movflags': '+faststart'}
  path = videos.write(tmp_path / 'a.mp4', noise, mux=front)
  assert read(path)[2] == 0
  whole, *_ = read(path)
  cut, times_us, damage = read(videos.cut_short(path, 0.6))
  assert 25 < len(cut) < 60
  assert damage >= 1
  assert np.array_equal(cut[:25], whole[:25])
  assert times_us == [100_000 * t for t in range(len(cut))]


def test_a_file_that_breaks_off_gives_the_frames_already_in_the_decoder(long):
  file = frame_reader.FrameReader(long, threads=1)
  whole = file.container

  class Broken:
    format, streams, close = whole.format, whole.streams, whole.close

    def demux(self, stream):
      for number, packet in enumerate(whole.demux(stream)):
        if number == 30:
          raise av.error.OSError(5, 'Input/output error')
        yield packet

  file.container = Broken()
  shown = [time_s for _, time_s in file.frames(0.0, 100.0)]
  file.close()
  # 30 packets went in; frames of 30 pictures come out, none is held back.
  assert np.allclose(shown, np.arange(30) / 10)
  assert file.damage == 1


@pytest.mark.parametrize(
  'name', ['a:b.mp4', '-i.mp4', 'http:x.mp4', '%03d.mp4']
)
def test_a_name_is_a_name_and_no_protocol_or_option(
  tmp_path, monkeypatch, name
):
  videos.write(tmp_path / 'a.mp4', MOVING).rename(tmp_path / name)
  monkeypatch.chdir(tmp_path)
  assert len(read(name)[0]) == 12


def test_threads_change_nothing(long):
  one, *_ = read(long)
  two, *_ = read(long, threads=2)
  assert np.array_equal(one, two)


def open_files():
  return len(psutil.Process().open_files())


def test_every_end_closes_the_file(long, tmp_path):
  before = open_files()
  read(long)
  with decode.VideoReader(long) as reading:
    next(reading)
  assert list(reading) == []
  decode.VideoReader(long).close()
  decode.probe(long)
  dropped = decode.VideoReader(long)
  next(dropped)
  del dropped
  for content in (b'', b'<html></html>', os.urandom(3000)):
    (tmp_path / 'bad.mp4').write_bytes(content)
    with pytest.raises(container.BadVideo):
      decode.VideoReader(tmp_path / 'bad.mp4')
  sound = videos.write_sound(tmp_path / 'sound.m4a')
  with pytest.raises(container.BadVideo):
    decode.VideoReader(sound)
  assert open_files() == before


def test_memory_stays_flat_over_many_files(tmp_path):
  video_THWC = videos.moving(4, 240, 320)  # 0.9 MB once decoded
  path = videos.write(tmp_path / 'a.mp4', video_THWC)
  process = psutil.Process()
  for _ in range(30):
    read(path)
  before = process.memory_info().rss
  for _ in range(200):
    read(path)
  assert process.memory_info().rss - before < 20e6  # 200 leaks would be 180 MB


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux says the peak')
def test_memory_does_not_grow_with_the_frames_of_a_file():
  """Of large pictures, each of which has 2.8 MB as RGB."""
  sizes = ('1280x720x20', '1280x720x80')
  done = subprocess.run(
    [sys.executable, reading_memory.__file__, *sizes],
    check=True,
    capture_output=True,
    text=True,
  )
  few, many = (
    [int(n) for n in re.findall(r' (\d+)\b', line)]
    for line in done.stdout.splitlines()
  )
  assert (few[0], many[0]) == (20, 80)
  assert few[1] > 5  # MB: a decoder has some frames
  assert many[1] - few[1] < 15  # 60 frames would be 80 to 170


def test_frames_leave_no_garbage(tmp_path):
  """A frame in a cycle stays until Python looks for garbage, seconds later."""
  path = videos.write(tmp_path / 'a.mp4', videos.moving(24))
  alive = lambda: sum(isinstance(o, av.VideoFrame) for o in gc.get_objects())
  gc.collect()
  gc.disable()
  try:
    before = alive()
    with decode.VideoReader(path) as reader:
      for n, _ in enumerate(reader, 1):
        # The decoder's own, one in the reader's hand, and the small copy that
        # was asked for its side data.
        assert alive() - before <= 6, n
    assert n == 24
  finally:
    gc.enable()


def test_real_clips_decode_whole(shared):
  want = {
    'arm_wrestling.mp4': (280, 256, 340, 28.0),
    'basketball.mp4': (300, 240, 426, 30000 / 1001),
    'pool_cleaning.mp4': (300, 256, 340, 30.0),
    'eye_makeup_bframes.avi': (164, 240, 320, 25.0),
  }
  for name, (count, height, width, fps) in want.items():
    path = shared / 'clips' / name
    info = decode.probe(path)
    assert (info.height, info.width) == (height, width)
    assert info.fps == pytest.approx(fps)
    times_us = [t for _, t in decode.VideoReader(path)]
    assert len(times_us) == count
    assert times_us[-1] == pytest.approx((count - 1) * 1e6 / fps, abs=20)
    assert (np.diff(times_us) > 0).all()
