"""DMVR reads our records, and our records have none of its script's faults.

Where DMVR is not installed, TensorFlow parses the records with the very
feature types that DMVR declares.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import streams
import videos

from vidmodels.data.prepare.prepare_records import prepare
from vidmodels.data.records import dmvr_factory as adapter
from vidmodels.data.records import (
  inspect_records,
  record_set,
  tfrecord,
  video_record,
)
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.record_set import Manifest
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

REPO = pathlib.Path(__file__).resolve().parents[3]
CLASSES = ClassList(('sit', 'walk', 'run', 'wave'))
HEADS = Task(heads=(('verb', 3), ('noun', 1)))


def picture(i, t, height=24, width=36):
  """Frame t of record i: smooth, so that JPEG keeps its levels."""
  frame_HWC = np.full((height, width, 3), (20 * i + 10, 3 * t, 90), np.uint8)
  frame_HWC[:, : 4 + t % 20] = 200
  return frame_HWC


def write(folder, *, task=SINGLE, labels=None, flip='free', labelled=True):
  """A split of five records over two shards, of 6 to 10 frames."""
  labels = labels or [(i % 4,) for i in range(5)]
  items = []
  for i in range(5):
    jpegs = [
      cv2.imencode('.jpg', picture(i, t)[..., ::-1])[1].tobytes()
      for t in range(6 + i)
    ]
    items.append(
      video_record.Record(
        frames=jpegs,
        timestamps_us=np.arange(len(jpegs)) * 40_000,
        fps=25.0,
        height=24,
        width=36,
        labels=labels[i],
        label_texts=tuple(CLASSES.names[k] for k in labels[i]),
        video=f'{i}.mp4',
      )
    )
  found = []
  for k in range(2):
    path = folder / tfrecord.shard_name('train', k, 2)
    with tfrecord.ShardWriter(path) as writer:
      for item in items[k::2]:
        writer.write(video_record.encode(item, task))
    found.append(
      record_set.Shard(
        path.name,
        len(writer.offsets),
        writer.bytes,
        writer.sha256,
        np.asarray(writer.offsets),
        tuple(item.video for item in items[k::2]),
      )
    )
  CLASSES.save(folder / 'classes.txt')
  Manifest(
    split='train',
    shards=tuple(found),
    classes_sha256=CLASSES.sha256,
    flip=FlipPolicy(flip, (('sit', 'run'),) if flip == 'swap' else ()),
    listed=5,
    task=task,
    labelled=labelled,
  ).save(folder)
  return items[0::2] + items[1::2]  # as a reader of the shards gets them


@pytest.fixture
def tf():
  return pytest.importorskip('tensorflow')


@pytest.fixture
def dmvr():
  pytest.importorskip('tensorflow')
  return pytest.importorskip('dmvr.modalities', exc_type=ImportError)


def rows(dataset):
  return list(dataset.as_numpy_iterator())


def made(folder, **options):
  """All batches of one pass in the order of the shards."""
  factory = adapter.factory(folder, 'train').configure(**options)
  return rows(
    factory.tune(cycle_length=1, num_parallel_calls_interleave=1).make_dataset(
      shuffle=False, num_epochs=1, batch_size=1
    )
  )


EXACT = dict(is_training=False, min_resize=24, crop_size=24)


def test_dmvrs_factory_reads_our_records_frame_for_frame(dmvr, tf, tmp_path):
  items = write(tmp_path)
  batches = made(tmp_path, num_frames=6, stride=1, **EXACT)
  assert len(batches) == 5
  for item, batch in zip(items, batches, strict=True):
    n = len(item.frames)
    middle = max(0, (n - 6) // 2)
    wanted_THWC = np.stack(
      [
        tf.io.decode_jpeg(jpeg).numpy()[:, 6:30]  # the centre of 36
        for jpeg in item.frames[middle : middle + 6]
      ]
    )
    image_BTHWC = batch['image']
    assert image_BTHWC.shape == (1, 6, 24, 24, 3)
    assert np.array_equal(np.round(image_BTHWC[0] * 255), wanted_THWC)
    label_K = np.zeros(4)
    label_K[item.labels[0]] = 1
    assert np.array_equal(batch['label'], label_K[None])


def test_dmvrs_factory_takes_several_labels_and_none(dmvr, tf, tmp_path):
  labels = [(0, 3), (), (2,), (1, 2, 3), (0,)]
  items = write(tmp_path, task=Task('multi'), labels=labels)
  for item, batch in zip(
    items, made(tmp_path, num_frames=2, **EXACT), strict=True
  ):
    assert np.flatnonzero(batch['label'][0]).tolist() == list(item.labels)


def test_dmvrs_factory_takes_a_label_of_each_head(dmvr, tf, tmp_path):
  labels = [(i % 3, 3) for i in range(5)]
  items = write(tmp_path, task=HEADS, labels=labels)
  batches = made(tmp_path, num_frames=2, one_hot_label=False, **EXACT)
  for item, batch in zip(items, batches, strict=True):
    assert batch['label/verb'].tolist() == [[item.labels[0]]]
    assert batch['label/noun'].tolist() == [[3]]
    assert batch['label'].tolist() == [list(item.labels)]


def test_a_split_without_labels_gives_none(dmvr, tf, tmp_path):
  write(tmp_path, labels=[()] * 5, labelled=False)
  batch = made(tmp_path, num_frames=2, **EXACT)[0]
  assert set(batch) == {'image'}


@pytest.mark.parametrize('kind', ['forbid', 'swap'])
def test_dmvr_flips_only_where_labels_stay(dmvr, tf, tmp_path, kind):
  write(tmp_path, flip=kind)
  options = dict(is_training=True, num_frames=1, min_resize=24, crop_size=24)
  with pytest.raises(InputError, match=f"flip policy is '{kind}'"):
    adapter.factory(tmp_path, 'train').configure(random_flip=True, **options)
  # The band of 4 columns at the left stays there in 8 passes.
  for _ in range(8):
    batch = made(tmp_path, **options)[0]
    assert batch['image'][0, 0, :, -4:].mean() < 0.6


def test_dmvr_flips_where_it_may(dmvr, tf, tmp_path):
  write(tmp_path)
  options = dict(is_training=True, num_frames=1, min_resize=24, crop_size=24)
  wide = {
    bool(batch['image'][0, 0, :, -1].mean() > 0.6)
    for _ in range(12)
    for batch in made(tmp_path, **options)
  }
  assert wide == {True, False}


def test_without_dmvr_the_error_names_what_is_missing(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'dmvr', None)
  with pytest.raises(InputError) as caught:
    adapter.factory(tmp_path, 'train')
  for package in ('tensorflow_text', 'sentencepiece', 'clip'):
    assert package in str(caught.value)


def test_tensorflow_parses_our_records_with_dmvrs_feature_types(tf, tmp_path):
  items = write(tmp_path, task=HEADS, labels=[(i % 3, 3) for i in range(5)])
  paths = sorted(str(p) for p in tmp_path.glob('*.tfrecord'))
  raws = rows(tf.data.TFRecordDataset(paths))
  context = {
    'clip/label/index': tf.io.VarLenFeature(tf.int64),
    'clip/label/text': tf.io.VarLenFeature(tf.string),
    'clip/label/verb/index': tf.io.VarLenFeature(tf.int64),
    'clip/start/timestamp': tf.io.FixedLenFeature((), tf.int64),
    'video/filename': tf.io.FixedLenFeature((), tf.string),
  }
  frames = {'image/encoded': tf.io.FixedLenSequenceFeature((), tf.string)}
  for item, raw in zip(items, raws, strict=True):
    said, sequence = tf.io.parse_single_sequence_example(raw, context, frames)
    assert sequence['image/encoded'].numpy().tolist() == list(item.frames)
    assert said['clip/label/index'].values.numpy().tolist() == list(item.labels)
    assert said['clip/label/verb/index'].values.numpy() == item.labels[0]
    assert said['video/filename'].numpy() == item.video.encode()
    texts = [text.encode() for text in item.label_texts]
    assert said['clip/label/text'].values.numpy().tolist() == texts


# What DMVR's script for writing records gets wrong, one by one.


def folder_of(root, names, frames=4):
  for i, name in enumerate(names):
    (root / name).mkdir(parents=True)
    videos.write(root / name / f'{i}.mp4', videos.moving(frames=frames))
  return root


def test_numbers_of_classes_do_not_change_from_run_to_run(tmp_path):
  """Its label map is a Python set: another order in every process."""
  names = ('wave', 'sit', 'run', 'walk', 'jump')
  folder_of(tmp_path / 'videos', names)
  code = (
    'import sys; from vidmodels.data.prepare.prepare_records import prepare;'
    'prepare(sys.argv[1], sys.argv[2], workers=1)'
  )
  texts = []
  for seed in ('1', '2'):
    out = tmp_path / seed
    subprocess.run(
      [sys.executable, '-c', code, tmp_path / 'videos', out],
      env=os.environ | {'PYTHONHASHSEED': seed},
      cwd=REPO,
      check=True,
    )
    records = record_set.RecordSet.open(out, 'train')
    texts.append([records.record(i).label_texts for i in range(5)])
    assert records.classes.names == tuple(sorted(names))
    for i in range(5):
      (label,), (text,) = (
        records.record(i).labels,
        records.record(i).label_texts,
      )
      assert records.classes.names[label] == text
  assert texts[0] == texts[1]


def cut(tmp_path, start_s, end_s):
  """The record of a stretch of a 6 s video at 10 fps, frame t marked by t."""
  video_THWC = np.full((60, 16, 16, 3), 0, np.uint8)
  video_THWC[:] = (4 * np.arange(60, dtype=np.uint8))[:, None, None, None]
  (tmp_path / 'videos').mkdir(exist_ok=True)
  videos.write(tmp_path / 'videos/v_abcdefghijk.mp4', video_THWC, fps=10)
  entry = {
    'duration': 6.0,
    'subset': 'training',
    'annotations': [{'segment': [start_s, end_s], 'label': 'BMX'}],
  }
  database = {'version': 'VERSION 1.3', 'database': {'abcdefghijk': entry}}
  path = tmp_path / 'activity_net.v1-3.min.json'
  path.write_text(json.dumps(database))
  out = tmp_path / f'out{start_s}'
  prepare(
    'activitynet',
    out,
    annotations=path,
    videos=tmp_path / 'videos',
    workers=1,
    quality=100,
  )
  return record_set.RecordSet.open(out, 'train').record(0)


@pytest.mark.parametrize(('start_s', 'end_s'), [(0, 2), (1, 3), (4, 6)])
def test_a_clip_that_starts_late_has_no_frames_before_it(
  tmp_path, start_s, end_s
):
  """It writes ten copies of the first frame for each second before a clip."""
  record = cut(tmp_path, start_s, end_s)
  levels = [
    cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0).mean() / 4
    for jpeg in record.frames
  ]
  assert np.round(levels).tolist() == list(range(10 * start_s, 10 * end_s))
  assert record.timestamps_us.tolist() == list(range(0, 2_000_000, 100_000))
  assert (record.start_us, record.fps) == (start_s * 1_000_000, 10)


def test_sound_is_not_written_rather_than_written_wrong(tmp_path):
  """It writes integers where floats are read."""
  (tmp_path / 'videos/run').mkdir(parents=True)
  videos.write(tmp_path / 'videos/run/a.mp4', videos.moving(), audio='first')
  prepare(tmp_path / 'videos', tmp_path / 'out', workers=1)
  keys = inspect_records.summary(tmp_path / 'out')['splits']['train']['keys']
  assert keys['image/encoded'] == 12
  assert not [key for key in keys if 'WAVEFORM' in key or 'audio' in key]


def test_frames_keep_their_rate_and_size_and_a_change_is_noted(tmp_path):
  """It takes 10 frames a second of short side 256, and does not say so."""
  (tmp_path / 'videos/run').mkdir(parents=True)
  path = tmp_path / 'videos/run/a.mp4'
  videos.write(path, videos.moving(frames=50), fps=25)
  prepare(tmp_path / 'videos', tmp_path / 'all', workers=1)
  records = record_set.RecordSet.open(tmp_path / 'all', 'train')
  record = records.record(0)
  assert len(record.frames) == 50
  assert (record.fps, record.height, record.width) == (25, 32, 48)
  out = tmp_path / 'few'
  prepare(tmp_path / 'videos', out, workers=1, fps=10, short_side=16)
  records = record_set.RecordSet.open(out, 'train')
  record = records.record(0)
  assert len(record.frames) == 20
  assert (record.fps, record.height, record.width) == (10, 16, 24)
  options = records.manifest.options
  assert (options['fps'], options['short_side']) == (10, 16)


def test_two_labels_have_a_key_each(tmp_path):
  """Its list has one column for labels; EPIC has a verb and a noun."""
  item = streams.record(0, 3, 8, 8)
  raw = video_record.encode(
    dataclasses.replace(item, labels=(2, 3), label_texts=('a', 'b')),
    HEADS,
  )
  context = video_record._parse_message(raw).context.feature
  assert list(context['clip/label/index'].int64_list.value) == [2, 3]
  assert list(context['clip/label/verb/index'].int64_list.value) == [2]
  assert list(context['clip/label/noun/index'].int64_list.value) == [3]
