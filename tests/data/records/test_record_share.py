"""A share of each class, nested; labels are read without the frames."""

import collections
import dataclasses

import fake
import numpy as np
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.data.records import record_share, video_record
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.records.task import Task
from vidmodels.data.stream import batch_stream
from vidmodels.train import workdirs
from vidmodels.train.build import (
  build_for,
  class_weights,
  training_records,
)
from vidmodels.typing import InputError

# Of 17 videos: 10 red, 6 green, 1 blue, in no order.
LABELS = [(int(k),) for k in '01001000110200101']


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp('uneven')
  fake.write(folder, videos=17, labels=LABELS, frames=2)
  return RecordSet.open(folder, 'train')


def names(records):
  return [records.video(i) for i in range(len(records))]


def counts(records):
  return collections.Counter(label for (label,) in records.labels())


def test_labels_are_those_of_whole_records(records):
  whole = [records.record(i).labels for i in range(len(records))]
  assert records.labels() == whole
  raw = records[3]
  assert video_record.parse_labels(raw[:4000]) == whole[3]
  assert video_record.parse_labels(raw[:40]) is None  # context is longer
  assert video_record.parse_labels(b'') is None
  assert video_record.parse_labels(b'\x12' + raw[1:]) is None


def test_a_share_takes_the_same_part_of_every_class_and_at_least_one(records):
  half = record_share.take(records, 0.5, seed=0)
  assert counts(half) == {0: 5, 1: 3, 2: 1}
  assert counts(record_share.take(records, 0.01, seed=0)) == {0: 1, 1: 1, 2: 1}
  assert record_share.take(records, 1.0, seed=0) is records
  # A record of it is the whole record, by the name of its video.
  where = {name: i for i, name in enumerate(names(records))}
  for i, name in enumerate(names(half)):
    assert half[i] == records[where[name]]
    assert half.where(i) == records.where(where[name])
  with pytest.raises(IndexError, match=f'0 to {len(half) - 1}'):
    half.record(len(half))


def test_shares_of_a_seed_are_nested_and_other_seeds_are_others(records):
  parts = [
    set(names(record_share.take(records, share, seed=3)))
    for share in (0.25, 0.5, 0.75)
  ]
  assert parts[0] < parts[1] < parts[2] < set(names(records))
  seeds = {
    tuple(names(record_share.take(records, 0.25, seed=seed)))
    for seed in range(8)
  }
  assert len(seeds) > 4
  again = RecordSet.open(records.dir, 'train')  # as another process opens it
  part = record_share.take(again, 0.25, seed=3)
  assert set(names(part)) == parts[0]
  own = record_share.take(records, 0.25, seed=3)
  assert own.fingerprint == part.fingerprint != records.fingerprint
  assert records.fingerprint == records.manifest.fingerprint


def test_several_labels_count_for_the_rarest(tmp_path):
  labels = [(0, 1)] * 4 + [(0,)] * 4 + [()] * 2
  fake.write(tmp_path, videos=10, labels=labels, task=Task('multi'), frames=2)
  records = RecordSet.open(tmp_path, 'train')
  half = record_share.take(records, 0.5, seed=0).labels()
  assert collections.Counter(half) == {(0, 1): 2, (0,): 2, (): 1}
  with pytest.raises(InputError, match=r'got data.balance=True with labels of'):
    record_share.by_class(records, 'data.balance=True')


def test_class_weights_make_classes_equal_and_leave_the_mean_at_one(records):
  c = cfg.skeleton(family='vit')
  c.data.dir, c.optim.steps = 'records', 1
  c.loss.class_weights = 'balanced'
  weights_K = class_weights(cfg.check(c), records)
  totals = [weights_K[k] * n for k, n in sorted(counts(records).items())]
  assert np.allclose(totals, 17 / 3)
  half = record_share.take(records, 0.5, seed=0)
  assert np.allclose(class_weights(cfg.check(c), half), [3 / 5, 1, 3])
  c.loss.class_weights = ''
  assert class_weights(cfg.check(c), records) == ()


def test_a_run_counts_its_share_and_refuses_to_resume_with_another(records):
  positions, configs = [], []
  for share in (0.5, 0.25):
    config = tiny.config(records.dir, data__share=share, **tiny.SHORT)
    own = training_records(config)
    run = build_for(config, own)
    summary = workdirs.run_summary(run, own)
    assert f'{len(own)} of 17 clips (data.share={share} of every' in summary
    meta, position = workdirs.checkpoint_metadata(run, own)
    assert meta['clips'] == len(own)
    positions.append(position)
    configs.append(meta['config'])
  old, new = (
    {'config': c, 'data': p} for c, p in zip(configs, positions, strict=True)
  )
  changed = [line.partition(':')[0] for line in workdirs.differences(old, new)]
  assert changed == ['config.data.share', 'data.fingerprint']


def test_a_balanced_stream_shows_classes_equally_often(records):
  data = cfg.Data(dir='x', balance=True, threads=2)
  rows = {}
  for mine in ([0, 1, 2], [1]):
    with batch_stream.train_batches(
      records,
      clip=cfg.Clip(frames=1, size=16),
      augment=cfg.Augment(short_side=(16, 16), flip=0.0),
      data=data,
      batch=3,
      seed=0,
      rows=mine,
      start_step=2,
      steps=6,
    ) as batches:
      rows[len(mine)] = list(batches)
  for whole, part in zip(rows[3], rows[1], strict=True):
    assert sorted(whole['label'].tolist()) == [0, 1, 2]
    assert part['index'] == whole['index'][1]  # another process, the same row
    assert (part['video'][0] == whole['video'][1]).all()


def test_the_share_s_seed_alone_is_refused():
  with pytest.raises(InputError, match=r'data.share_seed=1'):
    dataclasses.replace(cfg.Data(dir='x'), share_seed=1).check()
