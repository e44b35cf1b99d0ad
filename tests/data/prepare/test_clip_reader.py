"""Clips of a file: exact at every start, in one pass, alone or together."""

import av
import numpy as np
import pytest
import videos

from vidmodels.data.prepare import clip_reader
from vidmodels.data.video import decode, frame_reader
from vidmodels.data.video.container import BadVideo

FILES = {
  # name: what the file is made with, beside frames.
  'usual.mp4': dict(options={'g': '10', 'bf': '2', 'qp': '20'}),
  'one key frame.mp4': dict(
    options={'g': '999', 'sc_threshold': '0', 'qp': '20'}
  ),
  'b-frames.mp4': dict(options={'g': '12', 'bf': '4', 'qp': '20'}),
  'open gop.mp4': dict(
    options={
      'x264-params': 'open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0',
      'qp': '20',
    }
  ),
  'open gop.mkv': dict(
    options={
      'x264-params': 'open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0',
      'qp': '20',
    }
  ),
  'no idr.ts': dict(
    options={
      'x264-params': 'intra-refresh=1:keyint=12:min-keyint=12',
      'qp': '20',
    }
  ),
  'stream.ts': dict(options={'g': '10', 'bf': '2', 'qp': '20'}),
  'vp9.webm': dict(codec='libvpx-vp9', options={'g': '10', 'crf': '30'}),
  'vp8.webm': dict(
    codec='libvpx', options={'g': '10', 'auto-alt-ref': '1', 'b': '200k'}
  ),
  'hevc.mp4': dict(
    codec='libx265',
    options={'x265-params': 'log-level=none:keyint=10:bframes=3:open-gop=1'},
  ),
  'b-frames.avi': dict(
    codec='mpeg4', options={'g': '10', 'bf': '2', 'b': '1M'}
  ),
  'jpegs.avi': dict(codec='mjpeg', pix_fmt='yuvj420p'),
  'stills.mkv': dict(codec='ffv1'),
  'no stamps.h264': dict(format='h264', options={'g': '10', 'qp': '20'}),
  'fragments.mp4': dict(
    options={'g': '10', 'bf': '2', 'qp': '20'},
    mux={'movflags': 'frag_keyframe+empty_moov'},
  ),
}
UNEVEN = np.cumsum(
  [0, *np.random.default_rng(5).integers(20, 300, 59)]
).tolist()
FRAMES = 60


def picture(level):
  """Noise that moves: every frame differs from every other."""
  rng = np.random.default_rng(level)
  still = rng.integers(0, 256, (64, 64 + 2 * FRAMES, 3), np.uint8)
  return np.stack([still[:, 2 * t : 2 * t + 64] for t in range(FRAMES)])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cuts')
  for name, more in FILES.items():
    videos.write(folder / name, picture(1), **more)
  more = FILES['usual.mp4']
  videos.write(folder / 'uneven.mp4', picture(1), times=UNEVEN, **more)
  late = [3000 + 100 * t for t in range(FRAMES)]
  videos.write(folder / 'late.mkv', picture(1), times=late, **more)

  def earlier(packet):
    packet.pts -= int(0.7 / packet.time_base)
    packet.dts -= int(0.7 / packet.time_base)
    return packet

  videos.remux(folder / 'usual.mp4', folder / 'edit.mp4', copy=earlier)

  def doubled(packet):
    packet.pts = packet.dts = packet.pts - packet.pts % 200
    return packet

  source = videos.write(folder / 'source.mkv', picture(1), codec='ffv1')
  videos.remux(source, folder / 'doubled.mkv', copy=doubled)
  source.unlink()
  return folder


NAMES = [*FILES, 'uneven.mp4', 'late.mkv', 'edit.mp4', 'doubled.mkv']


class Kept:
  """A clip that keeps RGB."""

  def __init__(self, info):
    self.size = (info.width, info.height)
    self.frames, self.times_us = [], []

  def add(self, picture, time_us):
    self.frames.append(picture.rgb(self.size))
    self.times_us.append(time_us)


def read(path, wanted):
  """The clips by number, each as (frames, times, damage) or a reason."""
  found = {}
  for i, clip, damage in clip_reader.read_clips(
    path, wanted, lambda i, info: Kept(info)
  ):
    assert i not in found
    if isinstance(clip, BadVideo):
      found[i] = clip.reason
    else:
      found[i] = (np.stack(clip.frames), clip.times_us, damage)
  assert sorted(found) == list(range(len(wanted)))
  return [found[i] for i in range(len(wanted))]


def whole(path):
  """Frames and times of the complete file."""
  reading = decode.VideoReader(path)
  pairs = list(reading)
  return np.stack([f for f, _ in pairs]), np.array([t for _, t in pairs])


def stretch(frames, times_us, cut):
  """The frames and times that a clip must have."""
  start_us, end_us = cut.start_s * 1e6 - 1, cut.end_s * 1e6 - 1
  inside = (times_us >= start_us) & (times_us < end_us)
  if not inside.any():
    return None
  return frames[inside], (times_us[inside] - times_us[inside][0]).tolist()


def same(got, want):
  if want is None:
    assert isinstance(got, str)
    assert got.startswith('no frame from')
    return
  frames, times_us, damage = got
  assert damage == 0
  # A millisecond's fraction: the clip's zero is a float, then whole us.
  assert np.abs(np.subtract(times_us, want[1])).max() <= 1
  assert np.array_equal(frames, want[0])


@pytest.fixture
def eager(monkeypatch):
  """Skips wherever a packet could be left out."""
  monkeypatch.setattr(frame_reader, 'SKIP_S', 0.0)
  entered = []
  enter = frame_reader.FrameReader._enter

  def noted(self, key):
    entered.append(enter(self, key))
    return entered[-1]

  monkeypatch.setattr(frame_reader.FrameReader, '_enter', noted)
  return entered


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.fast_every(10)
def test_a_clip_is_exact_at_every_start(folder, name, eager):
  frames, times_us = whole(folder / name)
  assert len(frames) >= 50
  for start_us in times_us:
    cut = clip_reader.ClipRange(
      start_s=start_us / 1e6, end_s=start_us / 1e6 + 0.25
    )
    (got,) = read(folder / name, [cut])
    same(got, stretch(frames, times_us, cut))
  skipped = name in (
    'usual.mp4', 'b-frames.mp4', 'vp9.webm', 'vp8.webm', 'uneven.mp4',
    'late.mkv', 'edit.mp4', 'stills.mkv', 'stream.ts', 'fragments.mp4',
  )  # fmt: skip
  assert any(eager) >= skipped
  if name.endswith(('.avi', '.h264')) or name == 'doubled.mkv':
    assert not eager


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.fast_every(4)
def test_clips_read_together_equal_clips_read_alone(folder, name, seed, eager):
  frames, times_us = whole(folder / name)
  rng = np.random.default_rng(seed)
  end = times_us[-1] / 1e6
  starts = rng.uniform(0, end * 1.1, 12)
  starts[rng.uniform(size=12) < 0.2] = 0
  lengths = rng.choice([0.05, 0.3, 1.0, 3.0, np.inf, 0.0], 12)
  wanted = [
    clip_reader.ClipRange(float(s), float(s + n))
    for s, n in zip(starts, lengths, strict=True)
  ]
  for cut, got in zip(wanted, read(folder / name, wanted), strict=True):
    same(got, stretch(frames, times_us, cut))
    (alone,) = read(folder / name, [cut])
    if isinstance(got, str):
      assert alone == got
    else:
      assert alone[1:] == got[1:]


def test_clips_come_by_their_end_then_by_number(folder):
  wanted = [
    clip_reader.ClipRange(1.0, 3.0),
    clip_reader.ClipRange(0.0, 0.5),
    clip_reader.ClipRange(),
    clip_reader.ClipRange(2.0, 3.0),
    clip_reader.ClipRange(0.2, 3.05),
    clip_reader.ClipRange(2.5, 2.5),
    clip_reader.ClipRange(99.0, 100.0),
    clip_reader.ClipRange(3.0, 0.4),
  ]
  path = folder / 'usual.mp4'
  made = clip_reader.read_clips(path, wanted, lambda i, info: Kept(info))
  assert [i for i, _, _ in made] == [7, 1, 5, 0, 3, 4, 6, 2]


def test_a_file_is_opened_once_and_each_frame_decoded_once(folder, monkeypatch):
  opened, decoded = [], []
  open_video, stamp = frame_reader.open_video, frame_reader.FrameReader._stamp
  monkeypatch.setattr(
    frame_reader, 'open_video', lambda *a: opened.append(1) or open_video(*a)
  )
  monkeypatch.setattr(
    frame_reader.FrameReader,
    '_stamp',
    lambda *a: decoded.append(1) or stamp(*a),
  )
  wanted = [clip_reader.ClipRange(0.1 * k, 0.1 * k + 1.0) for k in range(40)]
  read(folder / 'usual.mp4', wanted)
  assert len(opened) == 1
  assert len(decoded) <= 52  # to the first frame after the last cut


def test_the_gap_between_two_clips_is_not_decoded(folder, monkeypatch):
  decoded = []
  stamp = frame_reader.FrameReader._stamp
  monkeypatch.setattr(
    frame_reader.FrameReader,
    '_stamp',
    lambda *a: decoded.append(1) or stamp(*a),
  )
  read(
    folder / 'usual.mp4',
    [clip_reader.ClipRange(0, 0.5), clip_reader.ClipRange(5.2, 5.5)],
  )
  assert 9 <= len(decoded) <= 14  # 0 to 0.5, then from the key frame at 5.0
  decoded.clear()
  # One key frame only: there is nothing to skip to.
  read(
    folder / 'one key frame.mp4',
    [clip_reader.ClipRange(0, 0.5), clip_reader.ClipRange(5.2, 5.5)],
  )
  assert 55 <= len(decoded) <= 57


def test_a_short_gap_is_decoded_without_a_search_for_key_frames(
  folder, monkeypatch
):
  monkeypatch.setattr(
    frame_reader, 'find_key_frames', lambda *_: pytest.fail('scanned')
  )
  wanted = [
    clip_reader.ClipRange(0, 0.5),
    clip_reader.ClipRange(2.0, 2.5),
    clip_reader.ClipRange(4.0, 4.5),
  ]
  read(folder / 'usual.mp4', wanted)


def test_a_seek_that_lands_elsewhere_costs_time_and_no_frame(
  folder, eager, monkeypatch
):
  """As if the index of the container lied."""
  frames, times_us = whole(folder / 'usual.mp4')

  class Elsewhere:
    def __init__(self, container):
      self._container = container

    def __getattr__(self, name):
      return getattr(self._container, name)

    def seek(self, stamp, **more):
      later = stamp + int(1.5 / self._container.streams.video[0].time_base)
      self._container.seek(later, **more)

  open_video = frame_reader.open_video
  monkeypatch.setattr(
    frame_reader, 'open_video', lambda *a: Elsewhere(open_video(*a))
  )
  cut = clip_reader.ClipRange(3.35, 4.0)
  (got,) = read(folder / 'usual.mp4', [cut])
  same(got, stretch(frames, times_us, cut))
  assert eager == [False]


@pytest.mark.parametrize(
  ('name', 'more'),
  [
    ('a.mp4', FILES['one key frame.mp4']),
    # Its decoder begins with any frame, and paints on grey.
    (
      'a.mkv',
      dict(
        codec='mpeg4',
        options={'g': '600', 'b': '1M', 'sc_threshold': '1000000000'},
      ),
    ),
  ],
)
def test_a_wrong_key_flag_is_detected(tmp_path, eager, monkeypatch, name, more):
  """As if every packet were flagged as a key frame, which some muxers do."""
  path = videos.write(tmp_path / name, picture(1), **more)
  frames, times_us = whole(path)
  scan, enter = frame_reader._select_entries, frame_reader.FrameReader._enter
  monkeypatch.setattr(
    frame_reader,
    '_select_entries',
    lambda pts, stamps, flags: scan(pts, stamps, [True] * len(pts)),
  )

  class Flagged:
    """A container whose packets all claim to be key frames."""

    def __init__(self, container):
      self._container = container

    def __getattr__(self, name):
      return getattr(self._container, name)

    def seek(self, stamp, **more):
      self._container.seek(stamp, any_frame=True, **more)

    def demux(self, stream):
      for packet in self._container.demux(stream):
        if packet.size:
          packet.is_keyframe = True
        yield packet

  def flagged(self, key):
    self.container = Flagged(self.container)
    return enter(self, key)

  monkeypatch.setattr(frame_reader.FrameReader, '_enter', flagged)
  cut = clip_reader.ClipRange(3.3, 4.0)
  (got,) = read(path, [cut])
  same(got, stretch(frames, times_us, cut))
  assert eager == [False]


def test_an_entry_point_comes_after_all_frames_shown_before_it():
  """Here the packet at 100 is decoded after one that is shown at 300."""
  pts = [0, 300, 100, 200, 400]
  found = frame_reader._select_entries(
    pts, pts, [True, False, True, True, True]
  )
  assert [entry.number for entry in found] == [0, 4]
  assert frame_reader.last_before(found, 399) == frame_reader.KeyFrame(0, 0, 0)
  assert frame_reader.last_before(found, 400) == frame_reader.KeyFrame(
    4, 400, 400
  )
  assert frame_reader.last_before(found, -1) is None


def test_a_clip_at_200_seconds_has_no_extra_frames(tmp_path):
  video_THWC = np.zeros((2100, 16, 16, 3), np.uint8)
  video_THWC[..., 0] = (np.arange(2100) % 200)[:, None, None]
  path = videos.write(tmp_path / 'long.mp4', video_THWC, options={'g': '50'})
  ((_, times_us, damage),) = read(path, [clip_reader.ClipRange(200.0, 202.0)])
  assert times_us == [100_000 * t for t in range(20)]
  assert damage == 0


def test_a_file_that_cannot_be_opened_loses_every_clip(tmp_path):
  (tmp_path / 'a.mp4').write_bytes(b'')
  assert (
    read(
      tmp_path / 'a.mp4',
      [clip_reader.ClipRange(), clip_reader.ClipRange(1.0, 2.0)],
    )
    == ['empty file'] * 2
  )


def test_a_clip_that_fails_does_not_affect_others(folder):
  class Fails(Kept):
    def add(self, picture, time_us):
      super().add(picture, time_us)
      if len(self.frames) == 4:
        raise BadVideo('no')

  make = lambda i, info: (Fails if i == 1 else Kept)(info)
  wanted = [
    clip_reader.ClipRange(0, 1),
    clip_reader.ClipRange(0, 1),
    clip_reader.ClipRange(0.5, 1),
  ]
  path = folder / 'usual.mp4'
  found = {i: clip for i, clip, _ in clip_reader.read_clips(path, wanted, make)}
  assert isinstance(found[1], BadVideo)
  assert [len(found[i].frames) for i in (0, 2)] == [10, 5]


def broken(folder, path, at):
  """A film of single pictures, some of whose packets are garbage."""
  videos.write(path, picture(1), codec='mjpeg', pix_fmt='yuvj420p')

  def garbled(packet):
    number = round(packet.pts * packet.time_base * 10)
    if number not in at:
      return packet
    bad = av.Packet(b'\xff\xd8nothing' * 9)
    bad.pts, bad.dts, bad.time_base = packet.pts, packet.dts, packet.time_base
    bad.is_keyframe = True
    return bad

  return videos.remux(path, path.with_name('bad.mkv'), copy=garbled)


def test_damage_is_counted_for_the_clips_that_contain_it(
  folder, tmp_path, eager
):
  path = broken(folder, tmp_path / 'a.mkv', at=(3, 20, 21))
  wanted = [
    clip_reader.ClipRange(0, 0.9),
    clip_reader.ClipRange(0.5, 1.5),
    clip_reader.ClipRange(1.5, 2.5),
    clip_reader.ClipRange(2.0, 3.0),
    clip_reader.ClipRange(2.2, 3.0),
    clip_reader.ClipRange(0.3, 0.6),
    clip_reader.ClipRange(),
  ]
  damage = [got[2] for got in read(path, wanted)]
  assert damage == [1, 0, 2, 2, 0, 1, 3]
  assert [read(path, [cut])[0][2] for cut in wanted] == damage


@pytest.mark.parametrize('seed', range(6))
def test_clips_of_damaged_files_are_the_same_every_time(
  folder, tmp_path, seed, eager
):
  """A decoder repairs a picture from earlier ones, so the pixels of a damaged
  file may depend on where decoding started; nothing else does."""
  rng = np.random.default_rng(seed)
  name = ('usual.mp4', 'vp9.webm', 'stream.ts')[seed % 3]
  path = tmp_path / name
  path.write_bytes((folder / name).read_bytes())
  videos.flip_bits(path, bytes=12, seed=seed)
  starts = rng.uniform(0, 5.5, 8)
  wanted = [clip_reader.ClipRange(float(s), float(s) + 0.6) for s in starts]
  together, again = read(path, wanted), read(path, wanted)
  for cut, got, more in zip(wanted, together, again, strict=True):
    (alone,) = read(path, [cut])
    if isinstance(got, str):
      assert alone == more == got
    else:
      assert np.array_equal(more[0], got[0])
      assert more[1:] == got[1:]
      assert alone[1] == got[1]


@pytest.mark.parametrize(
  'name',
  [
    'arm_wrestling.mp4',
    'basketball.mp4',
    'pool_cleaning.mp4',
    'eye_makeup_bframes.avi',
  ],
)
@pytest.mark.fast_every(4)
def test_clips_of_real_videos_are_exact(shared, name, eager):
  path = shared / 'clips' / name
  frames, times_us = whole(path)
  rng = np.random.default_rng(0)
  starts = rng.uniform(0, times_us[-1] / 1e6, 10)
  wanted = [clip_reader.ClipRange(float(s), float(s) + 0.5) for s in starts]
  wanted += [
    clip_reader.ClipRange(float(times_us[k]) / 1e6, 99.0) for k in (-20, -1)
  ]
  for k, got in enumerate(read(path, wanted)):
    want = stretch(frames, times_us, wanted[k])
    same(got, want)
    if k % 4 == 0:
      same(*read(path, [wanted[k]]), want)
