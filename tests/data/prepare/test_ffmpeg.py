"""The ffmpeg program and our decoder show the same frames at the same times."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import test_clip_reader
import videos

from vidmodels.data.video import decode, frame_reader

FFMPEG = shutil.which('ffmpeg')
pytestmark = pytest.mark.skipif(FFMPEG is None, reason='no ffmpeg program')

MADE = [
  'usual.mp4', 'one key frame.mp4', 'b-frames.mp4', 'open gop.mp4',
  'vp9.webm', 'vp8.webm', 'hevc.mp4', 'stills.mkv', 'stream.ts',
  'uneven.mp4', 'late.mkv', 'edit.mp4', 'fragments.mp4', 'jpegs.avi',
]  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('ffmpeg')
  more = test_clip_reader.FILES
  picture = test_clip_reader.picture(1)
  for name in MADE:
    if name in more:
      videos.write(folder / name, picture, **more[name])
  usual = more['usual.mp4']
  uneven = test_clip_reader.UNEVEN
  videos.write(folder / 'uneven.mp4', picture, times=uneven, **usual)
  late = [3000 + 100 * t for t in range(len(picture))]
  videos.write(folder / 'late.mkv', picture, times=late, **usual)

  def earlier(packet):
    packet.pts -= int(0.7 / packet.time_base)
    packet.dts -= int(0.7 / packet.time_base)
    return packet

  videos.remux(folder / 'usual.mp4', folder / 'edit.mp4', copy=earlier)
  return folder


def by_ffmpeg(path, size, *, pix_fmt=''):
  """Frames as the program writes them, and when it says they are shown."""
  flags = ['-pix_fmt', pix_fmt] if pix_fmt else []
  ended = subprocess.run(
    [
      *(FFMPEG, '-nostdin', '-i', f'file:{path}', '-map', '0:v:0'),
      *('-vf', 'showinfo', '-fps_mode', 'passthrough', *flags),
      *('-sws_flags', 'bilinear+full_chroma_int', '-f', 'rawvideo', '-'),
    ],
    capture_output=True,
    check=True,
  )
  found = re.findall(rb'n: *\d+ pts: *\S+ pts_time:(\S+)', ended.stderr)
  times_s = np.array([float(text) for text in found])
  data = np.frombuffer(ended.stdout, np.uint8)
  return data.reshape(len(times_s), *size), times_s - times_s[0]


def ours(path):
  """Frames in RGB, seconds, and the planes as they were decoded."""
  pairs = list(decode.VideoReader(path))
  times_s = np.array([time_us for _, time_us in pairs]) / 1e6
  file, planes = frame_reader.FrameReader(path), []
  while (shown := file.next_frame()) is not None:
    planes.append(shown[0].to_ndarray())
  file.close()
  return np.stack([frame for frame, _ in pairs]), times_s, np.stack(planes)


@pytest.mark.parametrize('name', MADE)
def test_frames_and_times_are_those_of_the_program(folder, name):
  path = folder / name
  rgb, times_s, planes = ours(path)
  theirs, their_s = by_ffmpeg(path, planes.shape[1:])
  assert np.array_equal(planes, theirs)
  assert np.abs(times_s - their_s).max() < 1e-3
  # Its library converts colours with another rounding than ours.
  theirs, _ = by_ffmpeg(path, rgb.shape[1:], pix_fmt='rgb24')
  assert np.abs(rgb.astype(int) - theirs).mean() < 0.6


@pytest.mark.parametrize(
  'matrix', [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
)
def test_frames_are_turned_as_the_program_turns_them(tmp_path, matrix):
  path = videos.write(tmp_path / 'a.mp4', videos.moving(5))
  videos.with_matrix(path, *matrix)
  rgb, _, _ = ours(path)
  theirs, _ = by_ffmpeg(path, rgb.shape[1:], pix_fmt='rgb24')
  assert np.abs(rgb.astype(int) - theirs).mean() < 0.6


@pytest.mark.parametrize(
  'name',
  [
    'basketball.mp4',
    pytest.param('arm_wrestling.mp4', marks=pytest.mark.slow),
    pytest.param('pool_cleaning.mp4', marks=pytest.mark.slow),
  ],
)
def test_real_clips_are_those_of_the_program(shared, name):
  path = shared / 'clips' / name
  _, times_s, planes = ours(path)
  theirs, their_s = by_ffmpeg(path, planes.shape[1:])
  assert np.array_equal(planes, theirs)
  assert np.abs(times_s - their_s).max() < 1e-3


def test_a_real_avi_has_the_programs_frames(shared):
  """Its stamps follow the order of decoding, so the program's times do not
  rise; ours are even. The frames and their order are the same."""
  path = shared / 'clips' / 'eye_makeup_bframes.avi'
  _, times_s, planes = ours(path)
  theirs, their_s = by_ffmpeg(path, planes.shape[1:])
  assert np.array_equal(planes, theirs)
  assert (np.diff(times_s) > 0).all()
  assert times_s[-1] == pytest.approx(their_s.max(), abs=0.05)
