"""Class lists: their order is what the labels of published models mean."""

import pathlib

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList

LISTS = pathlib.Path(registry.__file__).parent / 'class_lists'
# Classes, and the hash that travels with records, checkpoints and results.
WANTED = {
  'activitynet_200': (
    200,
    'a179ec576b1b7b627bbb8f3280a1d5cebf7cd7b22f31cbcfa036c187c59fce11',
  ),
  'diving48': (
    48,
    '7832becc4d9326028e29fb2cf5adaade78052030c1791784c6dffc32541fd9e9',
  ),
  'epic100_nouns': (
    300,
    'a5b54318ea392d591e316dbf44488259f78d9d684c9da6c8b295dc6ef4a841ed',
  ),
  'epic100_verbs': (
    97,
    '68cd621ba8e79b006d9d23268efd11432cd611d918ac4701dd5f6ad9e05f447e',
  ),
  'hmdb51': (
    51,
    'c24c56a7af6f3ea55c8fb2a8e5b2c3a42644fcc5d86e49313536cfbd3499538a',
  ),
  'kinetics400': (
    400,
    'e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f',
  ),
  'kinetics600': (
    600,
    '8dfca4202520ea8291ce0242ef33b006d0a0772b409663c090a2876bc1978dcf',
  ),
  'kinetics700': (
    700,
    '2f265d35aa76060219f7e83aff12f5aaba9d1fe27360aa83f11aad7a3648fc51',
  ),
  'ssv2': (
    174,
    'c9c5a86ece619e1ab2e7ca0614c85377a534873e17108b13243e5d22089a0a85',
  ),
  'ucf101': (
    101,
    'fabeefc51625dad8a5b960156ccf75eea4c3b914d95bc02b43618fd61ecd1930',
  ),
}


def names(dataset):
  return registry.find(dataset).classes().names


def test_every_list_is_here_and_no_other():
  assert {path.stem for path in LISTS.iterdir()} == set(WANTED)


@pytest.mark.parametrize('name', WANTED)
def test_a_list_is_the_one_that_published_models_use(name):
  classes = ClassList.load(LISTS / f'{name}.txt')
  assert (len(classes), classes.sha256) == WANTED[name]


@pytest.mark.parametrize('name', WANTED)
def test_a_list_equals_the_reference(name, shared):
  reference = shared / 'classes' / f'{name}.txt'
  assert reference.read_bytes() == (LISTS / f'{name}.txt').read_bytes()


@pytest.mark.parametrize('name', ['k400', 'k600', 'k700', 'k700_2020', 'ssv2',
                                  'diving48', 'hmdb51'])  # fmt: skip
def test_most_lists_are_sorted(name):
  assert list(names(name)) == sorted(names(name))


def test_ucf101_is_sorted_without_regard_to_case():
  found = names('ucf101')
  assert list(found) == sorted(found, key=str.lower) != sorted(found)
  pairs = [('Hammering', 'HammerThrow'), ('JumpingJack', 'JumpRope')]
  for first, second in pairs:
    assert found.index(second) == found.index(first) + 1
  assert 'HandstandPushups' in found


def test_activitynet_is_not_sorted_at_all():
  found = names('activitynet')
  assert sorted(found) != list(found) != sorted(found, key=str.lower)
  assert found.index('BMX') < found.index('Baking cookies')
  assert found.index('Braiding hair') > found.index('Playing ten pins')
  assert 'Mooping floor' in found


def test_first_and_last_classes():
  assert names('hmdb51')[0] == 'brush_hair'
  assert names('hmdb51')[50] == 'wave'
  assert names('ssv2')[0] == 'Approaching something with your camera'
  assert names('diving48')[0] == 'Back+15som+05Twis+FREE'
  assert {len(name.split('+')) for name in names('diving48')} == {4}
  assert names('k400')[0] == names('k700')[0] == 'abseiling'
  assert names('k400')[399] == names('k600')[599] == names('k700')[699]
  assert names('k700') == names('k700_2020')


def test_editions_of_kinetics_share_most_classes():
  one, two, three = (set(names(name)) for name in ('k400', 'k600', 'k700'))
  assert len(one - two) == 32
  assert len(one - three) == 22
  assert len(two - three) == 4
  assert 'passing american football (not in game)' in two - one
  assert 'passing American football (not in game)' in (one & three) - two
  for found in (one, two, three):
    assert not [name for name in found if ',' in name]
  assert {"massaging person's head", 'tying knot (not on a tie)'} < one


def test_heads_of_epic_lie_end_to_end():
  found = names('epic100')
  assert (found[0], found[97]) == ('verb/take', 'noun/tap')
  assert len(found) == 397


def test_data_sets_are_found_by_other_names_too():
  for alias, name in (
    ('kinetics400', 'k400'),
    ('Kinetics-700-2020', 'k700_2020'),
    ('kinetics700', 'k700'),
    ('something-something-v2', 'ssv2'),
    ('UCF', 'ucf101'),
    ('hmdb', 'hmdb51'),
    ('diving48_v2', 'diving48'),
  ):
    assert registry.find(alias).name == name
  every = [
    alias
    for dataset in registry.all_datasets().values()
    for alias in {dataset.name, *dataset.aliases}
  ]
  assert len(set(every)) == len(every)
