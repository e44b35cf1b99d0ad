"""Space-time mixing: which channels move, from where, and what stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models.xvit import (
  Mixing,
  MixingBlock,
  channel_moves,
  mix_channels,
  mixing_layers,
)
from vidmodels.nn.transformer import TransformerBlock
from vidmodels.typing import InputError

TOKENS = (2, 6, 4, 16)  # B, T, 1 + N, D


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


@pytest.mark.parametrize(
  ('channels', 'fields', 'wanted'),
  [
    # Of a width of 768, as released for Kinetics and for SSv2.
    (768, dict(share=0.25, window=1), ((1, 96), (-1, 96))),
    (768, dict(share=0.5, window=1), ((1, 192), (-1, 192))),
    (768, dict(share=1.0, window=1), ((1, 384), (-1, 384))),
    (64, dict(share=0.5, window=1), ((1, 16), (-1, 16))),
    (768, dict(share=0.5, window=2), ((1, 96), (-1, 96), (2, 96), (-2, 96))),
    (768, dict(share=0.5, window=2, boundary=True), ((2, 192), (-2, 192))),
    (768, dict(share=0.5, window=0), ()),
    (768, dict(share=0.0, window=1), ((1, 0), (-1, 0))),
    (48, dict(share=0.3333, window=1), ((1, 8), (-1, 8))),
    (768, dict(share=0.3333, window=1), ((1, 128), (-1, 128))),
  ],
)
def test_a_share_is_divided_evenly_over_the_frames_of_the_window(
  channels, fields, wanted
):
  assert channel_moves(channels, **fields) == wanted


@pytest.mark.parametrize(
  ('channels', 'share', 'window', 'says'),
  [
    (48, 0.3, 1, r'14\.4 of 48 .* over 2 frames.* 2/48; try 0\.291667 or 0'),
    (16, 0.9, 2, r'multiple of 4/16; try 0\.75 or 1$'),
    (6, 0.9, 2, r'multiple of 4/6; try 0\.666667$'),
    (16, 0.001, 1, r'try 0 or 0\.125'),
  ],
)
def test_a_share_that_is_no_whole_channel_is_refused_with_those_that_are(
  channels, share, window, says
):
  with pytest.raises(InputError, match=says):
    channel_moves(channels, share=share, window=window)


def by_hand(h, moved, segment):
  """Frame by frame and channel by channel."""
  out = h.copy()
  for t in range(h.shape[1]):
    first = 0
    for offset, channels in moved:
      there = t + offset
      same = 0 <= there < h.shape[1] and there // segment == t // segment
      rows = slice(first, first + channels)
      out[:, t, ..., rows] = h[:, there, ..., rows] if same else 0
      first += channels
  return out


@pytest.mark.parametrize('segment', [0, 3, 2, 1])
@pytest.mark.parametrize(
  'moved', [((1, 4), (-1, 4)), ((1, 2), (-1, 2), (2, 3), (-2, 1)), ()]
)
def test_frame_t_gets_what_frame_t_plus_offset_has_within_its_segment(
  segment, moved
):
  h = normal(0, TOKENS)
  got = mix_channels(jnp.asarray(h), moved, segment)
  np.testing.assert_array_equal(got, by_hand(h, moved, segment or TOKENS[1]))


def test_frames_that_do_not_divide_into_segments_are_refused():
  with pytest.raises(InputError, match=r'6 frames .* segment=4'):
    mix_channels(jnp.ones(TOKENS), ((1, 4),), 4)


def test_flat_moves_whole_heads_and_per_head_a_part_of_every_head():
  k = normal(0, (*TOKENS[:3], 4, 4))  # 4 heads of 4 channels
  flat = Mixing(channel_moves(16, share=0.5, window=1), layout='flat')
  mixed, _ = flat(k, k)
  ahead, behind = by_hand(k, ((1, 4),), 6), by_hand(k, ((-1, 4),), 6)
  np.testing.assert_array_equal(mixed[..., 0, :], ahead[..., 0, :])
  np.testing.assert_array_equal(mixed[..., 1, :], behind[..., 1, :])
  np.testing.assert_array_equal(mixed[..., 2:, :], k[..., 2:, :])
  each = Mixing(channel_moves(4, share=0.5, window=1), layout='per_head')
  mixed, _ = each(k, k)
  np.testing.assert_array_equal(mixed[..., 0], ahead[..., 0])
  np.testing.assert_array_equal(mixed[..., 1], behind[..., 1])
  np.testing.assert_array_equal(mixed[..., 2:], k[..., 2:])


@pytest.mark.parametrize(
  ('what', 'key', 'value', 'tokens'),
  [
    ('key_value', True, True, False),
    ('key', True, False, False),
    ('value', False, True, False),
    ('x', False, False, True),
  ],
)
def test_only_what_is_named_is_mixed(what, key, value, tokens):
  mixing = Mixing(((1, 4), (-1, 4)), what)
  h = jnp.asarray(normal(0, TOKENS))
  heads = h.reshape(*TOKENS[:3], 4, 4)
  k, v = mixing(heads, heads + 1)
  assert bool((k != heads).any()) == key
  assert bool((v != heads + 1).any()) == value
  assert bool((mixing.tokens(h) != h).any()) == tokens


@pytest.mark.parametrize(
  ('where', 'layers', 'wanted'),
  [
    ('all', 4, (0, 1, 2, 3)),
    ('first_half', 12, (0, 1, 2, 3, 4, 5)),
    ('second_half', 12, (6, 7, 8, 9, 10, 11)),
    ('odd', 12, (1, 3, 5, 7, 9, 11)),
    ('3,0,3', 4, (0, 3)),
  ],
)
def test_layers_are_named_or_listed(where, layers, wanted):
  assert mixing_layers(where, layers) == wanted


@pytest.mark.parametrize(
  ('where', 'says'),
  [
    ('even', "'even' of 4; expected one of all, first_half"),
    ('0,4', 'numbers from 0 to 3'),
    ('', 'expected one of'),
    ('-1', 'expected one of'),
  ],
)
def test_layers_that_are_not_there_are_refused(where, says):
  with pytest.raises(InputError, match=says):
    mixing_layers(where, 4)
  with pytest.raises(InputError, match='in none'):
    mixing_layers('odd', 1)


def block_of(mixing=None, *, summary: bool = False, drop_path: float = 0.0):
  return MixingBlock(
    heads=4,
    hidden=32,
    mixing=mixing,
    summary=summary,
    qkv_bias=True,
    drop_path=drop_path,
    dtype=jnp.float32,
    kernel_init=jax.nn.initializers.normal(0.3),
  )


@functools.cache
def params():
  """Of a block of any kind, away from zero: mixing and summaries have none."""
  made = block_of().init(jax.random.key(0), normal(0, TOKENS), False)['params']
  rng = np.random.default_rng(3)
  shake = lambda x: np.float32(x + 0.1 * rng.normal(size=x.shape))
  return jax.tree.map(shake, made)


def mixing_of(window=1, boundary=False, share=0.5, **more):
  return Mixing(
    channel_moves(16, share=share, window=window, boundary=boundary), **more
  )


def seen(block) -> np.ndarray:
  """How much a patch of a middle frame depends on every token, [T, 1 + N].

  Only through keys and values, or through what they are made of: the residual
  and the query are those of the patch itself.
  """
  t, patch, weight_D = 3, 2, normal(1, (16,))
  variables = {'params': params()}

  def out(s):
    return block.apply(variables, s, False)[0, t, patch] @ weight_D

  grads = jax.jit(jax.grad(out))(jnp.asarray(normal(0, TOKENS)))
  assert not grads[1].any()  # the other clip
  return abs(np.asarray(grads[0])).max(-1)


@pytest.mark.parametrize('what', ['key_value', 'key', 'value', 'x'])
@pytest.mark.parametrize(
  ('window', 'boundary', 'offsets'),
  [
    (0, False, [0]),
    (1, False, [-1, 0, 1]),
    (2, False, [-2, -1, 0, 1, 2]),
    (2, True, [-2, 0, 2]),
  ],
)
@pytest.mark.fast_every(16)
def test_a_layer_reaches_exactly_its_window(what, window, boundary, offsets):
  seen_TL = seen(block_of(mixing_of(window, boundary, what=what)))
  frames = [3 + offset for offset in offsets]
  # Every token of those frames, the class token too, and no other frame.
  assert (seen_TL[frames] > 1e-6).all()
  assert not np.delete(seen_TL, frames, axis=0).any()


def test_mixing_everything_leaves_the_own_frame_to_the_query_alone():
  seen_TL = seen(block_of(mixing_of(share=1.0)))
  assert (seen_TL[[2, 4]] > 1e-6).all()
  assert seen_TL[3, 2] > 1e-6
  assert not np.delete(seen_TL[3], 2).any()


def test_nothing_crosses_a_segment():
  seen_TL = seen(block_of(mixing_of(segment=3)))  # frames 3, 4, 5
  assert (seen_TL[3:5] > 1e-6).all()
  assert not seen_TL[:3].any()
  assert not seen_TL[5].any()


def test_summary_tokens_show_the_patches_of_every_frame_and_no_class_token():
  seen_TL = seen(block_of(mixing_of(segment=3), summary=True))
  assert (seen_TL[:, 1:] > 1e-7).all()
  assert not seen_TL[[0, 1, 2, 5], 0].any()


@pytest.mark.parametrize('what', ['key_value', 'x'])
def test_summary_tokens_are_the_means_of_normalised_patches_never_mixed(what):
  s = jnp.asarray(normal(0, TOKENS))
  mixing = mixing_of(share=1.0, what=what)
  block = block_of(mixing, summary=True)
  _, kept = block.apply({'params': params()}, s, False, mutable='intermediates')
  p_BTALS = kept['intermediates']['attn']['weights'][0]
  assert p_BTALS.shape == (2, 6, 4, 4, 4 + 6)
  norm = params()['attn_norm']
  n = (s - s.mean(-1, keepdims=True)) / jnp.sqrt(
    s.var(-1, keepdims=True) + 1e-6
  )
  n = n * norm['scale'] + norm['bias']
  qkv = params()['attn']['qkv']
  kernel, bias = qkv['kernel'], qkv['bias']
  of = lambda x, i: jnp.einsum('...D,DAd->...Ad', x, kernel[:, i]) + bias[i]
  query, key = of(mixing.tokens(n), 0), of(n[:, :, 1:].mean(2), 1)
  scores = jnp.einsum('btlad,buad->btalu', query, key)
  ratio = jnp.exp((scores[..., :1] - scores[..., 1:]) / 2)  # sqrt(d) is 2
  got = p_BTALS[..., 4:5] / p_BTALS[..., 5:]
  np.testing.assert_allclose(got, ratio, rtol=1e-3)


def test_keys_beyond_the_clip_are_zeros_that_take_part_in_the_softmax():
  # All channels from the next frame: the last one looks at zeros only.
  block = block_of(Mixing(((1, 16),)))
  s = jnp.asarray(normal(0, TOKENS))
  _, kept = block.apply({'params': params()}, s, False, mutable='intermediates')
  p_BTALS = kept['intermediates']['attn']['weights'][0]
  np.testing.assert_allclose(p_BTALS[:, -1], 0.25, atol=1e-6)
  assert abs(p_BTALS[:, 0] - 0.25).max() > 0.01
  # Its values are zeros too: the attention adds its last bias, nothing else.
  muted = jax.tree.map(lambda x: x, params())
  muted['mlp']['down'] = jax.tree.map(jnp.zeros_like, muted['mlp']['down'])
  more = block.apply({'params': muted}, s, False) - s
  bias_D = jnp.broadcast_to(muted['attn']['out']['bias'], more[:, -1].shape)
  np.testing.assert_allclose(more[:, -1], bias_D, atol=1e-5)
  assert abs(more[:, 0] - bias_D).max() > 1e-2


def test_without_mixing_it_is_the_block_of_an_image_vit_on_every_frame():
  s = jnp.asarray(normal(0, TOKENS))
  image = TransformerBlock(heads=4, hidden=32)
  wanted = image.apply({'params': params()}, s[:, 3], False)
  for mixing in (None, mixing_of(share=0.0), mixing_of(window=0)):
    got = block_of(mixing).apply({'params': params()}, s, False)
    np.testing.assert_allclose(got[:, 3], wanted, atol=1e-5)


def test_drop_path_drops_the_branches_of_single_frames():
  s = jnp.asarray(normal(0, (32, 6, 4, 16)))
  block = block_of(drop_path=0.5)
  run = jax.jit(functools.partial(block.apply, train=True))
  out = run({'params': params()}, s, rngs={'drop_path': jax.random.key(1)})
  same_BT = (out == s).all((2, 3))  # both branches gone
  assert 0.15 < same_BT.mean() < 0.35
  assert not (same_BT == same_BT[:, :1]).all()
  kept = block_of().apply({'params': params()}, s, False)
  assert abs(out - kept).max() > 1e-2
