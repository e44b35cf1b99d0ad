"""Damaged files: an error that says where, or a listing that holds together.

Charades, EPIC-KITCHENS-100, ActivityNet and HowTo100M.
"""

import numpy as np
import pytest
import test_activitynet
import test_charades
import test_epic100
import test_howto100m

from vidmodels.data.datasets import registry
from vidmodels.typing import InputError

ODD = (b',', b'"', b'\n', b'\0', b'\xff', b'nan', b'-1', b'[' * 50, b'1e999')


def damaged(data, rng):
  """One of the things that happen to files, at a random place."""
  at = int(rng.integers(len(data)))
  end = min(len(data), at + int(rng.integers(1, 40)))
  kind = rng.integers(6)
  if kind == 0:
    return data[:at]
  if kind == 1:
    return data[:at] + data[end:]
  if kind == 2:
    return data[:end] + data[at:]
  if kind == 3:
    return (
      data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]
    )
  if kind == 4:
    return data[:at] + ODD[int(rng.integers(len(ODD)))] + data[at:]
  lines = data.split(b'\n')
  i, j = rng.integers(len(lines), size=2)
  lines[i], lines[j] = lines[j], lines[i]
  return b'\n'.join(lines)


@pytest.mark.parametrize('part', range(5))
@pytest.mark.parametrize(
  ('module', 'name', 'split'),
  [
    (test_charades, 'charades', 'test'),
    (test_epic100, 'epic100', 'validation'),
    (test_epic100, 'epic100', 'test'),
    (test_activitynet, 'activitynet', 'training'),
    (test_activitynet, 'activitynet_untrimmed', 'training'),
    (test_howto100m, 'howto100m', 'train'),
  ],
)
def test_a_damaged_file_is_reported_or_read_soundly(
  tmp_path, module, name, split, part
):
  module.official(tmp_path)
  files = sorted(path for path in tmp_path.iterdir())
  whole = {path: path.read_bytes() for path in files}
  outcomes = []
  for seed in range(30 * part, 30 * part + 30):
    rng = np.random.default_rng(seed)
    path = files[int(rng.integers(len(files)))]
    path.write_bytes(damaged(whole[path], rng))
    try:
      listing = registry.read(
        name, annotations=tmp_path, videos=None, split=split
      )
    except InputError as e:
      outcomes.append(str(e))
    else:
      check(listing)
      outcomes.append(None)
    path.write_bytes(whole[path])
  assert any(outcomes), 'nothing was damaged'
  # An error names a file, so that it can be mended.
  for said in filter(None, outcomes):
    assert any(str(path) in said for path in files) or str(tmp_path) in said


def check(listing):
  names = [row.video for row in listing.rows]
  assert names
  assert len(set(names)) == len(names)
  for row in listing.rows:
    if listing.labelled:
      listing.task.check(row.labels, len(listing.classes))
    else:
      assert row.labels == ()
    assert row.start_s >= 0
    assert row.end_s is None or row.end_s > row.start_s
    assert row.path.name == row.path.parts[-1] != '..'
  for subset in listing.subsets.values():
    assert set(subset) <= set(names)
  for classes in listing.class_subsets.values():
    assert all(0 <= label < len(listing.classes) for label in classes)
