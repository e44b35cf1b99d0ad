"""The documented path of a clip is the one that a tracer sees."""

import clip_path
import pytest

# Few enough to read in one sitting; a longer way needs a reason.
MOST_FILES, MOST_FUNCTIONS = 18, 80
# What the demo recipe leaves off.
OFF = (
  *('data/augment/policies.py', 'data/augment/colour.py'),
  *('data/augment/erase.py', 'data/augment/ops.py'),
  *('train/mixup.py', 'train/token_label.py', 'train/teacher.py'),
)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  return clip_path.trace(tmp_path_factory.mktemp('records'))


def test_the_documented_path_is_what_the_tracer_saw(path):
  expected = clip_path.documented()
  again = 'run `python tests/clip_path.py --write` and read what changed'
  assert {f: sorted(names) for f, names in path.items()} == {
    f: sorted(names) for f, names in expected.items()
  }, again


@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md'])
def test_the_pages_count_what_the_path_has(page):
  path = clip_path.documented()
  text = ' '.join((clip_path.PACKAGE.parent / page).read_text().split())
  count = f'{len(path)} files and {sum(map(len, path.values()))} functions'
  assert count in text


def test_the_path_is_short(path):
  assert len(path) <= MOST_FILES
  assert sum(map(len, path.values())) <= MOST_FUNCTIONS


def test_what_is_off_is_not_entered(path):
  assert not set(OFF) & set(path)
  assert all((clip_path.PACKAGE / file).exists() for file in OFF)


def test_each_stop_of_the_path_is_there(path):
  seen = {(file, name) for file, names in path.items() for name in names}
  assert {
    ('data/records/record_set.py', 'RecordSet.record'),
    ('data/sampling/dense.py', 'train'),
    ('data/augment/crops.py', 'cut'),
    ('train/feed.py', 'Feed.__next__'),
    ('train/step.py', 'Objective.__call__'),
    ('models/timesformer.py', 'Model.features'),
    ('train/losses.py', 'loss_per_clip'),
  } <= seen
