"""inspect: what a set holds."""

import cv2
import numpy as np
import pytest
import streams
import test_index_foreign

from vidmodels.data.records import inspect_records, record_set
from vidmodels.typing import InputError


@pytest.fixture
def folder(tmp_path):
  items = [streams.record(i, 5, 20, 30) for i in range(6)]
  streams.write(tmp_path, items)
  return tmp_path


def test_the_summary_describes_the_split(folder):
  summary = inspect_records.summary(folder)['splits']['train']
  assert summary['records'] == summary['listed'] == 6
  assert summary['shards'] == 2
  assert summary['keys']['image/encoded'] == 5
  assert summary['example']['frames'] == 5
  assert summary['example']['video'] == '0.mp4'
  assert summary['classes_sha256'] == streams.CLASSES.sha256
  manifest = record_set.Manifest.load(folder, 'train')
  assert summary['fingerprint'] == manifest.fingerprint


def test_a_folder_without_a_split_is_explained(tmp_path):
  with pytest.raises(InputError, match='no split'):
    inspect_records.summary(tmp_path)
  test_index_foreign.dmvr(tmp_path)
  with pytest.raises(InputError, match='--split val --index'):
    inspect_records.summary(tmp_path)
  with pytest.raises(InputError, match='no folder'):
    inspect_records.summary(tmp_path / 'none')


def test_verify_reads_every_record(folder):
  assert inspect_records.verify(folder, 'train') == 6
  records = record_set.RecordSet.open(folder, 'train')
  name, offset = records.where(5)
  data = bytearray((folder / name).read_bytes())
  data[offset + 100] ^= 1
  (folder / name).write_bytes(data)
  with pytest.raises(InputError, match=f'{name} at offset {offset}'):
    inspect_records.verify(folder, 'train')


def test_the_contact_sheet_shows_frames_in_order_from_left_to_right(folder):
  path = inspect_records.contact_sheet(
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
    inspect_records.contact_sheet(folder, 'train', folder / 's.png', count=0)


def test_more_rows_than_records_show_each_once(folder):
  path = inspect_records.contact_sheet(
    folder, 'train', folder / 'sheet.png', count=50, frames=2
  )
  assert cv2.imread(str(path)).shape[0] == 6 * (18 + 112 + 4)
