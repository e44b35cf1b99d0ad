"""Our models answer as the authors' code does."""

import json
import re

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
@pytest.mark.fast_every(12)
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


def changed(path, to, kept, **config):
  """Writes a golden file with other tensors and another config."""
  said = json.loads(str(kept['config']))
  np.savez(to, **{**kept, 'config': np.array(json.dumps({**said, **config}))})
  return golden.answers(to)


@pytest.mark.parametrize(
  ('stem', 'query', 'heads'),
  [
    ('joint_t4_32px_p8', r'attn\.qkv\.', {48: 4}),
    pytest.param(
      'train_mode_bn_grads_8f_64',
      r'attn\.(q|qkv)\.',
      {16: 1, 24: 2, 32: 4, 40: 5},
      marks=pytest.mark.slow,
    ),
  ],
)
def test_the_authors_qk_scale_is_read(stem, query, heads, tmp_path):
  # Queries divided by what the other scale multiplies: the same answer.
  path, scale = golden.HERE / 'golden' / f'{stem}.npz', 0.5
  with np.load(path) as arrays:
    kept = dict(arrays)
  for key, array in kept.items():
    if key.startswith('state_dict/') and re.search(query, key):
      width = kept[key.replace('.bias', '.weight')].shape[1]
      array[:width] /= scale * (width / heads[width]) ** 0.5
  got = changed(path, tmp_path / 'scaled.npz', kept, qk_scale=scale)
  wanted = golden.answers(path).logits
  np.testing.assert_allclose(got.logits, wanted, rtol=0, atol=1e-5)


def test_the_authors_norm_layer_is_read(tmp_path):
  path, epsilon = golden.HERE / 'golden/joint_t4_32px_p8.npz', 0.05
  with np.load(path) as arrays:
    kept = dict(arrays)
  file = tmp_path / 'other_epsilon.npz'
  got = changed(path, file, kept, layer_norm_eps=epsilon)
  last = np.asarray(got.features['tokens_after_block2'])[:, 0]
  off = last - last.mean(-1, keepdims=True)
  wanted = off / np.sqrt(last.var(-1, keepdims=True) + epsilon)
  wanted = wanted * kept['state_dict/norm.weight']
  wanted += kept['state_dict/norm.bias']
  ours = got.features['cls_after_final_norm']
  np.testing.assert_allclose(ours, wanted, atol=1e-5)
  moved = (
    got.features['tokens_after_block0'] - kept['feature/tokens_after_block0']
  )
  assert abs(moved).max() > 1e-3  # the norms of blocks have it too
