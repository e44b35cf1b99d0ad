"""VidTr's files: every key and shape, and how a video model starts."""

import functools
import json

import golden
import jax
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import vidtr_weights

FILES = golden.every('vidtr')
WHOLE = {n: p for n, p in FILES.items() if n in golden.files()}
MANIFESTS = ['vidtr_s', 'vidtr_m', 'vidtr_l', 'cvidtr_s', 'cvidtr_m']


def of(path):
  config, theirs = golden.read_config(path), golden.maps()['vidtr']
  model, clip = theirs.model_of(config), theirs.clip_of(config)
  return golden.read_state(path), model, clip


def same(got, wanted) -> None:
  assert set(got) == set(wanted)
  for key in wanted:
    np.testing.assert_array_equal(got[key], wanted[key], err_msg=key)


@pytest.mark.parametrize('name', WHOLE)
def test_loading_and_saving_gives_the_authors_file_again(name):
  state, model, clip = of(WHOLE[name])
  same(
    vidtr_weights.save(vidtr_weights.load(state, model, clip=clip), model),
    state,
  )


@pytest.mark.parametrize('name', MANIFESTS)
def test_a_published_file_fills_the_full_size_model(shared, name):
  path = shared / 'manifests' / f'vidtr_{name}.json'
  manifest = json.loads(path.read_text())
  theirs = manifest['config']['original_kwargs']
  config = {
    'original': {
      'class': manifest['config']['original_class'],
      'kwargs': theirs,
    },
    'layernorm_eps': 1e-5,
    'patch': theirs['patch_size'],
    'num_classes': theirs['activity_num'],
    'layers': theirs['num_encoder_layers'],
    'dim': theirs['d_model'],
    'heads': theirs['nhead'],
    'mlp_dim': theirs['dim_feedforward'],
    'activation': 'relu',
    'pos_every_layer': name == 'vidtr_m',
  }
  model = golden.maps()['vidtr'].model_of(config)
  # Zeros of any shape in four bytes: nothing of the full size is allocated.
  state = {
    key: np.broadcast_to(np.float32(0), shape)
    for key, shape, _ in manifest['entries']
  }
  clip = (theirs['temporal_size'], 224, 224)
  assert vidtr_weights.clip_of(state, model) == clip
  params = vidtr_weights.load(state, model)['params']
  total = sum(x.size for x in jax.tree.leaves(params))
  assert total == manifest['num_params']
  again = vidtr_weights.save({'params': params}, model)
  assert {k: v.shape for k, v in again.items()} == {
    k: v.shape for k, v in state.items()
  }


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'attention': 'space'}, "attention='space'"),
    ({'attention': 'axial'}, "attention='axial'"),
    ({'projections': 'separate'}, "projections='separate'"),
    ({'norms': 'both'}, "norms='both'"),
    ({'pool': 'conv', 'pool_layers': (0,)}, "pool='conv'"),
    ({'stem': 't2t', 'patch': 16}, "stem='t2t'"),
  ],
)
def test_what_was_never_released_has_no_names(fields, says):
  with pytest.raises(InputError, match=says):
    vidtr_weights.rules(models.build('vidtr', classes=6, **fields))


CHANGES = {
  'missing': (lambda s: s.pop('fc.bias'), 'does not fill: head/bias'),
  'extra': (lambda s: s.update(more=s['fc.bias']), 'place for: more'),
  'no stem': (lambda s: s.pop('conv_stem.weight'), 'no conv_stem.weight'),
  'no positions': (lambda s: s.pop('pos_embedding'), 'no pos_embedding'),
  'classes': (
    lambda s: s.update({'fc.weight': s['fc.weight'][1:]}),
    r'fc\.weight has shape',
  ),
}


@functools.cache
def joint_file():
  name = next(n for n in WHOLE if 'vanilla' in n)
  return of(WHOLE[name])


@pytest.mark.parametrize('change', CHANGES)
def test_a_file_that_does_not_fit_is_refused_by_name(change):
  state, model, clip = joint_file()
  state = dict(state)
  make, says = CHANGES[change]
  make(state)
  clip = None if change == 'no positions' else clip
  with pytest.raises(InputError, match=says):
    vidtr_weights.load(state, model, clip=clip)


def test_a_table_that_is_no_released_clip_asks_for_one():
  state, model, _ = joint_file()  # 4 frames of 4 x 4, for 28 x 28 of 8 pixels
  with pytest.raises(InputError, match=r'64 places.*28 x 28.*say which'):
    vidtr_weights.clip_of(state, model)
