"""Damaged official files: an error, or a listing that accounts for every entry.

Kinetics, Something-Something V2, Diving48, UCF101 and HMDB51; what the damage
is and what must hold: `fuzz.py`.
"""

import fuzz
import pytest
import test_diving48
import test_hmdb51
import test_kinetics
import test_ssv2
import test_ucf101

SEEDS, PARTS = 100, 4


def read(folder, name):
  return (folder / name).read_bytes()


def kinetics(folder):
  test_kinetics.official(folder)
  return ['val.csv'], lambda place: fuzz.lines_of(read(place, 'val.csv')) - 1


def unlabelled(folder):
  path = test_kinetics.official(folder, split='test', word='test')
  lines = path.read_text().splitlines()
  path.write_text(''.join(line.partition(',')[2] + '\n' for line in lines))
  return ['test.csv'], lambda place: fuzz.lines_of(read(place, 'test.csv')) - 1


def ssv2(folder):
  test_ssv2.official(folder)
  files = [f'something-something-v2-{x}.json' for x in ('validation', 'labels')]
  return [files[0], *files], lambda place: fuzz.objects_of(
    read(place, files[0])
  )


def answers(folder):
  test_ssv2.official(folder)
  names = test_ssv2.names()
  files = [f'something-something-v2-test{x}' for x in ('.json', '-answers.csv')]
  lines = [f'{i};{names[i]}\n' for i in (3, 77)] + [f'1420;{names[21]}\n']
  (folder / files[1]).write_text(''.join(lines))
  return files, lambda place: fuzz.objects_of(read(place, files[0]))


def diving48(folder):
  test_diving48.official(folder)
  files = ['Diving48_V2_train.json', 'Diving48_vocab.json']
  return [files[0], *files], lambda place: fuzz.objects_of(
    read(place, files[0])
  )


def ucf101(folder, part='train'):
  test_ucf101.official(folder, end='\n')
  other = {'train': 'test', 'test': 'train'}[part]
  files = [f'{part}list01.txt', f'{other}list01.txt', 'classInd.txt']
  return [files[0], *files], lambda place: fuzz.lines_of(read(place, files[0]))


def ucf101_test(folder):
  return ucf101(folder, 'test')


def hmdb51(folder):
  path = test_hmdb51.official(folder)
  files = [path.name, 'wave_test_split1.txt']
  every = sorted(folder.glob('*_test_split1.txt'))
  return [files[0], *files], lambda place: sum(
    fuzz.lines_of(file.read_bytes()) for file in every
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
def test_damage_is_told_or_accounted_for(tmp_path, make, name, split, part):
  files, entries = make(tmp_path)
  said = []
  for seed in range(part, SEEDS, PARTS):
    path = tmp_path / files[seed // PARTS % len(files)]
    said.append(fuzz.trial(name, split, tmp_path, path, entries, seed))
  told = sum(text is not None for text in said)
  assert len(said) / 5 < told < len(said)  # damage, and not only ruin


@pytest.mark.parametrize('seed', range(60))
def test_damage_is_the_same_every_time(seed):
  data = b'label,youtube_id\nzumba,abcdefghijk\n'
  one, two = (
    fuzz.damaged(data, fuzz.np.random.default_rng(seed)) for _ in range(2)
  )
  assert one == two
