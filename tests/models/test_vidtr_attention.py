"""Separable attention: who sees whom, by which formula, with which frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models.vidtr import SeparableAttention, TimePool
from vidmodels.typing import InputError

B, T, N, A, D = 2, 5, 4, 2, 8
FRAME, PLACE = 2, 1  # no corner


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.float32(np.random.default_rng(seed).normal(size=shape))


@functools.cache
def params(width: int = D, heads: int = A):
  d = width // heads
  return {
    'qkv': {
      'kernel': 0.4 * normal(1, width, 3, heads, d),
      'bias': normal(2, 3, heads, d),
    },
    'out': {'kernel': normal(3, heads, d, width), 'bias': normal(4, width)},
  }


@functools.cache
def runner(**fields):
  layer = SeparableAttention(A, **fields)

  def run(h, rest, v, p):
    return layer.apply({'params': p}, h, rest, False, v_xD=v)

  return jax.jit(run)


def answer(h, rest=None, v=None, p=None, **fields):
  rest = h if rest is None else rest
  return runner(**fields)(h, rest, v, params() if p is None else p)


def sown(h, **fields):
  layer = SeparableAttention(A, **fields)
  run = jax.jit(
    lambda h: layer.apply(
      {'params': params()}, h, h, False, mutable='intermediates'
    )
  )
  (rest, out), kept = run(h)
  return rest, out, {k: v[0] for k, v in kept['intermediates'].items()}


def seen(order: str) -> np.ndarray:
  """How much a token's answer depends on each token [T, N] before."""
  out = lambda h: answer(h, order=order)[1][0, FRAME, PLACE] @ normal(9, D)
  grad = jax.grad(lambda h: out(h))(normal(0, B, T, N, D))
  assert not grad[1].any()  # the other clip
  return abs(np.asarray(grad[0])).max(-1)


def test_time_attention_reaches_one_place_in_all_frames_and_no_other():
  seen_TN = seen('T')
  assert (seen_TN[:, PLACE] > 1e-5).all()
  assert not np.delete(seen_TN, PLACE, axis=1).any()


def test_space_attention_reaches_its_own_frame_only():
  seen_TN = seen('N')
  assert (seen_TN[FRAME] > 1e-5).all()
  assert not np.delete(seen_TN, FRAME, axis=0).any()


def test_time_and_then_space_reach_the_whole_clip():
  assert (seen('TN') > 1e-6).all()


@pytest.mark.parametrize(('letter', 'axis'), [('T', 1), ('H', 2), ('W', 3)])
def test_axial_attention_reaches_one_line_of_the_grid(letter, axis):
  h, at = normal(0, 1, 3, 4, 5, D), (0, 1, 2, 3)
  grad = jax.grad(
    lambda h: answer(h, grid='THW', order=letter)[1][at] @ normal(9, D)
  )(h)
  seen_THW = abs(np.asarray(grad)).max(-1)[0]
  line = [1, 2, 3]
  line[axis - 1] = slice(None)
  assert (seen_THW[tuple(line)] > 1e-5).all()
  seen_THW[tuple(line)] = 0
  assert not seen_THW.any()


def by_hand(h, order: str) -> np.ndarray:
  """Both attentions as the docstring has them, in loops."""
  p = params()
  qkv = np.einsum('btnD,DjAd->jbtnAd', h, p['qkv']['kernel'])
  q, k, z = qkv + p['qkv']['bias'][:, None, None, None]

  def attend(q, k, v):
    s = np.exp(q @ k.T / np.sqrt(D // A))
    return s / s.sum(-1, keepdims=True) @ v

  for letter in order:
    last, z = z, np.empty_like(z)
    for b, a in np.ndindex(B, A):
      if letter == 'T':
        for n in range(N):
          at = (b, slice(None), n, a)
          z[at] = attend(q[at], k[at], last[at])
      else:
        for t in range(T):
          at = (b, t, slice(None), a)
          z[at] = attend(q[at], k[at], last[at])
  return np.einsum('btnAd,AdD->btnD', z, p['out']['kernel']) + p['out']['bias']


@pytest.mark.parametrize('order', ['TN', 'NT', 'N'])
def test_values_go_from_axis_to_axis_with_the_same_queries_and_keys(order):
  h = normal(0, B, T, N, D)
  rest, out = answer(h, order=order)
  np.testing.assert_allclose(out, by_hand(h, order), atol=2e-5)
  np.testing.assert_array_equal(rest, h)


def test_space_first_is_not_time_first():
  h = normal(0, B, T, N, D)
  assert abs(answer(h, order='NT')[1] - answer(h)[1]).max() > 1e-2


def test_values_may_be_made_of_something_else_than_queries_and_keys():
  h, v = normal(0, B, T, N, D), normal(5, B, T, N, D)
  both = answer(h, v=v)[1]
  p = jax.tree.map(np.copy, params())
  p['qkv']['kernel'][:, :2] = 0  # all weights alike: only values are left
  p['qkv']['bias'][:2] = 0
  np.testing.assert_allclose(
    answer(h, v=v, p=p)[1], answer(v, p=p)[1], atol=1e-5
  )
  p = jax.tree.map(np.copy, params())
  p['qkv']['kernel'][:, 2] = 0  # and here none are
  np.testing.assert_allclose(
    answer(h, v=v, p=p)[1], answer(h, p=p)[1], atol=1e-5
  )
  assert abs(both - answer(h)[1]).max() > 1e-2


def top_k(drop: int = 0, **more) -> TimePool:
  return TimePool('top_k', drop=drop, **more)


def test_a_pool_that_drops_nothing_is_no_pool_but_for_the_second_softmax():
  h = normal(0, B, T, N, D)
  rest, out = answer(h, pool=top_k(softmax=False))
  np.testing.assert_allclose(out, answer(h)[1], atol=1e-6)
  np.testing.assert_array_equal(rest, h)
  twice = answer(h, pool=top_k())[1]
  assert abs(twice - out).max() > 1e-2
  # With that softmax by hand on the weights of time, it is the same again.
  p = sown(h)[2]['time_weights']
  s = np.exp(p)
  s = s / s.sum(-1, keepdims=True)
  v = np.einsum('btnD,DAd->btnAd', h, params()['qkv']['kernel'][:, 2])
  v = v + params()['qkv']['bias'][2]
  z = np.einsum('bnaqs,bsnad->bqnad', s, v)
  z = np.einsum('btaqs,btsad->btqad', sown(h)[2]['space_weights'], z)
  wanted = np.einsum('btnAd,AdD->btnD', z, params()['out']['kernel'])
  np.testing.assert_allclose(twice, wanted + params()['out']['bias'], atol=1e-5)


@pytest.mark.parametrize('lead', [0, 1])
def test_residuals_queries_and_keys_follow_the_frames_that_are_kept(lead):
  h, rest = normal(0, B, T, N, D), normal(6, B, T, N, D)
  layer = SeparableAttention(A, lead=lead, pool=top_k(2))
  run = jax.jit(
    lambda: layer.apply(
      {'params': params()}, h, rest, False, mutable='intermediates'
    )
  )
  (made, out), kept = run()
  kept = {k: np.asarray(v[0]) for k, v in kept['intermediates'].items()}
  left = T - lead - 2
  assert kept['kept'].shape == (B, N, A, left)
  assert made.shape == out.shape == (B, lead + left, N, D)
  np.testing.assert_array_equal(made[:, :lead], rest[:, :lead])
  heads = rest.reshape(B, T, N, A, D // A)
  for b, n, a in np.ndindex(B, N, A):
    rows = lead + kept['kept'][b, n, a]
    # The kept rows are those of the largest deviation among no class rows.
    deviation = kept['time_weights'][b, n, a, lead:].std(-1, ddof=1)
    np.testing.assert_array_equal(
      rows - lead, np.sort(np.argsort(-deviation)[:left])
    )
    np.testing.assert_array_equal(
      np.asarray(made)[b, lead:].reshape(left, N, A, -1)[:, n, a],
      heads[b, rows, n, a],
    )
  # Space attention of a frame uses the queries and keys of what was kept.
  qkv = np.einsum('btnD,DjAd->jbtnAd', h, params()['qkv']['kernel'])
  q, k, _ = qkv + params()['qkv']['bias'][:, None, None, None]
  a, t = 1, 0
  rows = [lead + kept['kept'][0, n, a, t] for n in range(N)]
  q, k = (np.stack([z[0, r, n, a] for n, r in enumerate(rows)]) for z in (q, k))
  s = np.exp(q @ k.T / np.sqrt(D // A))
  np.testing.assert_allclose(
    kept['space_weights'][0, lead + t, a],
    s / s.sum(-1, keepdims=True),
    atol=1e-5,
  )


def test_the_second_softmax_lets_no_frame_have_much():
  # Even one weight of 1 becomes e / (e + T - 1).
  h = 20 * normal(0, B, T, N, D)
  p = jax.tree.map(np.copy, params())
  p['out']['kernel'][:] = 0
  p['out']['kernel'][0, :, : D // A] = np.eye(D // A)  # heads of their own
  p['out']['kernel'][1, :, D // A :] = np.eye(D // A)
  p['qkv']['kernel'][:, 2] = 0
  p['qkv']['bias'][2] = 0
  one_hot = np.zeros((B, T, N, D), np.float32)
  one_hot[:, FRAME, :, 0] = 1  # a value in one frame only: its weight comes out
  p['qkv']['kernel'][0, 2, :, 0] = 1
  p['out']['bias'][:] = 0
  _, out = answer(h, v=one_hot, p=p, pool=top_k(1))
  assert 0 < out.max() <= np.e / (np.e + T - 1) + 1e-6
  plain = answer(h, v=one_hot, p=p)[1]
  assert plain.max() > 0.5


@pytest.mark.parametrize('lead', [0, 1])
def test_averaging_takes_means_of_weights_of_queries_keys_and_residuals(lead):
  h, rest = normal(0, B, 4 + lead, N, D), normal(6, B, 4 + lead, N, D)
  pool = TimePool('average')
  made, out = answer(h, rest, lead=lead, pool=pool)
  conv = TimePool('conv')
  same = np.array([0, 0.5, 0.5])[:, None, None] * np.eye(D)
  p = {**params(), 'pool': {'kernel': np.float32(same), 'bias': np.zeros(D)}}
  again = answer(h, rest, p=p, lead=lead, pool=conv)
  np.testing.assert_allclose(again[1], out, atol=1e-5)
  np.testing.assert_allclose(again[0], made)
  pairs = rest[:, lead:].reshape(B, 2, 2, N, D).mean(2)
  np.testing.assert_allclose(made[:, lead:], pairs, atol=1e-6)
  np.testing.assert_array_equal(made[:, :lead], rest[:, :lead])
  # By hand, for one frame: mean rows of weights, mean queries and keys.
  _, _, kept = sown(h, lead=lead)
  weights = np.asarray(kept['time_weights'])[..., lead : lead + 2, :].mean(-2)
  qkv = np.einsum('btnD,DjAd->jbtnAd', h, params()['qkv']['kernel'])
  q, k, v = qkv + params()['qkv']['bias'][:, None, None, None]
  z = np.einsum('bnas,bsnad->bnad', weights, v)
  q, k = (x[:, lead : lead + 2].mean(1) for x in (q, k))
  s = np.exp(np.einsum('bnad,bmad->banm', q, k) / np.sqrt(D // A))
  y = np.einsum('banm,bmad->bnad', s / s.sum(-1, keepdims=True), z)
  wanted = np.einsum('bnad,adD->bnD', y, params()['out']['kernel'])
  np.testing.assert_allclose(
    out[:, lead], wanted + params()['out']['bias'], atol=2e-5
  )


def test_weights_are_kept_on_request_and_their_rows_sum_to_1():
  _, _, kept = sown(normal(0, B, T, N, D))
  assert kept['time_weights'].shape == (B, N, A, T, T)
  assert kept['space_weights'].shape == (B, T, A, N, N)
  for p in kept.values():
    assert p.dtype == jnp.float32
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
  ('order', 'pool', 'drops'),
  [
    ('T', None, True),
    ('N', None, True),
    ('T', top_k(1), False),
    ('T', TimePool('average'), True),
  ],
)
def test_dropout_is_on_every_map_but_the_one_that_chooses(order, pool, drops):
  h = normal(0, B, 4, N, D)
  layer = SeparableAttention(A, order=order, pool=pool, dropout=0.5)

  @jax.jit
  def run():
    rngs = {'dropout': jax.random.key(0)}
    variables = {'params': params()}
    train, plain = (
      layer.apply(variables, h, h, train, rngs=rngs)[1]
      for train in (True, False)
    )
    return abs(train - plain).max()

  assert (run() > 1e-2) == drops


def test_heads_that_do_not_divide_the_width_are_refused():
  layer = SeparableAttention(3)
  with pytest.raises(InputError, match='width 8, which does not divide into 3'):
    layer.init(jax.random.key(0), *[normal(0, B, T, N, D)] * 2, False)


def test_a_fresh_kernel_is_drawn_as_torch_draws_a_packed_one():
  h = normal(0, 1, 2, 2, 64)
  made = SeparableAttention(2).init(jax.random.key(0), h, h, False)['params']
  # xavier_uniform_ on [3 D, D]: U(+-sqrt(6 / 4 D)); on [D, D]: sqrt(6 / 2 D).
  for name, outputs in (('qkv', 3 * 64), ('out', 64)):
    bound = np.sqrt(6 / (64 + outputs))
    kernel = np.asarray(made[name]['kernel'])
    assert 0.97 * bound < abs(kernel).max() <= bound
    assert abs(kernel.std() * np.sqrt(3) / bound - 1) < 0.03
    assert not made[name]['bias'].any()
