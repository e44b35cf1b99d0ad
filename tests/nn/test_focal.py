"""Focal modulation: its equations, and what each modulator can see."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.nn.focal import Modulation, Modulator, TimeConv
from vidmodels.typing import InputError

GRID = (2, 6, 8, 9, 4)  # B, T, H, W, D
AT = (3, 4, 5)  # frame, row, column: no corner


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


def start(module, h_BTHWD) -> dict:
  """Parameters away from zero, so that no path is closed."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), h_BTHWD)['params']
  seeds = itertools.count(5)
  return jax.tree.map(lambda x: 0.5 * normal(next(seeds), x.shape), shapes)


def apply(module, params: dict, h_BTHWD) -> jax.Array:
  return jax.jit(module.apply)({'params': params}, h_BTHWD)


def gelu(x: np.ndarray) -> np.ndarray:
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def linear(params: dict, h: np.ndarray) -> np.ndarray:
  return h @ params['kernel'] + params['bias']


def convolve(h: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """Any odd window over T, H and W with zeros around, tap by tap.

  The kernel is [k, D, D] over time or [k, k, 1, D] over space.
  """
  dense = kernel.ndim == 3
  t, y, x = (len(kernel), 1, 1) if dense else (1, *kernel.shape[:2])
  pads = [(0, 0), *((k // 2, k // 2) for k in (t, y, x)), (0, 0)]
  padded, (_, T, H, W, _) = np.pad(h, pads), h.shape
  total = np.zeros(h.shape)
  for a, b, c in np.ndindex(t, y, x):
    part = padded[:, a : a + T, b : b + H, c : c + W]
    total += part @ kernel[a] if dense else part * kernel[b, c, 0]
  return total


def modulator(
  params: dict,
  h: np.ndarray,
  axes: str,
  normalize: bool,
  *,
  context_gelu: bool = True,
  frame_gates: bool = False,
):
  """Eqs. 5 to 8 and Algorithm 1, written down once more."""
  gated = h.mean((2, 3), keepdims=True) if frame_gates else h
  z, gate = linear(params['context'], h), linear(params['gate'], gated)
  levels = gate.shape[-1] - 1
  total = np.zeros(h.shape)
  for level in range(levels):
    if 'H' in axes:
      z = convolve(z, params[f'depthwise_{level}']['kernel'])
    if 'T' in axes:
      z = convolve(z, params[f'time_conv_{level}']['kernel'])
    z = gelu(z)
    total += z * gate[..., level, None]
  over = tuple('BTHWD'.index(a) for a in axes)
  whole = z.mean(over, keepdims=True)
  whole = gelu(whole) if context_gelu else whole
  total += whole * gate[..., levels, None]
  return linear(params['out'], total / (levels + 1 if normalize else 1))


@pytest.mark.parametrize(
  ('fusion', 'levels', 'normalize', 'norm'),
  [
    ('multiplication', 2, False, False),
    ('multiplication', 3, True, True),
    ('average', 1, False, False),
    ('projection', 2, False, False),
  ],
)
@pytest.mark.fast_every(2)
def test_parallel_modulation_is_the_equations(fusion, levels, normalize, norm):
  module = Modulation(
    ('HW', 'T'), levels, 3, fusion=fusion, normalize=normalize, norm=norm
  )
  h = normal(0, GRID)
  params = start(module, h)
  wide = jax.tree.map(np.float64, params)
  space = modulator(wide['space'], h, 'HW', normalize)
  time = modulator(wide['time'], h, 'T', normalize)
  y = (
    linear(wide['query'], h)
    * {
      'multiplication': space * time,
      'average': (space + time) / 2,
      'projection': (
        linear(wide['fuse'], np.concatenate([space, time], -1))
        if fusion == 'projection'
        else None
      ),
    }[fusion]
  )
  if norm:
    middle = y - y.mean(-1, keepdims=True)
    y = middle / np.sqrt((middle**2).mean(-1, keepdims=True) + 1e-5)
    y = y * wide['norm']['scale'] + wide['norm']['bias']
  wanted = linear(wide['out'], y)
  got = apply(module, params, h)
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


@pytest.mark.parametrize(
  'reading',
  [
    {'temporal_conv': 'pointwise'},
    {'context_gelu': False},
    {'frame_gates': True},
    {'temporal_conv': 'pointwise', 'context_gelu': False, 'frame_gates': True},
  ],
  ids=str,
)
@pytest.mark.fast_every(4)
def test_the_papers_readings_are_eqs_6_to_8_as_printed(reading):
  module, h = Modulator('T', 2, 3, **reading), normal(0, GRID)
  params = start(module, h)
  taps = [len(params[f'time_conv_{level}']['kernel']) for level in range(2)]
  assert taps == ([1, 1] if 'temporal_conv' in reading else [3, 5])
  wide = jax.tree.map(np.float64, params)
  given = {k: v for k, v in reading.items() if k != 'temporal_conv'}
  wanted = modulator(wide, h, 'T', normalize=False, **given)
  got = apply(module, params, h)
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * abs(wanted).max())
  released = Modulator('T', 2, 3, temporal_conv=module.temporal_conv)
  moved = abs(apply(released, params, h) - got).max() > 1e-2
  assert moved == bool(given)


def test_only_the_modulator_over_time_has_gates_of_frames():
  h = normal(0, GRID)
  module = Modulation(('HW', 'T'), 1, 3, frame_gates=True)
  _, kept = module.apply(
    {'params': start(module, h)}, h, mutable='intermediates'
  )
  gates = {k: kept['intermediates'][k]['gates'][0] for k in ('space', 'time')}
  assert gates['space'].shape == (*GRID[:-1], 2)
  assert gates['time'].shape == (*GRID[:2], 1, 1, 2)


def test_a_volume_modulator_convolves_over_space_and_then_over_time():
  module, h = Modulation(('THW',), 2, 3), normal(0, GRID)
  params = start(module, h)
  wide = jax.tree.map(np.float64, params)
  volume = modulator(wide['volume'], h, 'THW', normalize=False)
  wanted = linear(wide['out'], linear(wide['query'], h) * volume)
  got = apply(module, params, h)
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


def seen(module, gates: str = 'all') -> np.ndarray:
  """How much one token's modulator depends on each token, [T, H, W]."""
  h = normal(0, GRID)
  params = start(module, h)
  # Gates that do not follow their token: context alone is left.
  params['gate']['kernel'][:] = 0
  open_gates = {'all': slice(None), 'levels': slice(0, -1), 'last': -1}[gates]
  params['gate']['bias'][:] = 0
  params['gate']['bias'][open_gates] = 1

  def out(h):
    m_BTHWD = module.apply({'params': params}, h)
    return (m_BTHWD[(0, *AT)] * normal(2, GRID[-1:])).sum()

  grad = np.abs(jax.jit(jax.grad(out))(h)).max(-1)
  assert not grad[1].any()  # the other clip
  return grad[0]


def around(radius: int | None, frames: int | None) -> np.ndarray:
  """Tokens at most so far away; None for the whole axis."""
  t, y, x = (abs(np.arange(size) - at) for size, at in zip(GRID[1:], AT))  # noqa: B905
  rows = y[:, None] <= (99 if radius is None else radius)
  columns = x <= (99 if radius is None else radius)
  near = t <= (99 if frames is None else frames)
  return near[:, None, None] & rows & columns


@pytest.mark.parametrize(
  ('axes', 'gates', 'more', 'radius', 'frames'),
  [
    # Windows of 3 and 5, chained: three tokens each way.
    ('HW', 'levels', {}, 3, 0),
    ('HW', 'last', {}, None, 0),
    ('HW', 'all', {}, None, 0),
    ('T', 'levels', {'levels': 1}, 0, 1),
    ('T', 'levels', {}, 0, 3),
    ('T', 'levels', {'temporal_conv': 'depthwise'}, 0, 3),
    ('T', 'last', {'levels': 1}, 0, None),
    ('THW', 'levels', {}, 3, 3),
    ('THW', 'last', {}, None, None),
    # The mean of the own frame, of a map that saw one frame each way.
    ('THW', 'last', {'frame_context': True, 'levels': 1}, None, 1),
  ],
)
@pytest.mark.fast_every(3)
def test_a_modulator_sees_what_its_axes_and_gates_let_it(
  axes, gates, more, radius, frames
):
  fields = {'levels': 2, 'window': 3, 'depthwise': 'conv', **more}
  module = Modulator(axes=axes, **fields)
  got = seen(module, gates)
  near = around(radius, frames)
  assert (got[near] > 1e-6).all()
  assert (got[~near] == 0).all()


def test_gates_follow_their_token_and_their_stream():
  module, h = Modulation(('HW', 'T'), 2, 3), normal(0, GRID)
  params = start(module, h)
  keep = jax.jit(functools.partial(module.apply, mutable='intermediates'))
  _, kept = keep({'params': params}, h)
  kept = kept['intermediates']
  for stream in ('space', 'time'):
    (gates,) = kept[stream]['gates']
    np.testing.assert_allclose(
      gates, linear(params[stream]['gate'], h), atol=1e-5
    )
  # With the temporal gates closed, the temporal modulator is a constant and
  # the spatial one is as it was.
  params['time']['gate'] = jax.tree.map(np.zeros_like, params['time']['gate'])
  _, closed = keep({'params': params}, h)
  closed = closed['intermediates']
  bias_D = params['time']['out']['bias']
  (time,), (space,) = (closed[s]['modulator'] for s in ('time', 'space'))
  np.testing.assert_array_equal(time, np.broadcast_to(bias_D, GRID))
  np.testing.assert_array_equal(space, kept['space']['modulator'][0])


@pytest.mark.slow
def test_a_neutral_temporal_modulator_leaves_the_spatial_one_alone():
  h = normal(0, GRID)
  both = Modulation(('HW', 'T'), 2, 3, neutral=True)
  params = jax.jit(both.init)(jax.random.key(0), h)['params']
  alone = {name: part for name, part in params.items() if name != 'time'}
  wanted = apply(Modulation(('HW',), 2, 3), alone, h)
  np.testing.assert_array_equal(apply(both, params, h), wanted)
  assert params['space']['out']['kernel'].any()  # which is not neutral
  # And it has a gradient to leave that by.
  loss = lambda p: (both.apply({'params': p}, h) ** 2).sum()
  grad = jax.jit(jax.grad(loss))(params)
  assert np.abs(grad['time']['out']['kernel']).max() > 0


def test_fusions_meet_where_the_modulators_are_one():
  h = normal(0, GRID)
  average = Modulation(('HW', 'T'), 2, 3, fusion='average')
  projection = average.clone(fusion='projection')
  params = start(projection, h)
  space = {name: params[name] for name in ('query', 'space', 'out')}
  alone = apply(Modulation(('HW',), 2, 3), space, h)
  # The projection of the spatial half alone is design (a).
  D = GRID[-1]
  params['fuse']['kernel'] = np.eye(2 * D, D, dtype=np.float32)
  params['fuse']['bias'][:] = 0
  np.testing.assert_allclose(apply(projection, params, h), alone, atol=1e-4)
  # Half of each half is the average.
  params['fuse']['kernel'] = np.tile(np.eye(D, dtype=np.float32) / 2, (2, 1))
  fused = apply(projection, params, h)
  del params['fuse']
  got = apply(average, params, h)
  np.testing.assert_allclose(got, fused, atol=1e-4)
  assert abs(got - alone).max() > 1e-1


@pytest.mark.parametrize('T', [1, 2, 7])
def test_convolution_over_time_has_zeros_beyond_the_clip(T):
  module, h = TimeConv(5), normal(0, (2, T, 2, 3, 4))
  params = start(module, h)
  wanted = convolve(h, np.float64(params['kernel']))
  got = apply(module, params, h)
  np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_even_window_is_refused():
  with pytest.raises(InputError, match='window of 4; expected an odd'):
    jax.eval_shape(
      Modulation(('HW',), 2, 4).init, jax.random.key(0), normal(0, GRID)
    )


def test_convolutions_start_as_torchs_and_linear_layers_at_002():
  h = normal(0, (1, 1, 1, 1, 256))
  module = Modulation(('HW', 'T'), 1, 3, temporal_conv='dense')
  params = jax.jit(module.init)(jax.random.key(0), h)['params']
  bounds = {  # U(+-1 / sqrt(fan_in)), biases too
    ('space', 'depthwise_0', 'kernel'): 1 / 3,
    ('time', 'time_conv_0', 'kernel'): 1 / math.sqrt(3 * 256),
    ('space', 'out', 'kernel'): 1 / 16,
    ('space', 'out', 'bias'): 1 / 16,
    ('time', 'out', 'kernel'): 1 / 16,
    ('time', 'out', 'bias'): 1 / 16,
  }
  for (stream, layer, leaf), bound in bounds.items():
    draw = np.asarray(params[stream][layer][leaf])
    assert 0.95 * bound < abs(draw).max() <= bound
    assert abs(draw.std() - bound / math.sqrt(3)) < 0.08 * bound
  for layer in (
    params['query'],
    params['out'],
    params['space']['context'],
    params['time']['context'],
    params['time']['gate'],
  ):
    assert abs(float(jnp.std(layer['kernel'])) - 0.02) < 0.002
    assert not layer['bias'].any()
