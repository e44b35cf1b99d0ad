"""The record: what is written comes back, and others can read and write it."""

import dataclasses
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vidmodels.data.records import video_record
from vidmodels.typing import InputError

RECORD = video_record.Record(
  frames=(b'one', b'two', b'three'),
  timestamps_us=np.array([0, 40_000, 95_000]),
  fps=20.5,
  height=32,
  width=48,
  labels=(300,),
  label_texts=('größer, "left"',),
  video='a b/ü.mp4',
  start_us=1_500_000,
  end_us=1_635_000,
)


def varint(value):
  """An unsigned number in protobuf's base 128."""
  out = b''
  while value >= 128:
    out += bytes([value % 128 + 128])
    value //= 128
  return out + bytes([value])


def field(number, payload):
  """A length-delimited field of the wire format."""
  return varint(number * 8 + 2) + varint(len(payload)) + payload


def bytes_feature(*values):
  return field(1, b''.join(field(1, value) for value in values))


def int_feature(value):
  return field(3, field(1, varint(value % 2**64)))  # packed


def float_feature(value):
  return field(2, field(1, struct.pack('<f', value)))


def by_hand(context, lists):
  """A SequenceExample as TensorFlow's .proto files number its fields."""
  entries = b''.join(
    field(1, field(1, key.encode()) + field(2, feature))
    for key, feature in sorted(context.items())
  )
  feature_lists = b''.join(
    field(
      1, field(1, key.encode()) + field(2, b''.join(field(1, f) for f in fs))
    )
    for key, fs in sorted(lists.items())
  )
  return field(1, entries) + field(2, feature_lists)


def jpeg(height=6, width=10):
  frame_HWC = np.zeros((height, width, 3), np.uint8)
  return cv2.imencode('.jpg', frame_HWC)[1].tobytes()


def foreign(**context):
  """What DMVR's own writer leaves: no times, no rate, no size."""
  context = {
    'clip/label/index': int_feature(2),
    'clip/label/text': bytes_feature(b'run'),
    'video/filename': bytes_feature(b'v.mp4'),
    **context,
  }
  return context, {'image/encoded': [bytes_feature(jpeg())] * 3}


def test_a_record_comes_back_as_it_was_written():
  back = video_record.parse(video_record.encode(RECORD))
  for f in dataclasses.fields(video_record.Record):
    want, came = getattr(RECORD, f.name), getattr(back, f.name)
    assert np.array_equal(want, came), f.name
  assert back.timestamps_us.dtype == np.int64
  assert back.timed


def test_equal_records_give_equal_bytes():
  code = (
    'import sys; sys.path.insert(0, "tests/data/records");'
    'import test_video_record as t;'
    'from vidmodels.data.records import video_record;'
    'sys.stdout.buffer.write(video_record.encode(t.RECORD))'
  )
  for seed in ('0', '1'):  # string hashes must not order the keys
    run = subprocess.run(
      [sys.executable, '-c', code],
      env={'PYTHONHASHSEED': seed, 'PYTHONPATH': '.'},
      capture_output=True,
      check=True,
    )
    assert run.stdout == video_record.encode(RECORD)


def test_the_bytes_are_those_of_tensorflows_field_numbers():
  context = {
    'clip/label/index': int_feature(300),
    'clip/label/text': bytes_feature('größer, "left"'.encode()),
    'clip/start/timestamp': int_feature(1_500_000),
    'clip/end/timestamp': int_feature(1_635_000),
    'video/filename': bytes_feature('a b/ü.mp4'.encode()),
    'clip/id': bytes_feature('a b/ü.mp4'.encode()),
    'image/format': bytes_feature(b'jpeg'),
    'image/height': int_feature(32),
    'image/width': int_feature(48),
    'clip/fps': float_feature(20.5),
  }
  lists = {
    'image/encoded': [bytes_feature(f) for f in RECORD.frames],
    'image/timestamp': [int_feature(t) for t in (0, 40_000, 95_000)],
  }
  assert video_record.encode(RECORD) == by_hand(context, lists)


def test_dmvrs_own_records_have_no_invented_times():
  record = video_record.parse(by_hand(*foreign()))
  assert (record.height, record.width) == (6, 10)
  assert (record.labels, record.label_texts) == ((2,), ('run',))
  assert len(record.frames) == 3
  assert record.fps == 0
  assert not record.timed
  assert record.timestamps_us.tolist() == [video_record.UNTIMED] * 3


def test_clips_of_one_file_get_unique_names():
  starts = [0, 2_000_000]
  names = [
    video_record.parse(
      by_hand(*foreign(**{'clip/start/timestamp': int_feature(s)}))
    ).video
    for s in starts
  ]
  assert names == ['v.mp4', 'v.mp4@2000000']


def test_a_rate_alone_gives_even_times():
  context, lists = foreign(**{'clip/fps': float_feature(12.5)})
  record = video_record.parse(by_hand(context, lists))
  assert record.timestamps_us.tolist() == [0, 80_000, 160_000]


def test_times_that_count_from_the_video_start_are_moved_to_the_clips():
  context, lists = foreign()
  lists['image/timestamp'] = [int_feature(t) for t in (7_000, 8_000, 9_500)]
  record = video_record.parse(by_hand(context, lists))
  assert record.timestamps_us.tolist() == [0, 1_000, 2_500]


def test_a_record_without_a_label_has_none():
  context, lists = foreign()
  del context['clip/label/index']
  assert video_record.parse(by_hand(context, lists)).labels == ()


@pytest.mark.parametrize(
  ('raw', 'says'),
  [
    (b'\xff\xff no protobuf', 'no SequenceExample'),
    (by_hand({'audio/rate': int_feature(8000)}, {}), 'audio/rate'),
    (b'', 'no frame'),
    (
      by_hand({}, {'image/encoded': [bytes_feature(b'no jpeg')]}),
      'is no image',
    ),
  ],
)
def test_bytes_that_are_no_record_are_refused(raw, says):
  with pytest.raises(InputError, match=says):
    video_record.parse(raw)


@pytest.mark.parametrize(
  'change',
  [
    {'frames': ()},
    {'timestamps_us': np.array([0, 40_000])},
    {'timestamps_us': np.array([0, 40_000, 39_999])},
    {'timestamps_us': np.array([-1, 0, 1])},
  ],
)
def test_frames_and_times_that_do_not_go_together_are_not_written(change):
  with pytest.raises(ValueError, match=r'ü\.mp4'):
    video_record.encode(dataclasses.replace(RECORD, **change))


def test_the_schema_lives_beside_another_copy_in_protobufs_default_pool():
  code = (
    'from google.protobuf import descriptor_pool as d\n'
    'from vidmodels.data.records import video_record as s\n'
    'theirs = s._schema()\n'
    'theirs.name = "tensorflow/core/example/example.proto"\n'
    'd.Default().Add(theirs)\n'  # as importing TensorFlow does
    's.messages().SequenceExample()\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_keys_count_what_each_key_holds():
  keys = video_record.count_keys(video_record.encode(RECORD))
  assert keys['image/encoded'] == keys['image/timestamp'] == 3
  assert keys['clip/label/index'] == 1
  assert list(keys) == sorted(keys)


@pytest.mark.parametrize(
  'context',
  [
    {'clip/label/index': bytes_feature(b'two')},
    {'clip/label/text': bytes_feature(b'\xff\xfe')},
    {'clip/label/text': int_feature(3)},
    {'video/filename': int_feature(3)},
    {'clip/fps': bytes_feature(b'ten')},
    {'clip/fps': float_feature(float('nan'))},
    {'clip/fps': float_feature(-1.0)},
    {'image/height': bytes_feature(b'6')},
  ],
)
def test_a_key_with_a_value_of_another_kind_is_refused(context):
  with pytest.raises(InputError, match='value that its key cannot have'):
    video_record.parse(by_hand(*foreign(**context)))


def test_an_empty_first_frame_is_refused():
  context, _ = foreign()
  lists = {'image/encoded': [bytes_feature(b'')]}
  with pytest.raises(InputError):
    video_record.parse(by_hand(context, lists))
