"""inspect: what a set holds, and an index for shards of another tool."""

import cv2
import numpy as np
import pytest
import streams
import test_records

from vidmodels.data import inspect, shards
from vidmodels.data.classes import ClassList
from vidmodels.data.flip import FlipPolicy
from vidmodels.typing import InputError

CLASSES = ClassList(('sit', 'walk', 'run'))


@pytest.fixture
def folder(tmp_path):
  items = [streams.record(i, 5, 20, 30) for i in range(6)]
  streams.write(tmp_path, items)
  return tmp_path


def dmvr(folder, *, suffix='', label=2, text=b'run', count=2):
  """Shards as DMVR writes them: no suffix, no key of ours."""
  context, lists = test_records.foreign(
    **{
      'clip/label/index': test_records.int_feature(label),
      'clip/label/text': test_records.bytes_feature(text),
    }
  )
  raw = test_records.by_hand(context, lists)
  for k in range(count):
    name = f'val-{k:05d}-of-{count:05d}{suffix}'
    with shards.ShardWriter(folder / name) as writer:
      for _ in range(3):
        writer.write(raw)


def test_the_summary_says_what_there_is(folder):
  summary = inspect.summary(folder)['splits']['train']
  assert summary['records'] == summary['listed'] == 6
  assert summary['shards'] == 2
  assert summary['keys']['image/encoded'] == 5
  assert summary['example']['frames'] == 5
  assert summary['example']['video'] == '0.mp4'
  assert summary['classes_sha256'] == streams.CLASSES.sha256
  manifest = shards.Manifest.load(folder, 'train')
  assert summary['fingerprint'] == manifest.fingerprint


def test_a_folder_without_a_split_says_what_it_is(tmp_path):
  with pytest.raises(InputError, match='no split'):
    inspect.summary(tmp_path)
  dmvr(tmp_path)
  with pytest.raises(InputError, match='--split val --index'):
    inspect.summary(tmp_path)
  with pytest.raises(InputError, match='no folder'):
    inspect.summary(tmp_path / 'none')


def test_verify_reads_every_record(folder):
  assert inspect.verify(folder, 'train') == 6
  found = shards.RecordSet.open(folder, 'train')
  name, offset = found.where(5)
  data = bytearray((folder / name).read_bytes())
  data[offset + 100] ^= 1
  (folder / name).write_bytes(data)
  with pytest.raises(InputError, match=f'{name} at offset {offset}'):
    inspect.verify(folder, 'train')


def test_the_contact_sheet_shows_frames_in_order_from_left_to_right(folder):
  path = inspect.contact_sheet(
    folder, 'train', folder / 'sheet.png', count=3, frames=5
  )
  sheet_HWC = cv2.imread(str(path))
  assert path == folder / 'sheet.png'
  # Red says which frame it is: 0, 6, 12, 18, 24 (see streams.picture).
  height = sheet_HWC.shape[0] // 3
  for row in range(3):
    middle = row * height + 18 + 30
    reds = [
      sheet_HWC[middle, 4 + 116 * k + 20 : 4 + 116 * k + 90, 2].mean()
      for k in range(5)
    ]
    assert np.allclose(reds, [0, 6, 12, 18, 24], atol=3)
  with pytest.raises(InputError, match='at least 1'):
    inspect.contact_sheet(folder, 'train', folder / 's.png', count=0)


def test_more_rows_than_records_show_each_once(folder):
  path = inspect.contact_sheet(
    folder, 'train', folder / 'sheet.png', count=50, frames=2
  )
  assert cv2.imread(str(path)).shape[0] == 6 * (18 + 112 + 4)


@pytest.mark.parametrize('suffix', ['', '.tfrecord'])
def test_shards_of_dmvr_are_indexed_and_then_read(tmp_path, suffix):
  dmvr(tmp_path, suffix=suffix)
  flip = FlipPolicy('free')
  manifest = inspect.index_foreign(tmp_path, 'val', CLASSES, flip=flip)
  assert manifest.count == 6
  assert manifest.labels == (0, 0, 6)
  found = shards.RecordSet.open(tmp_path, 'val')
  assert (len(found), found.classes, found.manifest.flip) == (6, CLASSES, flip)
  assert found.record(5).label_texts == ('run',)
  assert found.where(3) == (f'val-00001-of-00002{suffix}', 0)
  assert inspect.summary(tmp_path)['splits']['val']['example']['fps'] == 0


@pytest.mark.parametrize(
  ('made', 'says'),
  [
    ({'label': 3}, 'offset 0: label 3'),
    ({'label': 1}, "label 1 as 'run'; the class list has 'walk'"),
    ({'count': 0}, 'no shards'),
  ],
)
def test_labels_that_the_class_list_denies_are_refused(tmp_path, made, says):
  dmvr(tmp_path, **made)
  with pytest.raises(InputError, match=says):
    inspect.index_foreign(tmp_path, 'val', CLASSES)
  assert not (tmp_path / 'val.manifest.json').exists()
  assert not (tmp_path / 'classes.txt').exists()


def test_a_corrupt_foreign_shard_is_not_indexed(tmp_path):
  dmvr(tmp_path)
  path = tmp_path / 'val-00001-of-00002'
  data = bytearray(path.read_bytes())
  data[-10] ^= 1
  path.write_bytes(data)
  with pytest.raises(InputError, match='val-00001-of-00002 at offset'):
    inspect.index_foreign(tmp_path, 'val', CLASSES)


def test_a_foreign_split_may_not_change_the_classes_of_the_others(folder):
  dmvr(folder)
  with pytest.raises(InputError, match='class 0'):
    inspect.index_foreign(folder, 'val', CLASSES)
  assert ClassList.load(folder / 'classes.txt') == streams.CLASSES
