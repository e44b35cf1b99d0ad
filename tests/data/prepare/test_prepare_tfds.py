"""prepare tfds:NAME: the shards of a set whose frames come decoded."""

import dataclasses

import cv2
import numpy as np
import pytest

from vidmodels.data.prepare import (
  check_videos,
  estimate,
  prepare_records,
  shard_job,
  sources,
  tfds,
)
from vidmodels.data.records import record_set
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE
from vidmodels.typing import InputError

CLASSES = ClassList(('run', 'sit', 'walk'))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seven(tfds.TfdsSplit):
  """Seven videos, each of a grey of its own, as TFDS would decode them."""

  def videos(self, start=0, stop=None):
    for i in range(start, min(self.count, stop)):
      yield tfds.TfdsVideo(
        video=f'seven-train.tfrecord-00000-of-00001__{i}',
        frames_THWC=np.full((3 + i, 16, 24, 3), 20 * i, np.uint8),
        labels=(i % 3,) if self.labelled else (),
        fps=self.fps,
      )


@pytest.fixture(autouse=True)
def known(monkeypatch):
  asked = []

  def open_split(name, split, data_dir=None):
    asked.append((name, split, data_dir))
    return Seven(
      name='seven',
      split=split,
      data_dir=data_dir,
      classes=CLASSES,
      task=SINGLE,
      labelled=split != 'test',
      count=7,
      fps=0.0 if 'untimed' in name else 10.0,
      notes=('a word',),
    )

  monkeypatch.setattr(tfds, 'open_split', open_split)
  return asked


def records_of(out, split='train'):
  records = record_set.RecordSet.open(out, split)
  return [records.record(i) for i in range(len(records))]


def test_every_video_becomes_a_record(tmp_path, known):
  manifest = prepare_records.prepare(
    'tfds:seven', tmp_path, videos='/sets', shards=3, workers=1
  )
  assert known == [('tfds:seven', 'train', '/sets')]
  assert [shard.count for shard in manifest.shards] == [2, 2, 3]
  assert (manifest.expected, manifest.listed, manifest.count) == (7, 7, 7)
  assert manifest.labels == (3, 2, 2)
  made = records_of(tmp_path)
  for i, record in enumerate(made):
    assert record.video.endswith(f'__{i}')
    assert record.labels == (i % 3,)
    assert record.label_texts == (CLASSES.names[i % 3],)
    assert record.timestamps_us.tolist() == [100_000 * t for t in range(3 + i)]
    frame_HWC = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), 1)
    assert abs(int(frame_HWC[0, 0, 0]) - 20 * i) <= 1


def test_a_limit_and_the_dry_run_of_it(tmp_path):
  manifest = prepare_records.prepare('tfds:seven', tmp_path, limit=3, workers=1)
  assert (manifest.count, manifest.listed, manifest.expected) == (3, 3, 7)
  found = estimate.estimate('tfds:seven', limit=3, workers=1)
  assert (found.rows, found.classes, found.videos) == (3, 3, 3)


def test_without_a_rate_there_are_no_times_and_no_resampling(tmp_path):
  prepare_records.prepare('tfds:untimed', tmp_path / 'a', workers=1)
  assert not any(record.timed for record in records_of(tmp_path / 'a'))
  with pytest.raises(InputError, match='is unknown'):
    prepare_records.prepare('tfds:untimed', tmp_path / 'b', fps=5.0, workers=1)


def test_unpublished_labels(tmp_path):
  prepare_records.prepare('tfds:seven', tmp_path, split='test', workers=1)
  records = record_set.RecordSet.open(tmp_path, 'test')
  assert not records.manifest.labelled
  assert records.record(0).labels == ()


def test_there_are_no_files_to_check():
  with pytest.raises(InputError, match='TFDS decodes its sets itself'):
    check_videos.check('tfds:seven')


@pytest.mark.parametrize('wanted', [1, 3, 7, 20])
def test_stretches_hold_every_video_once(wanted):
  found = sources.open_source(sources.SourceSpec(source='tfds:seven'))
  made = found.make_parts(wanted)
  assert len(made) == min(wanted, 7)
  assert all(
    isinstance(part, shard_job.TfdsPart) and len(part) for part in made
  )
  numbers = [i for part in made for i in range(part.start, part.stop)]
  assert numbers == list(range(7))
