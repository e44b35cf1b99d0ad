"""Class lists and flip policies: what a label means, and its mirror image."""

import hashlib

import pytest

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

CLASSES = ClassList(('left', 'right', 'jump high', '7'))


def test_a_class_list_survives_its_file(tmp_path):
  CLASSES.save(tmp_path / 'classes.txt')
  assert ClassList.load(tmp_path / 'classes.txt') == CLASSES
  assert [p.name for p in tmp_path.iterdir()] == ['classes.txt']


def test_the_hash_is_of_the_file_as_saved(tmp_path):
  CLASSES.save(tmp_path / 'classes.txt')
  data = (tmp_path / 'classes.txt').read_bytes()
  assert CLASSES.sha256 == hashlib.sha256(data).hexdigest()
  assert CLASSES.sha256 != ClassList(CLASSES.names[::-1]).sha256


def test_files_of_other_systems_are_read_alike(tmp_path):
  (tmp_path / 'c.txt').write_bytes('\ufeffleft\r\nright\r\n\r\n'.encode())
  assert ClassList.load(tmp_path / 'c.txt').names == ('left', 'right')


@pytest.mark.parametrize(
  ('label', 'index'),
  [('left', 0), ('jump high', 2), ('1', 1), (1, 1), ('7', 3), (' right ', 1)],
)
def test_a_label_is_a_name_first_and_then_a_number(label, index):
  assert CLASSES.index(label) == index


@pytest.mark.parametrize(
  ('label', 'says'),
  [
    ('rihgt', "did you mean 'right'"),
    ('4', '0 to 3'),
    (-1, '0 to 3'),
    ('-1', '0 to 3'),
    ('zzzz', "from 'left' to '7'"),
    ('9' * 5000, "got label '9{200}'"),
  ],
)
def test_an_unknown_label_is_refused_with_a_suggestion(label, says):
  with pytest.raises(InputError, match=says):
    CLASSES.index(label)


@pytest.mark.parametrize(
  ('names', 'says'),
  [
    ((), 'without a class'),
    (('a', ''), 'class 1'),
    (('a', 'b', 'a'), 'as 0 and as 2'),
    (('a\nb',), 'one line'),
  ],
)
def test_invalid_class_names_are_refused(names, says):
  with pytest.raises(InputError, match=says):
    ClassList.from_names(names)


def test_an_unreadable_class_file_is_the_users_error(tmp_path):
  with pytest.raises(InputError, match='cannot be read'):
    ClassList.load(tmp_path / 'none.txt')
  (tmp_path / 'gap.txt').write_text('a\n\nb\n')
  with pytest.raises(InputError, match=r'gap\.txt'):
    ClassList.load(tmp_path / 'gap.txt')


def test_the_first_difference_is_named():
  assert CLASSES.first_difference(CLASSES) is None
  other = ClassList(('left', 'wrong', 'jump high', '7'))
  assert 'class 1' in CLASSES.first_difference(other)
  assert '4 classes' in CLASSES.first_difference(ClassList(('left', 'right')))


def test_flips_are_forbidden_by_default():
  assert FlipPolicy().kind == 'forbid'
  with pytest.raises(InputError, match=r'augment\.flip=0'):
    FlipPolicy().label_map(CLASSES)


def test_a_swap_trades_the_labels_of_its_pairs_only():
  assert FlipPolicy.parse('free').label_map(CLASSES).tolist() == [0, 1, 2, 3]
  swap = FlipPolicy.parse('swap:left=right')
  assert swap.label_map(CLASSES).tolist() == [1, 0, 2, 3]
  by_number = FlipPolicy.parse('swap: 0 = 2 ,')
  assert by_number.label_map(CLASSES).tolist() == [2, 1, 0, 3]


def test_a_policy_survives_json():
  for text in ('free', 'forbid', 'swap:left=right,7=jump high'):
    policy = FlipPolicy.parse(text)
    assert FlipPolicy.from_json(policy.to_json()) == policy


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('maybe', 'maybe'),
    ('swap', '0 pairs'),
    ('free:left=right', '1 pairs'),
    ('swap:left', 'swap:left=right'),
    ('swap:a=b,b=c', "'b' 2 times"),
    ('swap:a=a', "'a' 2 times"),
    ('swap:a=', "''"),
  ],
)
def test_an_invalid_policy_is_refused(text, says):
  with pytest.raises(InputError, match=says):
    FlipPolicy.parse(text)


@pytest.mark.parametrize('text', ['swap:left=rihgt', 'swap:left=right,0=2'])
def test_pairs_must_be_in_the_class_list(text):
  with pytest.raises(InputError):
    FlipPolicy.parse(text).check(CLASSES)
