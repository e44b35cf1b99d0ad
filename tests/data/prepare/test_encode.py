"""Decoded frames become records in the same way as files do."""

import cv2
import numpy as np
import pytest
import videos

from vidmodels.data.listing.rows import VideoRow
from vidmodels.data.prepare import encode
from vidmodels.data.records import video_record
from vidmodels.data.video import decode
from vidmodels.typing import InputError


def make(frames_THWC, source_fps, **options):
  return encode.record_from_frames(
    frames_THWC,
    fps=source_fps,
    video='v',
    labels=(1,),
    label_texts=('sit',),
    options=encode.Options(**options),
  )


def test_a_record_has_the_given_frames_times_and_labels():
  video_THWC = videos.moving(5)
  record = make(video_THWC, 10.0, quality=100)
  assert record.timestamps_us.tolist() == [100_000 * t for t in range(5)]
  assert (record.height, record.width, record.fps) == (32, 48, 10)
  assert (record.start_us, record.end_us) == (0, 500_000)
  assert (record.labels, record.label_texts) == ((1,), ('sit',))
  for jpeg, frame_HWC in zip(record.frames, video_THWC, strict=True):
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[..., ::-1]
    assert np.abs(shown.astype(int) - frame_HWC).mean() < 2
  assert make(video_THWC, 10.0, short_side=16).width == 24


def test_frames_without_a_rate_have_no_times():
  record = make(videos.moving(5), 0.0)
  assert not record.timed
  assert (record.fps, record.end_us) == (0, 0)
  again = video_record.parse(video_record.encode(record))
  assert not again.timed
  assert again.frames == tuple(record.frames)
  with pytest.raises(InputError, match='frame rate of v is unknown'):
    make(videos.moving(5), 0.0, fps=5.0)


def test_a_frame_that_is_shown_twice_is_encoded_once(monkeypatch):
  made = []
  jpeg = decode.encode_jpeg
  monkeypatch.setattr(
    decode, 'encode_jpeg', lambda *args: made.append(1) or jpeg(*args)
  )
  record = make(videos.moving(4), 10.0, fps=20.0)
  assert len(record.frames) == 8
  assert len(made) == 4
  assert record.frames[0::2] == record.frames[1::2]


@pytest.mark.parametrize(('fps', 'source_fps'), [(10, 2000), (5, 1000)])
def test_a_single_frame_is_kept_however_short(fps, source_fps):
  frames = encode.resample([('a', 0)], fps=fps, source_fps=source_fps)
  assert list(frames) == [('a', 0)]


def test_no_frames_give_no_frames():
  assert list(encode.resample([], fps=5, source_fps=5)) == []


def test_clips_that_share_frames_may_have_sizes_of_their_own(tmp_path):
  """A stream that grows: a clip has the size of its own first frame."""
  small = videos.write(tmp_path / 'a.h264', videos.moving(12), format='h264')
  large = videos.moving(8, 64, 96)
  large = videos.write(tmp_path / 'b.h264', large, format='h264')
  small.write_bytes(small.read_bytes() + large.read_bytes())
  rows = [
    VideoRow(path=small, video='all', labels=()),
    VideoRow(path=small, video='end', labels=(), start_s=1.2),
  ]
  made = encode.make_records(small, rows, [(), ()], encode.Options())
  found = {rows[i].video: record for i, record, _ in made}
  for name, count, size in (('all', 20, (32, 48)), ('end', 8, (64, 96))):
    record = found[name]
    assert len(record.frames) == count
    assert (record.height, record.width) == size
    for jpeg in record.frames:
      frame_HWC = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
      assert frame_HWC.shape[:2] == size
