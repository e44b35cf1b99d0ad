"""Odd files: each has one outcome, the same in `check` and in `prepare`.

Every file has a grey of its own, so that one video in the place of another
would be seen.
"""

import contextlib
import dataclasses
import os
import pathlib
import stat
import struct
import time

import av
import cv2
import numpy as np
import pytest
import videos

from vidmodels.data.prepare import check_videos, prepare_records
from vidmodels.data.records import record_set
from vidmodels.data.video import container
from vidmodels.data.video.container import BadVideo
from vidmodels.files import write_atomically

FRONT = {'movflags': '+faststart'}
PAGE = b'<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n' * 20
CONCAT = b"ffconcat version 1.0\nfile 'a.mp4'\n"
DASH = b'<?xml version="1.0"?>\n<MPD type="static"><Period/></MPD>\n'
LIST = b'#EXTM3U\n#EXTINF:9,\nhttp://example.invalid/a.ts\n#EXT-X-ENDLIST\n'


@dataclasses.dataclass
class Odd:
  """An odd file.

  make: writes it, given its path and its grey.
  frames: that decode; of a damaged one, about, as encoders differ.
  lost: why there is no record, if there is none.
  size: height and width of the record.
  damaged: whether some of it does not decode.
  """

  name: str
  make: object
  frames: int | range = 12
  lost: str = ''
  size: tuple = (32, 48)
  damaged: bool = False


def film(frames=12, height=32, width=48, then=None, **more):
  """Writes a plain video with `more` said to the encoder; then changes it."""

  def make(path, level):
    videos.write(path, videos.moving(frames, height, width, level), **more)
    if then is not None:
      then(path)

  return make


def noisy(then, **more):
  def make(path, level):
    rng = np.random.default_rng(0)
    video_THWC = videos.moving(60, level=level).astype(int)
    video_THWC += rng.integers(-40, 41, video_THWC.shape)
    videos.write(path, np.clip(video_THWC, 0, 255).astype(np.uint8), **more)
    then(path)

  return make


def holds(data):
  return lambda path, level: path.write_bytes(data)


def two_streams(path, level):
  with av.open(str(path), 'w') as container:
    streams = [
      container.add_stream('libx264', rate=10, options={'qp': '4'})
      for _ in range(2)
    ]
    for stream in streams:
      stream.height, stream.width, stream.pix_fmt = 32, 48, 'yuv420p'
    for stream, grey in zip(streams, (level, 255 - level), strict=True):
      for frame_HWC in videos.moving(level=grey):
        frame = av.VideoFrame.from_ndarray(frame_HWC, format='rgb24')
        container.mux(stream.encode(frame))
      container.mux(stream.encode())


def starts_inside(path, level):
  """Cuts the first 0.7 s away by an edit list, as `ffmpeg -ss -c copy`."""
  source = path.with_name('.source.mp4')
  film(60)(source, level)

  def earlier(packet):
    packet.pts -= int(0.7 / packet.time_base)
    packet.dts -= int(0.7 / packet.time_base)
    return packet

  videos.remux(source, path, copy=earlier)
  source.unlink()


def doubled_stamps(path, level):
  """Every second frame has the stamp of the one before it."""
  source = path.with_name('.source.mkv')
  film(options={'qp': '4', 'bf': '0'})(source, level)

  def copy(packet):
    packet.pts = packet.dts = packet.pts - packet.pts % 200
    return packet

  videos.remux(source, path, copy=copy)
  source.unlink()


def wrong_rate(path, level):
  """The header says ten times what the frames are shown at."""
  film(times=[100 * t for t in range(12)], fps=100)(path, level)


def interlaced(path, level):
  """Two fields a frame: they stay woven, as the papers' tools leave them."""
  options = {'qp': '4', 'x264-params': 'tff=1'}
  film(12, 32, 48, options=options)(path, level)


def wide_pixels(path, level):
  """Pixels twice as wide as high; as every paper, we do not stretch them."""
  film(options={'qp': '4', 'x264-params': 'sar=2/1'})(path, level)


def picture(path, level):
  path.write_bytes(cv2.imencode('.png', videos.moving(1)[0])[1].tobytes())


def link(path, level):
  target = path.with_name('.target.mp4')
  film()(target, level)
  path.symlink_to(target.name)


def unreadable(path, level):
  film()(path, level)
  path.chmod(0)


def latin_tags(path):
  """Titles, handlers and languages in another encoding than UTF-8."""
  data = path.read_bytes()
  for tag in (b'VideoHandler', b'Lavf'):
    assert tag in data or path.suffix != '.mp4'
    data = data.replace(tag, b'\xe9\xff' + tag[2:])
  path.write_bytes(data)


PLAYLIST = 'a playlist, which names other files'
LATE = [3000 + 100 * t for t in range(12)]
UNEVEN = [0, 100, 200, 500, 600, 650, 700, 1300, 1400, 1500, 1600, 1700]
AV1 = {'crf': '10', 'preset': '12', 'svtav1-params': 'lp=1'}
HEVC = {'x265-params': 'log-level=none', 'crf': '4'}
ODD = [
  Odd('plain.mp4', film()),
  Odd('uneven rate.mp4', film(times=UNEVEN)),
  Odd('late start.mkv', film(times=LATE)),
  Odd('doubled stamps.mkv', doubled_stamps),
  Odd('wrong rate.mkv', wrong_rate),
  Odd('interlaced.mp4', interlaced),
  Odd('wide pixels.mp4', wide_pixels),
  Odd('three frames.mp4', film(3), frames=3),
  Odd('lossless.mkv', film(codec='ffv1')),
  Odd(
    'av1.mp4', film(12, 64, 96, codec='libsvtav1', options=AV1), size=(64, 96)
  ),
  Odd('mpeg4.avi', film(codec='mpeg4', options={'b': '2M', 'bf': '2'})),
  Odd('vp8.webm', film(codec='libvpx', options={'b': '1M'})),
  Odd('edit list.mp4', starts_inside, frames=53),
  Odd(
    'rotated.mp4',
    film(then=lambda p: videos.with_matrix(p, 0, 1, -1, 0)),
    size=(48, 32),
  ),
  Odd('portrait.mp4', film(height=48, width=32), size=(48, 32)),
  Odd('one frame.mp4', film(1), frames=1),
  Odd('1000 fps.mp4', film(fps=1000)),
  Odd('audio first.mp4', film(audio='first')),
  Odd('audio last.mp4', film(audio='last')),
  Odd('two videos.mp4', two_streams),
  Odd('grey.mp4', film(pix_fmt='gray')),
  Odd('10 bit.mp4', film(pix_fmt='yuv420p10le')),
  Odd('4-4-4 odd.mp4', film(12, 31, 47, pix_fmt='yuv444p'), size=(31, 47)),
  Odd('full range.mp4', film(pix_fmt='yuvj420p')),
  Odd('no count.webm', film(codec='libvpx-vp9', options={'crf': '4'})),
  Odd('no count.mkv', film()),
  Odd(
    'hevc.mp4', film(12, 64, 96, codec='libx265', options=HEVC), size=(64, 96)
  ),
  Odd('no stamps.h264', film(format='h264')),
  Odd('b-frames.avi', film(options={'bf': '2', 'qp': '4'})),
  Odd('motion jpeg.avi', film(codec='mjpeg', pix_fmt='yuvj420p')),
  Odd('stream.ts', film()),
  Odd('animated.gif', film(codec='gif', pix_fmt='rgb8')),
  Odd('mp4 called.avi', film(format='mp4')),
  Odd('no suffix', film(format='mp4')),
  Odd('latin tags.mp4', film(then=latin_tags)),
  Odd('latin tags.mkv', film(then=latin_tags)),
  Odd('ü (1) [x] "q".mp4', film()),
  Odd('a, b; c#d&e!.mp4', film()),
  Odd("person's head (not on a tie).mp4", film()),
  Odd('-_8Vy3dlHg2w_000123_000133.mp4', film()),
  Odd('-dash.mp4', film()),
  Odd('colon:name.mp4', film()),
  Odd('100%03d.mp4', film()),
  Odd('link.mp4', link),
  Odd(
    'front cut.mp4',
    noisy(lambda p: videos.cut_short(p, 0.6), mux=FRONT),
    frames=range(25, 45),
    damaged=True,
  ),
  Odd(
    'bit flips.mp4', noisy(videos.flip_bits), frames=range(40, 61), damaged=True
  ),
  Odd(
    'cut.mp4',
    noisy(lambda p: videos.cut_short(p, 0.6)),
    lost='cut short: an MP4 without its index (moov)',
  ),
  Odd('empty.mp4', holds(b''), lost='empty file'),
  Odd('page.mp4', holds(PAGE), lost='a web page, not a video'),
  Odd(
    'random.mp4',
    holds(np.random.default_rng(1).bytes(5000)),
    lost='not a video that FFmpeg knows',
  ),
  Odd('playlist.mp4', holds(LIST), lost=PLAYLIST),
  Odd('concat.mp4', holds(CONCAT), lost=PLAYLIST),
  Odd('dash.mpd', holds(DASH), lost=PLAYLIST),
  Odd('notes.txt', holds(b'some words\n' * 50), lost='text, not a video'),
  Odd('picture.png', picture, lost='a single image, not a video'),
  Odd(
    'sound.m4a',
    lambda path, level: videos.write_sound(path),
    lost='no video stream (audio only)',
  ),
  Odd(
    'sound.mp4',
    lambda path, level: videos.write_sound(path),
    lost='no video stream (audio only)',
  ),
  Odd('folder.mp4', lambda path, level: path.mkdir(), lost='is a directory'),
  Odd(
    'pipe.mp4',
    lambda path, level: os.mkfifo(path),
    lost='is not a regular file',
  ),
  Odd(
    'dangling.mp4',
    lambda path, level: path.symlink_to('nowhere.mp4'),
    lost='no such file',
  ),
  Odd('unreadable.mp4', unreadable, lost='permission denied'),
]
NAMES = [odd.name for odd in ODD]


def level_of(odd):
  return 4 * NAMES.index(odd.name)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  (folder / 'odd').mkdir()
  for odd in ODD:
    odd.make(folder / 'odd' / odd.name, level_of(odd))
  return folder


@pytest.fixture(scope='module')
def as_user():
  """Root may read everything; the tests want what a user sees."""
  opened = av.open

  def user_open(file, *args, **more):
    if 'w' in args:
      return opened(file, *args, **more)
    mode = pathlib.Path(str(file).removeprefix('file:')).stat().st_mode
    if not mode & stat.S_IRUSR:
      raise av.error.PermissionError(13, 'Permission denied', file)
    return opened(file, *args, **more)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(av, 'open', user_open)
    yield


@pytest.fixture(scope='module')
def checked(source, as_user):
  bad = source.parent / 'bad.txt'
  return check_videos.check(source, workers=1, out=bad), bad.read_text()


@pytest.fixture(scope='module')
def prepared(source, as_user, tmp_path_factory):
  out = tmp_path_factory.mktemp('out')
  manifest = prepare_records.prepare(
    source, out, workers=1, quality=100, shards=3
  )
  records = record_set.RecordSet.open(out, 'train')
  made = [records.record(i) for i in range(len(records))]
  return manifest, {r.video: r for r in made}, out


def test_there_are_at_least_forty_files():
  assert len(ODD) >= 40
  assert len(set(NAMES)) == len(ODD)


@pytest.mark.parametrize('odd', ODD, ids=NAMES)
def test_check_gives_the_reason(odd, checked):
  report, _ = checked
  assert dict(report.bad).get(f'odd/{odd.name}', '') == odd.lost
  assert (f'odd/{odd.name}' in dict(report.damaged)) == odd.damaged


@pytest.mark.parametrize('odd', ODD, ids=NAMES)
def test_prepare_makes_a_record_or_gives_the_reason(odd, prepared):
  manifest, made, _ = prepared
  video = f'odd/{odd.name}'
  assert dict(manifest.lost).get(video, '') == odd.lost
  assert (video in dict(manifest.damaged)) == odd.damaged
  assert (video in made) == (not odd.lost)
  if odd.lost:
    return
  record = made[video]
  count = odd.frames if odd.damaged else [odd.frames]
  assert len(record.frames) in count
  assert (record.height, record.width) == odd.size
  times_us = record.timestamps_us
  assert times_us[0] == 0
  assert (np.diff(times_us) > 0).all()
  # It is this video and no other: the most frequent grey is its own.
  frame_HWC = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1)
  assert frame_HWC.shape[:2] == odd.size
  if not odd.damaged:
    miss = abs(np.median(frame_HWC) - level_of(odd))
    # A GIF has few greys; the next video's is 4 levels away.
    assert miss <= (20 if odd.name.endswith('.gif') else 2)


def test_records_and_lost_clips_are_all_listed_clips(checked, prepared):
  report, bad = checked
  manifest, made, out = prepared
  assert report.listed == manifest.listed == len(ODD)
  assert report.ok + len(dict(report.bad)) == len(ODD)
  assert manifest.count + len(manifest.lost) == len(ODD)
  assert report.bad == manifest.lost
  assert report.damaged == manifest.damaged
  assert report.frames == sum(len(r.frames) for r in made.values())
  assert {*made, *dict(manifest.lost)} == {f'odd/{name}' for name in NAMES}
  lost = (out / 'train.lost.txt').read_text()
  assert lost == bad
  assert lost.splitlines() == [f'{v}\t{why}' for v, why in manifest.lost]


def test_doubled_stamps_are_spread_and_a_wrong_rate_is_corrected(prepared):
  made = prepared[1]
  times_us = made['odd/doubled stamps.mkv'].timestamps_us
  assert (np.diff(times_us) == 100_000).all()
  record = made['odd/wrong rate.mkv']
  assert record.timestamps_us.tolist() == [100_000 * t for t in range(12)]
  assert record.fps == pytest.approx(10)


def test_a_variable_rate_is_kept_in_stamps_and_average(prepared):
  record = prepared[1]['odd/uneven rate.mp4']
  assert record.timestamps_us.tolist() == [1000 * t for t in UNEVEN]
  assert record.fps == pytest.approx(11 / 1.7, rel=1e-6)
  assert record.end_us == pytest.approx(1_700_000 + 1.7e6 / 11, abs=1)


def test_records_of_odd_files_do_not_depend_on_other_files(
  source, as_user, prepared, tmp_path
):
  """Alone, a file gives the very record that it gives among all others."""
  _, made, _ = prepared
  alone = tmp_path / 'list.txt'
  name = 'bit flips.mp4'
  write_atomically(alone, f'odd/{name}\todd\n'.encode())
  prepare_records.prepare(
    alone, tmp_path / 'out', root=source, workers=1, quality=100
  )
  record = record_set.RecordSet.open(tmp_path / 'out', 'train').record(0)
  assert record.frames == made[f'odd/{name}'].frames


def test_the_odd_files_are_as_their_names_say(source):
  def opened(name):
    return av.open(str(source / 'odd' / name))

  with opened('interlaced.mp4') as container:
    assert next(container.decode(video=0)).interlaced_frame
  with opened('wide pixels.mp4') as container:
    assert container.streams.video[0].sample_aspect_ratio == 2
  with opened('doubled stamps.mkv') as container:
    stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(set(stamps)) == len(stamps) / 2
  with opened('wrong rate.mkv') as container:
    assert container.streams.video[0].guessed_rate == 100
  with opened('edit list.mp4') as container:
    assert container.streams.video[0].frames == 60
  with opened('no count.webm') as container:
    assert container.streams.video[0].frames == 0
  with opened('late start.mkv') as container:
    assert container.streams.video[0].start_time == 3000


def test_a_path_below_a_file_does_not_exist(tmp_path):
  (tmp_path / 'a').write_bytes(b'x')
  with pytest.raises(BadVideo, match=r'^no such file$'):
    container.check_video_file(tmp_path / 'a' / 'b.mp4')


SDP = 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n'
REPRESENTATION = '<Representation id="1"><BaseURL>real.mp4</BaseURL>'
LISTS = {  # of other files, in formats that FFmpeg reads, under any name
  'itself.mp4': '#EXTM3U\n#EXTINF:9,\nitself.mp4\n#EXT-X-ENDLIST\n',
  'live.mp4': '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.ts\n',
  'names a pipe.ts': '#EXTM3U\n#EXTINF:9,\npipe.ts\n#EXT-X-ENDLIST\n',
  'windows.mkv': '\ufeff#EXTM3U\r\n#EXTINF:9,\r\nreal.ts\r\n',
  'list.m3u8': '#EXTM3U\n#EXTINF:9,\nreal.ts\n#EXT-X-ENDLIST\n',
  'concat itself.mkv': "ffconcat version 1.0\nfile 'concat itself.mkv'\n",
  'concat a pipe.avi': "ffconcat version 1.0\nfile 'pipe.ts'\n",
  'dash.mp4': f'<?xml version="1.0"?>\n<MPD><Period>{REPRESENTATION}',
  'stream.sdp': SDP,
  'stream.mp4': SDP,
  'asx.wmv': '<asx version="3.0"><entry><ref href="real.mp4"/></entry></asx>',
  'pls.mp4': '[playlist]\nFile1=real.mp4\nNumberOfEntries=1\n',
  'redirect.mov': 'RTSPtext\nrtsp://127.0.0.1/x\n',
  'script.avi': 'AviSource("real.avi")\n',
  'subtitles.idx': '# VobSub index file, v7\ntimestamp: 00:00, filepos: 0\n',
  '%03d.mp4': 'a pattern of pictures',
}


def box(kind: bytes, content: bytes) -> bytes:
  return struct.pack('>I4s', 8 + len(content), kind) + content


def test_lists_of_other_files_are_refused_at_once(tmp_path):
  for suffix in ('mp4', 'ts'):
    videos.write(tmp_path / f'real.{suffix}', videos.moving())
  for k in range(3):  # what the pattern would find
    picture(tmp_path / f'{k:03d}.mp4', 0)
  os.mkfifo(tmp_path / 'pipe.ts')
  for name, text in LISTS.items():
    (tmp_path / name).write_text(text)
  place = b'url ' + struct.pack('>I', 9) + b'real.mp4\0'
  movie = box(b'rmra', box(b'rmda', box(b'rdrf', bytes(4) + place)))
  brand = box(b'ftyp', b'qt  ' + bytes(4) + b'qt  ')
  (tmp_path / 'reference.mov').write_bytes(brand + box(b'moov', movie))
  start = time.monotonic()
  for name in (*LISTS, 'reference.mov'):
    with pytest.raises(BadVideo, match=r'list|text|web page|no.* video|single'):
      container.open_video(tmp_path / name, threads=1)
  assert time.monotonic() - start < 5


def test_frames_that_a_movie_keeps_in_another_file_are_not_read(tmp_path):
  """A track may say that its data are in another file: those are left alone."""
  whole = videos.write(tmp_path / 'real.mp4', videos.moving(), mux=FRONT)
  data = whole.read_bytes()
  head = bytearray(data[: data.index(b'mdat') + 4])
  at = head.index(b'url \0\0\0\1')
  for kind in (b'url ', b'alis'):
    head[at : at + 8] = kind + bytes(4)  # no longer: in this file
    path = tmp_path / f'{kind.decode().strip()}.mov'
    path.write_bytes(bytes(head) + bytes(len(data) - len(head)))
    frames = 0
    with container.open_video(path, threads=1) as opened:
      stream = container.video_stream(opened)
      for packet in opened.demux(stream):
        with contextlib.suppress(av.FFmpegError):
          frames += len(stream.codec_context.decode(packet))
    assert not frames


def test_no_other_module_opens_containers():
  package = pathlib.Path(container.__file__).parents[2]
  opens = [p.name for p in package.rglob('*.py') if 'av.open(' in p.read_text()]
  writers = {'video_sets.py'}  # of made-up sets
  assert set(opens) - writers == {'container.py'}


def test_a_frame_of_a_claimed_gigabyte_is_refused_before_it_is_made(tmp_path):
  path = videos.write(
    tmp_path / 'a.gif', videos.moving(), codec='gif', pix_fmt='rgb8'
  )
  data = bytearray(path.read_bytes())
  data[6:10] = struct.pack('<HH', 15_000, 15_000)
  path.write_bytes(data)
  with pytest.raises(BadVideo, match='claims frames of 15000 x 15000 pixels'):
    container.open_video(path, threads=1)
