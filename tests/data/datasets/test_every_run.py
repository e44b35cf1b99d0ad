"""What is said of a data set does not hang on how Python hashes its texts."""

import json
import os
import subprocess
import sys

import pytest

# The order of {'train', 'test'} differs between these two.
SEEDS = ('0', '3')
SCRIPT = """
import json, sys
from vidmodels.data.datasets import registry
name, place, split = sys.argv[1:]
listing = registry.read(name, annotations=place, videos=place, split=split)
print(json.dumps(listing.notes))
"""


def kinetics(folder):
  header = 'label,youtube_id,time_start,time_end,split,is_cc\n'
  (folder / 'val.csv').write_text(header + 'zumba,abcdefghijk,5,15,val,0\n')
  for split in ('train', 'test'):
    (folder / f'{split}.csv').write_text('nothing')
  (folder / 'abcdefghijk_000005_000015.mp4').touch()
  return 'k400', 'val'


def something(folder):
  entry = {'id': '8', 'template': 'Pulling [something] from left to right'}
  path = folder / 'something-something-v2-validation.json'
  path.write_text(json.dumps([entry]))
  for split in ('train', 'test'):
    (folder / f'something-something-v2-{split}.json').write_text('[]')
  (folder / '8.webm').touch()
  return 'ssv2', 'validation'


@pytest.mark.parametrize('official', [kinetics, something])
def test_notes_come_in_one_order_whatever_the_hash(tmp_path, official):
  name, split = official(tmp_path)
  said = [
    subprocess.run(
      [sys.executable, '-c', SCRIPT, name, str(tmp_path), split],
      env=os.environ | {'PYTHONHASHSEED': seed},
      check=True,
      capture_output=True,
      text=True,
    ).stdout
    for seed in SEEDS
  ]
  notes = [note for note in json.loads(said[0]) if 'outside' in note]
  assert [note.split()[3] for note in notes] == ['train', 'test']
  assert said[0] == said[1]
