"""Our models answer as the authors' code does."""

import golden
import numpy as np
import pytest

FILES = golden.files()


def test_files_of_the_authors_answers_are_here(capsys):
  own = {
    path.stem
    for path in (golden.HERE / 'golden').glob('*.npz')
    if {'input.npy', 'logits.npy'} <= golden.read_config(path)['parts']
  }
  assert own <= {name.split('/')[1] for name in FILES}
  assert len(own) >= 3
  with capsys.disabled():
    print(f'\n{len(FILES)} golden files of models that are here')


@pytest.mark.parametrize('name', FILES)
@pytest.mark.fast_every(6)
def test_logits_and_features_are_the_authors(name):
  wanted, got = golden.expected(FILES[name]), golden.answers(FILES[name])
  theirs = golden.maps()[name.split('/')[0]]
  by_feature = getattr(theirs, 'FEATURE_TOLERANCE', {})
  # Features first: they tell where two implementations part.
  for feature, value in wanted.features.items():
    ours = np.asarray(got.features[feature])
    if getattr(theirs, 'FIRST_ROWS', False):
      ours = ours[tuple(map(slice, value.shape))]
    np.testing.assert_allclose(
      ours,
      value,
      rtol=0,
      atol=by_feature.get(feature, theirs.TOLERANCE),
      err_msg=feature,
    )
  np.testing.assert_allclose(
    got.logits, wanted.logits, rtol=0, atol=theirs.TOLERANCE
  )


def test_files_of_other_folders_are_run_too(tmp_path, monkeypatch):
  with np.load(golden.HERE / 'golden' / 'joint_t4_32px_p8.npz') as arrays:
    content = {**arrays, 'input': arrays['input'] * 2}
  folder = tmp_path / 'more' / 'timesformer'
  folder.mkdir(parents=True)
  # The same name as a file that is here, with something else in it.
  np.savez(folder / 'joint_t4_32px_p8.npz', **content)
  unknown = {**content, 'config': np.array('{"model": "none such"}')}
  np.savez(folder / 'unknown.npz', **unknown)
  np.savez(folder / 'weights_only.npz', w=np.ones(2))
  monkeypatch.setenv('VIDMODELS_GOLDEN', f'/no/such/folder:{tmp_path}')
  assert set(golden.files()) - set(FILES) == {"timesformer/joint_t4_32px_p8'"}


def test_another_input_has_another_answer():
  # So that the tolerance means something.
  path = FILES['timesformer/joint_t4_32px_p8']
  wanted = golden.expected(path)
  assert abs(wanted.logits[0] - wanted.logits[1]).max() > 1e-2
