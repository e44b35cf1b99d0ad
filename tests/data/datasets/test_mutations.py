"""Damaged official files: an error, or a listing that accounts for every entry.

Kinetics, Something-Something V2, Diving48, UCF101 and HMDB51. `damage.py` makes
the damage and checks the result.
"""

import damage
import pytest
import test_diving48
import test_hmdb51
import test_kinetics
import test_ssv2
import test_ucf101

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.records.class_list import ClassList
from vidmodels.typing import InputError

SEEDS, PARTS = 100, 4


def read(folder, name):
  return (folder / name).read_bytes()


def kinetics(folder):
  test_kinetics.official(folder)
  return [
    'val.csv'
  ], lambda place: damage.count_lines(read(place, 'val.csv')) - 1


def unlabelled(folder):
  path = test_kinetics.official(folder, split='test', word='test')
  lines = path.read_text().splitlines()
  path.write_text(''.join(line.partition(',')[2] + '\n' for line in lines))
  return [
    'test.csv'
  ], lambda place: damage.count_lines(read(place, 'test.csv')) - 1


def ssv2(folder):
  test_ssv2.official(folder)
  files = [f'something-something-v2-{x}.json' for x in ('validation', 'labels')]
  return [files[0], *files], lambda place: damage.count_objects(
    read(place, files[0])
  )


def answers(folder):
  test_ssv2.official(folder)
  names = test_ssv2.names()
  files = [f'something-something-v2-test{x}' for x in ('.json', '-answers.csv')]
  lines = [f'{i};{names[i]}\n' for i in (3, 77)] + [f'1420;{names[21]}\n']
  (folder / files[1]).write_text(''.join(lines))
  return files, lambda place: damage.count_objects(read(place, files[0]))


def diving48(folder):
  test_diving48.official(folder)
  files = ['Diving48_V2_train.json', 'Diving48_vocab.json']
  return [files[0], *files], lambda place: damage.count_objects(
    read(place, files[0])
  )


def ucf101(folder, part='train'):
  test_ucf101.official(folder, end='\n')
  other = {'train': 'test', 'test': 'train'}[part]
  files = [f'{part}list01.txt', f'{other}list01.txt', 'classInd.txt']
  return [files[0], *files], lambda place: damage.count_lines(
    read(place, files[0])
  )


def ucf101_test(folder):
  return ucf101(folder, 'test')


def hmdb51(folder):
  path = test_hmdb51.official(folder)
  files = [path.name, 'wave_test_split1.txt']
  every = sorted(folder.glob('*_test_split1.txt'))
  return [files[0], *files], lambda place: sum(
    damage.count_lines(file.read_bytes()) for file in every
  )


@pytest.mark.parametrize('part', range(PARTS))
@pytest.mark.parametrize(
  ('make', 'name', 'split'),
  [
    (kinetics, 'k400', 'val'),
    (unlabelled, 'k600', 'test'),
    (ssv2, 'ssv2', 'validation'),
    (answers, 'ssv2', 'test'),
    (diving48, 'diving48', 'train'),
    (ucf101, 'ucf101', 'train1'),
    (ucf101_test, 'ucf101', 'test1'),
    (hmdb51, 'hmdb51', 'train1'),
  ],
)
def test_damage_is_reported_or_accounted_for(tmp_path, make, name, split, part):
  files, entries = make(tmp_path)
  messages = []
  for seed in range(part, SEEDS, PARTS):
    path = tmp_path / files[seed // PARTS % len(files)]
    messages.append(
      damage.read_damaged(name, split, tmp_path, path, entries, seed)
    )
  errors = sum(text is not None for text in messages)
  assert len(messages) / 5 < errors < len(messages)  # damage, and not only ruin


LISTS = {
  'spaces.txt': 'a b.mp4 0\nü [1], #2.avi 1\nc.webm 2\n',
  'commas.csv': 'a b.mp4,run\n"ü [1], #2.avi",walk\nc.webm,sit\n',
  'tabs.tsv': 'a b.mp4\trun\tsit\nü [1], #2.avi\twalk\nc.webm\tsit\n',
  'times.csv': (
    'video_path,start,end,label,caption\n'
    'a b.mp4,0,2.5,run,"one, ""two"""\n'
    'a b.mp4,200.5,203,walk,x\n'
  ),
  'objects.json': (
    '[{"file": "a b.mp4", "label": "run", "youtube_id": "x", "label_idx": 0},\n'
    ' {"file": "c.webm", "label": "walk", "youtube_id": "y", "label_idx": 1}]'
  ),
}


@pytest.mark.parametrize('classes', [None, ('run', 'walk', 'sit')])
@pytest.mark.parametrize('name', LISTS)
def test_a_damaged_list_is_reported_or_accounted_for(tmp_path, name, classes):
  path, data = tmp_path / name, LISTS[name].encode()
  for file in ('a b.mp4', 'ü [1], #2.avi', 'c.webm'):
    (tmp_path / file).touch()
  classes = classes and ClassList(classes)
  errors = 0
  for seed in range(SEEDS):
    damaged = damage.damage_bytes(data, damage.np.random.default_rng(seed))
    path.write_bytes(damaged)
    labels = ('multi', 'any', 'single')[seed % 3]
    try:
      listing = read_source(path, classes, labels=labels)
    except InputError:
      errors += 1
      continue
    names = [row.video for row in listing.rows]
    assert len(set(names)) == len(names) > 0
    for row in listing.rows:
      listing.task.check(row.labels, len(listing.classes))
      assert 0 <= row.start_s < (row.end_s or damage.np.inf)
    if name in ('spaces.txt', 'commas.csv', 'tabs.tsv'):
      assert damage.count_entries(listing) == damage.count_lines(damaged), (
        seed,
        damaged,
      )
  assert SEEDS / 5 < errors < SEEDS


@pytest.mark.parametrize('seed', range(60))
def test_damage_is_the_same_every_time(seed):
  data = b'label,youtube_id\nzumba,abcdefghijk\n'
  one, two = (
    damage.damage_bytes(data, damage.np.random.default_rng(seed))
    for _ in range(2)
  )
  assert one == two
