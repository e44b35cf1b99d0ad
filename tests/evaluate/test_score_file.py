"""The file of scores describes itself, and a wrong one is refused."""

import json
import pickle
import tracemalloc
import zipfile

import fake
import json_edits
import numpy as np
import pytest
import scoring
from scoring import ANY, MULTI, VERB_NOUN

from vidmodels.data.records.record_set import Manifest, RecordSet
from vidmodels.data.records.task import SINGLE
from vidmodels.evaluate.score_file import (
  ScoreInfo,
  SplitScores,
  find_score_file,
)
from vidmodels.typing import InputError


@pytest.mark.parametrize(
  'task', [SINGLE, VERB_NOUN, ANY, MULTI], ids=['single', 'heads', 'any', 'map']
)
def test_what_is_saved_is_what_is_loaded(tmp_path, task):
  scored = scoring.random_scores(
    np.random.default_rng(0), 5, 7, task, views=6, temporal=2, spatial=3,
    subsets={'unseen': ('v1.mp4',)}, class_subsets={'tail': (1, 2)},
    videos=('-a.mp4', 'b c.mp4', 'ä#&.webm', 'd', "e'[1].avi"),
    config={'views': {'average': 'logits'}}, dataset='epic100', limit=5,
    lost=2, damaged=1, expected=9, listed=7,
  )  # fmt: skip
  path = tmp_path / 's.npz'
  scored.save(path)
  found = SplitScores.load(path)
  np.testing.assert_array_equal(found.logits_RVK, scored.logits_RVK)
  np.testing.assert_array_equal(found.label_Rx, scored.label_Rx)
  assert found.videos == scored.videos
  assert found.info == scored.info
  assert found.file == str(path)
  assert [p.name for p in tmp_path.iterdir()] == ['s.npz']


def test_any_reader_of_npz_finds_all_that_it_needs(tmp_path):
  scored = scoring.random_scores(
    np.random.default_rng(0), 3, 4, views=6, temporal=2, spatial=3
  )
  scored.save(tmp_path / 's.npz')
  with np.load(tmp_path / 's.npz') as file:
    assert sorted(file) == ['about', 'label', 'logits', 'video']
    assert file['logits'].shape == (3, 6, 4)
    about = json.loads(str(file['about']))
  assert about['classes'] == ['c0', 'c1', 'c2', 'c3']
  assert about['classes_sha256'] == scored.info.classes.sha256
  assert about['crops'] == ['first', 'centre', 'last']
  assert about['task'] == {'kind': 'single', 'heads': []}
  for name in ('split', 'temporal', 'spatial', 'average', 'fingerprint'):
    assert about[name] == getattr(scored.info, name)


def change(path, **arrays):
  """Writes an npz again with some of its arrays changed."""
  with np.load(path) as file:
    every = dict(file) | arrays
  np.savez(path, **{k: v for k, v in every.items() if v is not None})


def about(path, **changes):
  with np.load(path) as file:
    return np.array(json.dumps(json.loads(str(file['about'])) | changes))


@pytest.mark.parametrize(
  ('spoil', 'part'),
  [
    (lambda p: p.unlink(), 'No such file'),
    (lambda p: p.write_bytes(b''), 'it is empty'),
    (lambda p: p.write_text('<html>'), 'it is no .npz'),
    (lambda p: p.write_bytes(p.read_bytes()[:-40]), 'is cut short'),
    # Files of the first release are so.
    (lambda p: change(p, about=None), 'it has no about'),
    (lambda p: change(p, logits=np.zeros((3, 4), np.float32)), 'expected f'),
    (lambda p: change(p, logits=np.zeros((3, 1, 4))), 'logits float64'),
    (lambda p: change(p, video=np.array(['a', 'b'])), 'expected float32'),
    (lambda p: change(p, label=np.zeros((3, 4), np.int32)), 'expected int32'),
    (lambda p: change(p, label=np.array([0, 1, 4], np.int32)), '0 to 4'),
    (lambda p: change(p, label=np.array([0, -1, 1], np.int32)), 'from -1'),
    (lambda p: change(p, about=np.array('[]')), 'not of format'),
    (lambda p: change(p, about=np.array('{')), 'Expecting property'),
    (lambda p: change(p, about=about(p, format='other')), 'not of format'),
    (lambda p: change(p, about=about(p, classes=['a'] * 4)), 'twice'),
    (lambda p: change(p, about=about(p, temporal=3)), 'expected float32'),
    (lambda p: change(p, logits=np.full((3, 1, 4), np.nan, np.float32)),
     'not finite'),
  ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, spoil, part):
  path = tmp_path / 's.npz'
  scoring.random_scores(np.random.default_rng(0), 3, 4).save(path)
  spoil(path)
  with pytest.raises(InputError) as error:
    SplitScores.load(path)
  assert part in str(error.value)


def test_nothing_in_a_file_is_executed(tmp_path):
  path = tmp_path / 's.npz'
  scoring.random_scores(np.random.default_rng(0), 3, 4).save(path)
  change(path, video=np.array([object(), 1, 2], object))
  with pytest.raises(InputError, match='holds Python objects') as error:
    SplitScores.load(path)
  assert 'allow_pickle' not in str(error.value)


@pytest.mark.parametrize(
  ('name', 'data'),
  [
    ('report.json', b'{"name": "test_4x3"}'),
    ('clip.webm', b'\x1aE\xdf\xa3\x9fB\x86\x81\x01' * 30),
    ('classes.csv', b'number,name\n0,a\n'),
    ('pickle.npz', pickle.dumps({'logits': [1]})),
  ],
)
def test_another_kind_of_file_is_told_in_our_words(tmp_path, name, data):
  path = tmp_path / name
  path.write_bytes(data)
  with pytest.raises(InputError) as error:
    SplitScores.load(path)
  said = str(error.value)
  assert f'cannot use {path}: it is no .npz file; expected an .npz' in said
  assert '`vidmodels evaluate` wrote' in said
  for word in ('allow_pickle', 'pickled', 'unsafe', 'Error'):
    assert word not in said


def test_a_folder_stands_for_the_one_file_in_it(tmp_path):
  with pytest.raises(
    InputError, match=r'holds no .npz; .*evaluating the model'
  ):
    find_score_file(tmp_path)
  (tmp_path / 'a.json').write_text('{}')
  (tmp_path / 'a.npz').write_text('')
  assert (
    find_score_file(tmp_path)
    == find_score_file(tmp_path / 'a.npz')
    == tmp_path / 'a.npz'
  )
  (tmp_path / 'b.npz').write_text('')
  with pytest.raises(InputError, match=r'holds a.npz, b.npz; .*naming one of'):
    find_score_file(tmp_path)


def test_truncated_and_flipped_files_are_refused_or_whole(tmp_path):
  path = tmp_path / 's.npz'
  scored = scoring.random_scores(np.random.default_rng(0), 3, 4)
  scored.save(path)
  data = path.read_bytes()
  rng = np.random.default_rng(1)
  refused = 0
  for i in range(120):
    broken = bytearray(data)
    if i % 2:
      broken = broken[: rng.integers(len(data))]
    else:
      broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(broken)
    try:
      found = SplitScores.load(path)
    except InputError:
      refused += 1
    else:  # a bit that means nothing: of a time, say
      np.testing.assert_array_equal(found.logits_RVK, scored.logits_RVK)
      assert found.info == scored.info
  assert refused > 90
  assert zipfile.is_zipfile(path) or refused


def test_records_say_where_they_come_from(tmp_path):
  fake.write(tmp_path, 'test', videos=4, listed=5)
  opened = RecordSet.open(tmp_path, 'test')
  rest = dict(temporal=1, spatial=1, average='logits', step=1, weights='params')

  def of(**changes) -> ScoreInfo:
    manifest = opened.manifest
    fields = {f: getattr(manifest, f) for f in manifest.__dataclass_fields__}
    changed = Manifest(**fields | changes)
    return ScoreInfo.of_records(changed, opened.classes, **rest)

  found = of()
  assert (found.listed, found.lost, found.dataset, found.limit) == (5, 1, '', 0)
  found = of(options={'source': 'ssv2', 'limit': 5}, expected=24_777)
  assert (found.dataset, found.limit, found.expected) == ('ssv2', 5, 24_777)
  assert of(options={'source': '/data/ssv2', 'limit': 6}).dataset == ''
  assert of(options={'limit': 6}).limit == 0  # the list is shorter
  assert of(options={'limit': 5}, expected=5).limit == 0  # and it is all


def test_every_edit_of_the_description_is_one_message(tmp_path):
  path, read = tmp_path / 's.npz', 0
  scored = scoring.random_scores(np.random.default_rng(0), 3, 4)
  scored.save(path)
  with np.load(path) as file:
    arrays = dict(file)
  for place, text in json_edits.sample(json.loads(str(arrays['about'])), 120):
    text = text.replace('\0', '')
    np.savez(path, **{**arrays, 'about': np.array(text)})
    with json_edits.one_message(place):
      found = SplitScores.load(path)
      np.testing.assert_array_equal(found.logits_RVK, scored.logits_RVK)
      assert '/' not in found.info.stem
      read += 1
  assert read < 100


@pytest.mark.parametrize('key', ['split', 'fingerprint', 'weights'])
def test_a_description_names_no_file_elsewhere(tmp_path, key):
  path = tmp_path / 's.npz'
  scoring.random_scores(np.random.default_rng(0), 3, 4).save(path)
  change(path, about=about(path, **{key: '../../elsewhere'}))
  with pytest.raises(InputError, match='without /'):
    SplitScores.load(path)


def test_scores_that_do_not_fit_are_not_unpacked(tmp_path):
  path = tmp_path / 's.npz'
  scoring.random_scores(np.random.default_rng(0), 3, 4).save(path)
  with np.load(path) as file:
    arrays = dict(file)
  arrays['logits'] = np.zeros((3, 1, 4_000_000), np.float32)
  np.savez_compressed(path, **arrays)
  tracemalloc.start()
  with pytest.raises(InputError, match='got logits'):
    SplitScores.load(path)
  assert tracemalloc.get_traced_memory()[1] < 1 << 22
  tracemalloc.stop()
