"""Twins-SVT's public files, and DualFormer's start from them."""

import functools

import golden
import jax
import jax.numpy as jnp
import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.typing import InputError
from vidmodels.weights import dualformer_weights, load_weights
from vidmodels.weights.mapping import apply
from vidmodels.weights.mapping.apply import KeyReport

WIDE = dict(
  widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
)
WIDER = dict(
  widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
)
SIZES = {'small': {}, 'base': WIDE, 'large': WIDER}


def zeros(model, *clip: int):
  """A model's fresh variables, as zeros that take no memory."""
  video = jax.ShapeDtypeStruct((1, *clip, 3), jnp.float32)
  abstract = dict(jax.eval_shape(model.init, jax.random.key(0), video))
  return jax.tree.map(
    lambda x: np.broadcast_to(np.float32(0), x.shape), abstract
  )


def shapes(variables):
  return jax.tree.map(np.shape, variables)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.slow
def test_a_public_file_fills_the_model_and_starts_a_video_model(shared, size):
  path = shared / 'manifests' / f'dualformer_alt_image_source_twins_svt_{size}'
  image = models.build('twins_svt', classes=1000, **SIZES[size])
  variables = load_weights.load_file(
    manifests.file(path.with_suffix('.json')), 'twins_svt'
  ).variables
  assert shapes(variables) == shapes(zeros(image, 1, 224, 224))
  video = models.build('dualformer', classes=7, **SIZES[size])
  report = KeyReport()
  made = dualformer_weights.start_from_twins(
    variables, image, video, (32, 224, 224, 3), report
  )
  wanted = shapes(zeros(video, 32, 224, 224))
  wanted['params'].pop('head')
  assert shapes(made) == wanted
  assert (
    set(report.random) == set(report.dropped) == {'head/kernel', 'head/bias'}
  )


def image_model(**more):
  fields = {**models.find('twins_svt').TINY, **more}
  return models.build('twins_svt', classes=5, **fields)


def video_model(**more):
  image = image_model()
  fields = dict(
    widths=image.widths,
    layers=image.layers,
    heads=image.heads,
    mlp_ratios=(2.0, 2.0),
    patterns=('LG', 'LG'),
    windows=((2, 3, 3),) * 2,
    fine=((2, 2, 3), ()),
    coarse=((), ()),
    rates=(1,),
    built=(8, 32, 48),
  )
  return models.build('dualformer', classes=5, **{**fields, **more})


def drawn(model, *clip: int):
  rng = np.random.default_rng(0)

  def draw(path, x):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.2 * rng.normal(size=x.shape))

  return jax.tree_util.tree_map_with_path(draw, zeros(model, *clip))


def test_loading_and_saving_gives_the_file_again():
  model = image_model()
  variables = drawn(model, 1, 32, 48)
  state = golden.save_state('twins_svt', model, variables)
  assert state['blocks.0.1.attn.sr.weight'].shape == (8, 8, 4, 4)
  kernel = variables['params']['stage_0']['block_0']['level_1']['attn']
  kernel = kernel['pyramid']['fine']['kernel']
  assert state['blocks.0.1.attn.sr.weight'][3, 5, 1, 2] == kernel[0, 1, 2, 5, 3]
  _, again = golden.load_state('twins_svt', model, state, clip=(1, 32, 48))
  jax.tree.map(np.testing.assert_array_equal, variables, again)


def start(model, fine='mean'):
  image = image_model()
  report = KeyReport()
  variables = drawn(image, 1, 32, 48)
  made = dualformer_weights.start_from_twins(
    variables, image, model, (*model.built, 3), report, fine=fine
  )
  return variables, made, report


@pytest.mark.slow
def test_a_static_clip_is_answered_as_the_image_was_where_nothing_is_made_up():
  # Dense pooling as in images, no coarse scale, no position encoding (whose
  # first and last frames have one neighbour less).
  video = video_model(pooling='dense', position='none')
  variables, made, report = start(video)
  assert any('/peg/' in path for path in report.dropped)
  assert list(report.dropped) == sorted(report.dropped)  # in every run
  image = image_model()
  for path in list(apply.flatten_variables(variables)):
    if '/peg/' in path:
      stage, block, *_ = path.split('/')
      tree = variables['params'][stage][block]['peg']
      tree[path.split('/')[-1]] = np.zeros_like(tree[path.split('/')[-1]])
  made['params']['head'] = variables['params']['head']
  still = np.random.default_rng(1).normal(size=(2, 1, 32, 48, 3))
  still = still.astype(np.float32)
  wanted = jax.jit(image.apply)(variables, still)
  got = jax.jit(video.apply)(made, np.repeat(still, 8, axis=1))
  # An epsilon of 1e-5 for 1e-6 is all that differs.
  np.testing.assert_allclose(got, wanted, atol=1e-4)
  assert abs(wanted[0] - wanted[1]).max() > 1e-2


def of(tree, *names):
  return functools.reduce(lambda t, name: t[name], names, tree['params'])


PYRAMID = ('stage_0', 'block_0', 'level_1', 'attn', 'pyramid')


def test_dense_kernels_become_means_or_their_diagonals():
  given, mean, report = start(video_model())
  kernel = of(mean, *PYRAMID, 'fine', 'kernel')
  assert kernel.shape == (2, 4, 4, 1, 8)
  np.testing.assert_allclose(kernel, 1 / 32, rtol=1e-6)
  assert not of(mean, *PYRAMID, 'fine', 'bias').any()
  assert len(report.changed) == 2
  given, own, _ = start(video_model(), 'diagonal')
  kernel = of(own, *PYRAMID, 'fine', 'kernel')
  dense = of(given, *PYRAMID, 'fine', 'kernel')
  for channel in (0, 5):
    np.testing.assert_allclose(
      kernel[:, 1, 2, 0, channel].sum(), dense[0, 1, 2, channel, channel]
    )
  np.testing.assert_array_equal(
    of(own, *PYRAMID, 'fine', 'bias'), of(given, *PYRAMID, 'fine', 'bias')
  )


def test_the_coarse_scale_starts_as_a_mean():
  _, made, _ = start(video_model(coarse=((1, 1, 1), ())))
  for part in ('coarse_space', 'coarse_rest'):
    kernel = of(made, *PYRAMID, part, 'kernel')
    np.testing.assert_allclose(kernel.sum((0, 1, 2, 3)), 1, rtol=1e-5)
    assert not of(made, *PYRAMID, part, 'bias').any()
  (stats,) = jax.tree.leaves(made['batch_stats'], is_leaf=lambda t: 'mean' in t)
  assert not stats['mean'].any()
  assert (stats['var'] == 1).all()


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (dict(layers=(2, 4)), 'layers='),
    (dict(patterns=('GG', 'LG')), 'no stage_0/block_0/level_0/attn/'),
    (dict(fine=((2, 4, 4), ())), 'fine/kernel of the image model comes to'),
  ],
)
def test_another_video_model_is_refused(fields, message):
  with pytest.raises(InputError, match=message):
    start(video_model(**fields), 'diagonal')
