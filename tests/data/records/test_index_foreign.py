"""Shards of another tool: indexed as they are, or refused with the reason."""

import cv2
import numpy as np
import pytest
import streams
import test_video_record
from test_video_record import bytes_feature, field, varint

from vidmodels.cli import main
from vidmodels.data.records import (
  index_foreign,
  inspect_records,
  record_set,
  tfrecord,
  video_record,
)
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

CLASSES = ClassList(('sit', 'walk', 'run'))


def ints(*values):
  packed = b''.join(varint(value % 2**64) for value in values)
  return field(3, field(1, packed))


def floats(values):
  return field(2, field(1, np.asarray(values, '<f4').tobytes()))


def jpegs(count, seed=0):
  rng = np.random.default_rng(seed)
  for _ in range(count):
    frame_HWC = rng.integers(0, 256, (8, 12, 3), np.uint8)
    yield cv2.imencode('.jpg', frame_HWC)[1].tobytes()


def clip(
  *,
  labels=(2,),
  texts=(b'run',),
  frames=3,
  name=b'a/v.mp4',
  start=0,
  end=None,
  audio=None,
  seed=0,
):
  """A record with the keys that DMVR's script writes, and no other."""
  context = {
    'clip/label/index': ints(*labels),
    'clip/label/text': bytes_feature(*texts),
    'video/filename': bytes_feature(name),
    'clip/start/timestamp': ints(start),
    'clip/end/timestamp': ints(start + 300_000 if end is None else end),
    'caption/string': bytes_feature(b'somebody runs'),
  }
  lists = {'image/encoded': [bytes_feature(j) for j in jpegs(frames, seed)]}
  if audio is not None:
    lists['WAVEFORM/feature/floats'] = [floats(audio)]
  return test_video_record.by_hand(context, lists)


def write(folder, records, *, split='val', suffix='', count=2):
  """Deals records to shards as DMVR's script does: in turns, no suffix."""
  for k in range(count):
    name = f'{split}-{k:05d}-of-{count:05d}{suffix}'
    with tfrecord.ShardWriter(folder / name) as writer:
      for record in records[k::count]:
        writer.write(record)


def dmvr(folder, *, suffix='', count=2, **made):
  records = [clip(start=i * 300_000, seed=i, **made) for i in range(6)]
  write(folder, records, suffix=suffix, count=count)


@pytest.mark.parametrize('suffix', ['', '.tfrecord'])
def test_shards_of_dmvr_are_indexed_and_then_read(tmp_path, suffix):
  dmvr(tmp_path, suffix=suffix)
  flip = FlipPolicy('free')
  manifest = index_foreign.index_shards(tmp_path, 'val', CLASSES, flip=flip)
  assert manifest.count == manifest.listed == 6
  assert manifest.labels == (0, 0, 6)
  records = record_set.RecordSet.open(tmp_path, 'val')
  assert (len(records), records.classes, records.manifest.flip) == (
    6,
    CLASSES,
    flip,
  )
  assert records.record(5).label_texts == ('run',)
  assert records.where(3) == (f'val-00001-of-00002{suffix}', 0)
  assert (
    inspect_records.summary(tmp_path)['splits']['val']['example']['fps'] == 0
  )


def test_frames_come_byte_for_byte_and_sound_is_passed_over(tmp_path):
  # DMVR's script writes integers where floats are read: NaN and inf.
  sound = np.array([np.nan, np.inf, 0.5], np.float32)
  records = [clip(frames=4, seed=i, audio=sound, start=i) for i in range(3)]
  write(tmp_path, records, count=1)
  index_foreign.index_shards(tmp_path, 'val', CLASSES)
  found = record_set.RecordSet.open(tmp_path, 'val')
  for i in range(3):
    record = found.record(i)
    assert list(record.frames) == list(jpegs(4, seed=i))
    assert (record.height, record.width) == (8, 12)
    assert not record.timed
    assert (record.fps, record.start_us) == (0, i)
  assert (
    'WAVEFORM/feature/floats'
    in inspect_records.summary(tmp_path)['splits']['val']['keys']
  )


def test_shards_in_their_files_order_whatever_the_folder_gives(tmp_path):
  records = [clip(name=f'{i}.mp4'.encode(), start=0) for i in range(7)]
  write(tmp_path, records, count=3)
  index_foreign.index_shards(tmp_path, 'val', CLASSES)
  found = record_set.RecordSet.open(tmp_path, 'val')
  names = [found.video(i) for i in range(7)]
  assert names == [f'{i}.mp4' for i in (0, 3, 6, 1, 4, 2, 5)]


def test_label_names_may_be_missing(tmp_path):
  dmvr(tmp_path, texts=())
  assert index_foreign.index_shards(tmp_path, 'val', CLASSES).labels == (
    0,
    0,
    6,
  )


def test_without_a_class_list_the_records_own_names_are_taken(tmp_path):
  # As DMVR's script numbers them: in no order at all.
  made = [((1,), (b'run',)), ((2,), (b'sit',)), ((0,), (b'walk',))] * 2
  write(
    tmp_path,
    [clip(labels=n, texts=t, start=i) for i, (n, t) in enumerate(made)],
  )
  index_foreign.index_shards(tmp_path, 'val')
  records = record_set.RecordSet.open(tmp_path, 'val')
  assert records.classes.names == ('walk', 'run', 'sit')
  for i in range(6):
    record = records.record(i)
    assert records.classes.names[record.labels[0]] == record.label_texts[0]


def test_every_record_is_read_once(tmp_path, monkeypatch):
  """Also where their names make the class list: shards are large."""
  dmvr(tmp_path, labels=(0,))
  parse, seen = video_record.parse, []
  monkeypatch.setattr(
    video_record, 'parse', lambda raw: (seen.append(raw), parse(raw))[1]
  )
  index_foreign.index_shards(tmp_path, 'val')
  assert len(seen) == 6
  seen.clear()
  index_foreign.index_shards(tmp_path, 'val', ClassList(('run',)))
  assert len(seen) == 6


def test_a_wrong_class_list_is_refused_at_the_first_shard(
  tmp_path, monkeypatch
):
  dmvr(tmp_path)
  read, seen = tfrecord.scan_offsets, []
  monkeypatch.setattr(
    tfrecord, 'scan_offsets', lambda path: (seen.append(path), read(path))[1]
  )
  with pytest.raises(InputError, match='offset 0: got label 2'):
    index_foreign.index_shards(tmp_path, 'val', ClassList(('run', 'sit')))
  assert len(seen) == 1


def test_two_runs_of_dmvrs_script_do_not_go_together(tmp_path):
  """They number the classes anew each time: train and test disagree."""
  write(
    tmp_path,
    [clip(labels=(0,), texts=(b'run',)), clip(labels=(1,), texts=(b'sit',))],
    split='train',
  )
  write(
    tmp_path,
    [clip(labels=(1,), texts=(b'run',)), clip(labels=(0,), texts=(b'sit',))],
    split='test',
  )
  index_foreign.index_shards(tmp_path, 'train')
  with pytest.raises(InputError, match=r"label 1 as 'run'.*'run' as 0.*anew"):
    index_foreign.index_shards(tmp_path, 'test')
  assert not (tmp_path / 'test.manifest.json').exists()


@pytest.mark.parametrize(
  ('made', 'says'),
  [
    ([((0,), ()), ((1,), (b'sit',))], 'does not name its labels'),
    ([((0,), (b'run',)), ((2,), (b'sit',))], 'label 1 has none'),
    ([((0,), (b'run',)), ((0,), (b'sit',))], "'run' and 'sit'"),
    ([((), ()), ((), ())], 'there is no label'),
    ([((0,), (b'run',)), ((1,), (b'run',))], "class 'run' twice"),
  ],
)
def test_names_that_give_no_class_list_are_refused(tmp_path, made, says):
  write(tmp_path, [clip(labels=n, texts=t) for n, t in made])
  with pytest.raises(InputError, match=says):
    index_foreign.index_shards(tmp_path, 'val')


def test_a_video_may_have_several_labels_or_none_if_that_is_said(tmp_path):
  records = [
    clip(labels=(2, 0), texts=(b'run', b'sit')),
    clip(labels=(), texts=(), start=1),
    clip(labels=(1,), texts=(b'walk',), start=2),
  ]
  write(tmp_path, records, count=1)
  with pytest.raises(InputError, match=r'offset 0: got labels .2, 0.;'):
    index_foreign.index_shards(tmp_path, 'val', CLASSES)
  manifest = index_foreign.index_shards(
    tmp_path, 'val', CLASSES, task=Task('multi')
  )
  assert manifest.labels == (1, 1, 1)
  assert manifest.task == Task('multi')
  assert record_set.Manifest.load(tmp_path, 'val').task == Task('multi')
  found = record_set.RecordSet.open(tmp_path, 'val')
  assert [found.record(i).labels for i in range(3)] == [(2, 0), (), (1,)]
  with pytest.raises(InputError, match='at least one'):
    index_foreign.index_shards(tmp_path, 'val', CLASSES, task=Task('any'))


def test_heads_are_checked(tmp_path):
  classes = ClassList(('verb/take', 'verb/put', 'noun/tap'))
  task = Task.parse('verb=2, noun=1')
  write(tmp_path, [clip(labels=(1, 2), texts=())], count=1)
  assert index_foreign.index_shards(
    tmp_path, 'val', classes, task=task
  ).labels == (
    0,
    1,
    1,
  )
  flip = FlipPolicy('swap', (('verb/put', 'noun/tap'),))
  with pytest.raises(InputError, match='verb/put=noun/tap, which trades'):
    index_foreign.index_shards(tmp_path, 'val', classes, task=task, flip=flip)
  with pytest.raises(InputError, match='expected 2, the heads'):
    index_foreign.index_shards(
      tmp_path, 'val', CLASSES, task=Task.parse('a=1,b=1')
    )
  with pytest.raises(InputError, match='expected one b and one a'):
    index_foreign.index_shards(
      tmp_path, 'val', classes, task=Task.parse('b=1,a=2')
    )


@pytest.mark.parametrize('text', ['', 'none', 'verb', 'verb=97;noun=3', 'a=-1'])
def test_labels_of_another_kind_are_refused(text):
  with pytest.raises(InputError, match='expected single, multi, any, or heads'):
    Task.parse(text)


def test_clips_with_the_same_name_get_unique_names(tmp_path):
  write(tmp_path, [clip(name=n) for n in (b'', b'v', b'v', b'', b'v')], count=1)
  index_foreign.index_shards(tmp_path, 'val', CLASSES)
  records = record_set.RecordSet.open(tmp_path, 'val')
  names = [records.video(i) for i in range(5)]
  assert names == ['unnamed', 'v', 'v#2', 'unnamed#2', 'v#3']


@pytest.mark.parametrize(
  ('made', 'says'),
  [
    ({'labels': (3,)}, 'offset 0: got label 3'),
    ({'labels': (-1,)}, 'offset 0: got label -1'),
    ({'labels': (1,)}, "label 1 as 'run'; the class list has 'walk'"),
    ({'texts': (b'run', b'sit')}, 'expected a name for each, or none'),
    ({'count': 0}, 'no shards'),
  ],
)
def test_labels_that_do_not_fit_the_class_list_are_refused(
  tmp_path, made, says
):
  dmvr(tmp_path, **made)
  with pytest.raises(InputError, match=says):
    index_foreign.index_shards(tmp_path, 'val', CLASSES)
  assert not (tmp_path / 'val.manifest.json').exists()
  assert not (tmp_path / 'classes.txt').exists()


def test_empty_shards_are_refused(tmp_path):
  write(tmp_path, [])
  with pytest.raises(InputError, match='are empty'):
    index_foreign.index_shards(tmp_path, 'val', CLASSES)


def test_a_corrupt_shard_is_not_indexed(tmp_path):
  dmvr(tmp_path)
  path = tmp_path / 'val-00001-of-00002'
  data = bytearray(path.read_bytes())
  data[-10] ^= 1
  path.write_bytes(data)
  with pytest.raises(InputError, match='val-00001-of-00002 at offset'):
    index_foreign.index_shards(tmp_path, 'val', CLASSES)


def test_a_split_may_not_change_the_classes_of_the_others(tmp_path):
  streams.write(tmp_path, [streams.record(i, 5, 20, 30) for i in range(6)])
  dmvr(tmp_path)
  with pytest.raises(InputError, match='class 0'):
    index_foreign.index_shards(tmp_path, 'val', CLASSES)
  assert ClassList.load(tmp_path / 'classes.txt') == streams.CLASSES


def test_an_invalid_record_is_refused_with_its_place(tmp_path):
  """Its checksum fits, so that only its sense is broken."""
  rng = np.random.default_rng(0)
  whole = clip(labels=(2, 0), texts=(b'run', b'sit'))
  outcomes = set()
  for _ in range(400):
    data = bytearray(whole)
    # Most of a record is JPEG, which nobody opens here: the keys are before.
    at = int(rng.integers(data.index(b'\xff\xd8')))
    data[at] ^= int(rng.integers(1, 256))
    if rng.random() < 0.2:
      del data[at : at + int(rng.integers(1, 9))]
    write(tmp_path, [bytes(data)], count=1)
    try:
      manifest = index_foreign.index_shards(
        tmp_path, 'val', CLASSES, task=Task('multi')
      )
    except InputError as e:
      outcomes.add('told' if 'of-00001 at offset 0' in str(e) else str(e))
    else:
      outcomes.add(manifest.count)
  assert outcomes == {'told', 1}


@pytest.mark.parametrize(
  ('start', 'end', 'frames', 'padded'),
  [
    (1.0, 3.0, 30, 1),  # as DMVR's script does it: 10 of them are copies
    (1.0, 3.0, 20, 0),
    (0.0, 2.0, 20, 0),
    (4.0, 6.0, 60, 1),
    (4.0, 6.0, 50, 0),  # 25 a second
  ],
)
def test_frozen_starts_are_counted_and_reported(
  tmp_path, capsys, start, end, frames, padded
):
  times = {'start': round(start * 1e6), 'end': round(end * 1e6)}
  write(tmp_path, [clip(frames=frames, **times)], count=1)
  manifest = index_foreign.index_shards(tmp_path, 'val', CLASSES)
  assert manifest.options['padded'] == padded
  assert main(['inspect', str(tmp_path)]) == 0
  said = 'before their start: 1;' in capsys.readouterr().out
  assert said == bool(padded)


def test_the_command_indexes_and_prints_the_summary(tmp_path, capsys):
  records = [
    clip(labels=(0, 1), texts=(b'run', b'sit')),
    clip(labels=(), texts=(), start=1),
  ]
  write(tmp_path, records, count=1)
  args = ['inspect', str(tmp_path), '--split', 'val', '--index']
  assert main([*args, '--labels', 'multi']) == 0
  printed = capsys.readouterr().out
  assert "a/v.mp4 is 'run' (0), 'sit' (1), 3 frames of 12 x 8" in printed
  assert main(args) == 2
  assert 'got labels (0, 1)' in capsys.readouterr().err
  assert main(['inspect', str(tmp_path), '--labels', 'multi']) == 2
  assert 'got --labels without --index' in capsys.readouterr().err
