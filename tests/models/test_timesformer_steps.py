"""Attention schemes: who sees whom, and that sparse ones are masked dense ones.

Grids have odd sizes, since even ones hide what a group's filling may do.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models import timesformer
from vidmodels.models.timesformer import AttentionStep, SpaceTimeBlock, StepSpec
from vidmodels.nn.initializers import FRESH

GRID = (2, 3, 4, 5, 16)  # B, T, H, W, D of patches
FRAME, ROW, COLUMN = 2, 1, 3  # no corner: a reshape for a transpose keeps those
ODD = (2, 5, 7, 9, 16)  # a window of 3 x 5
EVEN = (2, 4, 6, 8, 16)
SPARSE = ('window', 'quadrant', 'phase', 'lattice')


def normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
  draw = np.random.default_rng(seed).normal(size=shape)
  return draw.astype(np.float32)


def start(module, *args):
  """Parameters of a module away from zero, so that no path is closed."""
  init = functools.partial(module.init, train=False)
  rng = np.random.default_rng(9)

  def draw(path, leaf):
    middle = 1.0 if path[-1].key == 'scale' else 0.0
    return np.float32(middle + 0.2 * rng.normal(size=leaf.shape))

  abstract = jax.eval_shape(init, jax.random.key(0), *args)['params']
  return jax.tree_util.tree_map_with_path(draw, abstract)


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, cls_BTD, h_BTHWD):
  """What a step or a block returns, not training."""
  return module.apply({'params': params}, cls_BTD, h_BTHWD, False)


def step_of(
  look: StepSpec,
  drop_path: float = 0.0,
  *,
  class_key: bool = False,
  class_copies: bool = True,
):
  return AttentionStep(
    look=look,
    class_key=class_key,
    class_copies=class_copies,
    fresh=FRESH['image'],
    heads=2,
    qkv_bias=True,
    qk_scale=0.0,
    epsilon=1e-6,
    drop_path=drop_path,
    dtype=jnp.float32,
  )


def block_of(scheme: str, drop_path: float = 0.0, **fields) -> SpaceTimeBlock:
  return SpaceTimeBlock(
    steps=timesformer.attention_steps(scheme, **fields),
    parallel=scheme == 'parallel',
    class_key=False,
    class_copies=True,
    fresh=FRESH['image'],
    heads=2,
    hidden=32,
    qkv_bias=True,
    qk_scale=0.0,
    epsilon=1e-6,
    drop_path=drop_path,
    dtype=jnp.float32,
  )


def seen(
  module, shape=GRID, place=(FRAME, ROW, COLUMN), *, frames: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """How much one patch of what a module returns depends on each it was given.

  Returns:
    [T, H, W] of patches and [frames] of class tokens, of the first clip; the
    other clip must not count.
  """
  cls, h = gradient(module, shape, frames)(np.asarray(place))
  assert not cls[1].any()
  assert not h[1].any()
  return abs(np.asarray(h[0])).max(-1), abs(np.asarray(cls[0])).max(-1)


@functools.cache
def gradient(module, shape, frames: int):
  """From a place to the gradient of the patch there, compiled once."""
  cls_BTD, h_BTHWD = normal(1, (2, frames, 16)), normal(0, shape)
  variables = {'params': start(module, cls_BTD, h_BTHWD)}

  def out(cls_BTD, h_BTHWD, place):
    _, h_BTHWD = module.apply(variables, cls_BTD, h_BTHWD, False)
    return (h_BTHWD[0][tuple(place)] * normal(2, (16,))).sum()

  grad = jax.jit(jax.grad(out, argnums=(0, 1)))
  return functools.partial(grad, cls_BTD, h_BTHWD)


def seen_by_class(module, shape=GRID) -> np.ndarray:
  """How much the clip's class token depends on each patch, [T, H, W]."""
  cls_BTD, h_BTHWD = normal(1, (2, 1, 16)), normal(0, shape)
  params = start(module, cls_BTD, h_BTHWD)

  def out(h_BTHWD):
    cls, _ = apply(module, params, cls_BTD, h_BTHWD)
    return (cls[0] * normal(2, (16,))).sum()

  return abs(np.asarray(jax.jit(jax.grad(out))(h_BTHWD)[0])).max(-1)


TIME, SPACE, JOINT = (
  timesformer.TIME,
  timesformer.SPACE,
  StepSpec('joint', 'THW'),
)


def test_time_attention_follows_one_patch_through_the_clip():
  h_THW, cls_T = seen(step_of(TIME))
  assert (h_THW[:, ROW, COLUMN] > 1e-4).all()  # every frame, at this patch
  h_THW[:, ROW, COLUMN] = 0
  assert (h_THW == 0).all()  # and no other patch
  assert (cls_T == 0).all()  # nor the class token, against the paper's Eq. 11


def test_the_class_token_is_a_key_in_time_if_asked_for_and_asks_nothing():
  step = step_of(TIME, class_key=True)
  h_THW, cls_T = seen(step)
  assert cls_T[0] > 1e-4
  assert (h_THW[:, ROW, COLUMN] > 1e-4).all()
  h_THW[:, ROW, COLUMN] = 0
  assert (h_THW == 0).all()
  assert (seen_by_class(step) == 0).all()


def test_time_attention_with_the_class_token_is_eq_11():
  cls_BTD, h_BTHWD = normal(1, (2, 1, 16)), normal(0, GRID)
  step, plain = step_of(TIME, class_key=True), step_of(JOINT)
  params = start(step, cls_BTD, h_BTHWD)
  _, more = apply(step, params, cls_BTD, h_BTHWD)
  # One tube alone, as a clip of one patch a frame, in joint attention.
  tube = h_BTHWD[:, :, ROW : ROW + 1, COLUMN : COLUMN + 1]
  fc = params.pop('fc')
  _, alone = apply(plain, params, cls_BTD, tube)
  wanted = alone[:, :, 0, 0] @ fc['kernel'] + fc['bias']
  np.testing.assert_allclose(more[:, :, ROW, COLUMN], wanted, atol=2e-5)


@pytest.mark.parametrize('frames', [1, GRID[1]])
def test_space_attention_stays_in_its_frame(frames):
  h_THW, cls_T = seen(step_of(SPACE), frames=frames)
  assert (h_THW[FRAME] > 1e-4).all()
  assert (np.delete(h_THW, FRAME, axis=0) == 0).all()
  own = FRAME if frames > 1 else 0  # its own frame's class token
  assert cls_T[own] > 1e-4
  assert (np.delete(cls_T, own) == 0).all()


def test_joint_attention_sees_the_whole_clip_and_its_class_token():
  h_THW, cls_T = seen(step_of(JOINT))
  assert (h_THW > 1e-4).all()
  assert (cls_T > 1e-4).all()


@pytest.mark.parametrize('axis', ['W', 'H'])
def test_axial_attention_sees_its_row_or_its_column_of_its_frame(axis):
  step = step_of(StepSpec('width', axis, 'fresh'))
  h_THW, cls_T = seen(step)
  line = np.zeros(GRID[1:4], bool)
  line[(FRAME, ROW) if axis == 'W' else (FRAME, slice(None), COLUMN)] = True
  assert (h_THW[line] > 1e-4).all()
  assert (h_THW[~line] == 0).all()
  assert cls_T[0] > 1e-4
  assert (seen_by_class(step) > 1e-5).all()  # its copies see every line


def near(kind: str, shape, place) -> np.ndarray:
  """Whom a patch should see by the definition of a sparse step, [T, H, W]."""
  _, T, H, W, _ = shape
  t, y, x = np.indices((T, H, W))
  if kind == 'window':  # 7 x 7 of 14 x 14
    return (abs(y - place[1]) <= H // 4) & (abs(x - place[2]) <= W // 4)
  if kind == 'quadrant':  # with odd sizes the first half is the larger one
    top, left = -(-H // 2), -(-W // 2)
    same_row = (y < top) == (place[1] < top)
    return same_row & ((x < left) == (place[2] < left))
  offset = place if kind == 'phase' else (0, 0, 0)
  return np.logical_and.reduce(
    [(i - o) % 2 == 0 for i, o in zip((t, y, x), offset, strict=True)]
  )


PLACES = [(2, 1, 3), (1, 3, 4), (0, 0, 0), (3, 5, 7)]


@pytest.mark.parametrize('shape', [ODD, EVEN], ids=['odd', 'even'])
@pytest.mark.parametrize('kind', SPARSE)
@pytest.mark.fast_every(4)
def test_a_sparse_step_sees_whom_its_definition_says(kind, shape):
  for place in PLACES:
    h_THW, cls_T = seen(step_of(StepSpec('s', 'THW', '', kind)), shape, place)
    wanted = near(kind, shape, place)
    assert (h_THW[wanted] > 1e-5).all(), place
    # A lattice leaves the queries to everyone: a patch depends on itself.
    wanted[place] = True
    assert (h_THW[~wanted] == 0).all(), place
    assert cls_T[0] > 1e-5


def test_the_window_of_the_papers_grid_is_half_of_it():
  look = StepSpec('s', 'THW', '', 'window')
  counts = np.asarray(timesformer.near_mask((1, 14, 14), look))[1:, 1:].sum(-1)
  assert counts.reshape(14, 14)[7, 6] == 49
  assert counts.reshape(14, 14)[0, 0] == 16  # cut off at the corner
  halves = [2 * (size // 4) + 1 for size in range(2, 40)]
  far = [
    abs(w - size / 2) for w, size in zip(halves, range(2, 40), strict=True)
  ]
  assert max(far) <= 1  # the odd number next to half


@pytest.mark.parametrize('kind', SPARSE)
def test_the_class_token_sees_all_that_a_sparse_step_has_keys_of(kind):
  h_THW = seen_by_class(step_of(StepSpec('s', 'THW', '', kind)), ODD)
  keys = near(kind, ODD, (0, 0, 0)) if kind == 'lattice' else h_THW >= 0
  assert (h_THW[keys] > 1e-6).all()
  assert (h_THW[~keys] == 0).all()


@pytest.mark.parametrize('shape', [ODD, EVEN], ids=['odd', 'even'])
@pytest.mark.parametrize('kind', SPARSE)
@pytest.mark.fast_every(4)
def test_a_sparse_step_is_joint_attention_with_a_mask(kind, shape):
  cls_BTD, h_BTHWD = normal(1, (2, 1, 16)), normal(0, shape)
  step = step_of(StepSpec('s', 'THW', '', kind))
  params = start(step, cls_BTD, h_BTHWD)
  cls, h = apply(step, params, cls_BTD, h_BTHWD)
  N = np.prod(shape[1:4])
  mask = np.ones((1 + N, 1 + N), bool)
  for i, place in enumerate(np.ndindex(*shape[1:4])):
    mask[1 + i, 1:] = near(kind, shape, place).ravel()
  if kind == 'lattice':
    mask[0, 1:] = mask[1, 1:]
  norm, attn = timesformer.LayerNorm(1e-6), timesformer.Attention(2)
  s_BLD = norm.apply(
    {'params': params['norm']},
    timesformer.lead_with_class(cls_BTD, h_BTHWD, 'THW'),
  )
  run = functools.partial(jax.jit(attn.apply), {'params': params['attn']})
  dense = run(s_BLD, None, mask)
  np.testing.assert_allclose(h, dense[:, 1:].reshape(h_BTHWD.shape), atol=2e-5)
  # The class token has a copy a group, and takes the copies' mean.
  groups = [mask[0]]
  if kind in timesformer.CUTS:
    groups = [np.r_[True, row] for row in np.unique(mask[1:, 1:], axis=0)]
  means = np.mean([run(s_BLD, None, row[None])[:, 0] for row in groups], axis=0)
  np.testing.assert_allclose(cls[:, 0], means, atol=2e-5)


def masked(step, params, mask, cls_BTD, h_BTHWD):
  """A step as joint attention of all tokens, with a mask: the reference."""
  s_BLD = timesformer.lead_with_class(cls_BTD, h_BTHWD, 'THW')
  s_BLD = timesformer.LayerNorm(1e-6).apply({'params': params['norm']}, s_BLD)
  attn = timesformer.Attention(step.heads)
  y_BLD = attn.apply({'params': params['attn']}, s_BLD, None, mask > 0)
  if 'fc' in params:
    y_BLD = y_BLD @ params['fc']['kernel'] + params['fc']['bias']
  return timesformer.split_class(y_BLD, cls_BTD, h_BTHWD, 'THW')


def mask_of(look: StepSpec, shape) -> np.ndarray:
  """Which tokens a token looks at, the class token at all."""
  N = np.prod(shape[1:4])
  mask = np.ones((1 + N, 1 + N), bool)
  for i, place in enumerate(np.ndindex(*shape[1:4])):
    if look.near:
      seen_THW = near(look.near, shape, place)
    else:
      at = np.indices(shape[1:4])
      others = [a for a in range(3) if 'THW'[a] not in look.axes]
      seen_THW = np.all([at[a] == place[a] for a in others], axis=0)
    mask[1 + i, 1:] = seen_THW.ravel()
  return mask


APART = {
  'window': StepSpec('s', 'THW', 'fresh', 'window'),
  'frame': SPACE,
  'row': StepSpec('s', 'W', 'fresh'),
  'column': StepSpec('s', 'H'),
  'quadrant': StepSpec('s', 'THW', '', 'quadrant'),
  'phase': StepSpec('s', 'THW', '', 'phase'),
}
CASES = [
  *((name, ODD) for name in APART),
  # Windows of 7 and 5 places in blocks of 2, of 3 and 1 in blocks of 1.
  *(
    ('window', s) for s in ((1, 2, 14, 9, 4), (1, 3, 5, 2, 4), (2, 1, 1, 1, 4))
  ),
]


@functools.partial(jax.jit, static_argnums=0)
def gradients(run, weights, *args):
  """The gradients of a step's answer, and the answer."""

  def total(args):
    made = run(*args)
    return sum((m * w).sum() for m, w in zip(made, weights, strict=True)), made

  return jax.grad(total, has_aux=True)(args)


def masked_step(params, cls_BTD, h_BTHWD, mask):
  return masked(step_of(SPACE), params, mask, cls_BTD, h_BTHWD)


@pytest.mark.parametrize(('name', 'shape'), CASES)
@pytest.mark.fast_every(4)
def test_one_class_token_and_windows_are_a_mask_gradients_too(name, shape):
  look, weights = APART[name], (normal(5, (shape[0], 1, shape[-1])),)
  weights += (normal(6, shape),)
  tokens = normal(1, weights[0].shape), normal(0, shape)
  step = step_of(look, class_copies=False)
  params, mask = start(step, *tokens), mask_of(look, shape)
  run = lambda params, *tokens: step.apply({'params': params}, *tokens, False)
  grads, got = gradients(run, weights, params, *tokens)
  (*by_mask, _), wanted = gradients(
    masked_step, weights, params, *tokens, mask.astype(np.float32)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
    (grads, got),
    (tuple(by_mask), wanted),
  )


@pytest.mark.parametrize('name', ['window', 'phase'])
def test_weights_on_request_are_those_of_the_whole_clip(name):
  look, shape = APART[name], (1, 2, 5, 4, 4)
  tokens = normal(1, (1, 1, 4)), normal(0, shape)
  step = step_of(look, class_copies=False)
  params, mask = start(step, *tokens), mask_of(look, shape)
  _, kept = step.apply(
    {'params': params}, *tokens, False, mutable='intermediates'
  )
  p_BAQS = np.asarray(kept['intermediates']['attn']['weights'][0])
  assert (p_BAQS[:, :, ~mask] == 0).all()
  assert (p_BAQS[:, :, mask] > 0).all()


@pytest.mark.parametrize('size', range(1, 40))
def test_blocks_of_a_window_ask_of_every_place_and_see_all_that_is_near(size):
  queries, keys, near = timesformer.window_blocks(size)
  assert queries.ravel()[:size].tolist() == list(range(size))
  seen = np.zeros((size, size), int)
  for q, k, n in zip(queries, keys, near, strict=True):
    assert len(set(k)) == len(k)
    assert 0 <= k.min() <= k.max() < size
    seen[q] = 0  # a place that was repeated to fill the last block
    np.add.at(seen, np.ix_(q[:1], k), n[:1])
    for i in range(1, len(q)):
      if q[i] != q[i - 1]:
        np.add.at(seen, np.ix_(q[i : i + 1], k), n[i : i + 1])
  at = np.arange(size)
  np.testing.assert_array_equal(seen, abs(at[:, None] - at) <= size // 4)


@pytest.mark.parametrize('kind', SPARSE[:3])
def test_on_frames_of_one_patch_and_one_frame_a_sparse_step_is_joint(kind):
  shape = (2, 5, 1, 1, 16) if kind != 'phase' else (2, 1, 1, 1, 16)
  cls_BTD, h_BTHWD = normal(1, (2, 1, 16)), normal(0, shape)
  sparse, joint = step_of(StepSpec('s', 'THW', '', kind)), step_of(JOINT)
  params = start(joint, cls_BTD, h_BTHWD)
  wanted = apply(joint, params, cls_BTD, h_BTHWD)
  got = apply(sparse, params, cls_BTD, h_BTHWD)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, wanted
  )


@pytest.mark.parametrize('strided', [False, True])
@pytest.mark.parametrize('axes', ['HW', 'THW', 'W'])
@pytest.mark.parametrize('shape', [ODD, EVEN, (2, 1, 3, 1, 4)])
@pytest.mark.fast_every(8)
def test_cutting_a_grid_is_undone(shape, axes, strided):
  h_BTHWD, cls_BTD = normal(0, shape), normal(1, (2, 1, shape[-1]))
  s_BxLD = timesformer.groups_with_class(cls_BTD, h_BTHWD, axes, strided)
  cls, h = timesformer.split_groups(s_BxLD, shape, axes, strided)
  np.testing.assert_array_equal(h, h_BTHWD)
  np.testing.assert_allclose(cls, cls_BTD, atol=1e-6)
  real = np.asarray(timesformer.real_keys(shape, axes, strided))[:, 0]
  assert real[:, 0].all()
  assert real[:, 1:].sum() == np.prod(shape[1:4])
  assert real[:, 1:].any(1).all()  # no group is empty
  kept = np.asarray(s_BxLD)[:, real]
  assert np.abs(np.asarray(s_BxLD)[:, ~real]).sum() == 0
  assert np.abs(kept).min() > 0


SEES_ALL = ['divided', 'space_time', 'joint', 'local_global', 'axial']


@pytest.mark.parametrize('scheme', SEES_ALL)
@pytest.mark.fast_every(3)
def test_a_block_of_steps_one_after_the_other_sees_the_whole_clip(scheme):
  if scheme == 'local_global':  # one block reaches every phase of every column
    h_THW, _ = seen(block_of(scheme), ODD)
  else:
    h_THW, _ = seen(block_of(scheme))
  assert (h_THW > 1e-6).all()


def test_steps_side_by_side_see_a_cross_and_no_crossings():
  h_THW, _ = seen(block_of('parallel'))
  cross = np.zeros(GRID[1:4], bool)
  cross[FRAME], cross[:, ROW, COLUMN] = True, True
  assert (h_THW[cross] > 1e-5).all()
  assert (h_THW[~cross] == 0).all()


def block_without_perceptron(scheme: str):
  """A block whose perceptron adds nothing, its parameters, and its input."""
  block = block_of(scheme)
  tokens = normal(1, (2, 1, 16)), normal(0, GRID)
  params = start(block, *tokens)
  for value in params['mlp']['down'].values():
    value[:] = 0
  return block, params, tokens


@pytest.mark.parametrize(
  ('scheme', 'order'),
  [('divided', (TIME, SPACE)), ('space_time', (SPACE, TIME))],
)
def test_the_later_step_reads_what_the_earlier_one_made(scheme, order):
  block, params, (cls, h) = block_without_perceptron(scheme)
  got = apply(block, params, cls, h)
  for look in order:
    more_cls, more_h = apply(step_of(look), params[look.name], cls, h)
    cls, h = cls + more_cls, h + more_h
  np.testing.assert_allclose(got[0], cls, atol=1e-5)
  np.testing.assert_allclose(got[1], h, atol=1e-5)


def test_steps_side_by_side_read_the_same_and_are_added():
  block, params, (cls, h) = block_without_perceptron('parallel')
  got = apply(block, params, cls, h)
  more = [
    apply(step_of(look), params[look.name], cls, h) for look in (TIME, SPACE)
  ]
  np.testing.assert_allclose(got[0], cls + more[1][0], atol=1e-5)
  np.testing.assert_allclose(got[1], h + more[0][1] + more[1][1], atol=1e-5)


@pytest.mark.parametrize(
  ('order', 'plain'),
  [('twh', 'h'), ('thw', 'w'), ('wht', 'h'), ('hwt', 'w'), ('wth', 'h')],
)
def test_the_last_axis_of_space_alone_has_no_second_projection(order, plain):
  looks = timesformer.attention_steps(
    'axial', axial_order=order, axial_identity=True
  )
  assert [look.axes.lower() for look in looks] == list(order)
  kinds = {look.axes.lower(): look.fc for look in looks}
  other = 'w' if plain == 'h' else 'h'
  assert kinds == {'t': 'fresh', plain: '', other: 'identity'}


def test_the_class_token_takes_the_mean_of_what_its_copies_saw():
  step, cls_BTD = step_of(SPACE), normal(1, (1, 1, 16))
  h_BTHWD = normal(0, (1, *GRID[1:]))
  variables = {'params': start(step, cls_BTD, h_BTHWD)}
  run = jax.jit(functools.partial(step.apply, variables, train=False))
  whole, _ = run(cls_BTD, h_BTHWD)
  alone = [run(cls_BTD, h_BTHWD[:, t : t + 1])[0] for t in range(GRID[1])]
  np.testing.assert_allclose(whole, sum(alone) / GRID[1], atol=1e-5)


def dropped(module, shape=GRID, frames: int = 1):
  """What a step adds to class tokens and patches of many clips, training."""
  cls_BTD, h_BTHWD = normal(1, (64, frames, 16)), normal(0, (64, *shape[1:]))
  variables = {'params': start(module, cls_BTD, h_BTHWD)}
  run = jax.jit(functools.partial(module.apply, train=True))
  rngs = {'drop_path': jax.random.key(5)}
  cls, h = run(variables, cls_BTD, h_BTHWD, rngs=rngs)
  return variables['params'], cls, h


def test_time_drops_whole_tubes_and_still_adds_the_last_bias():
  params, _, more = dropped(step_of(TIME, drop_path=0.5))
  # The projection comes after drop path: a dropped branch is its bias.
  gone = np.isclose(more, params['fc']['bias'], atol=1e-5).all(-1)  # [B,T,H,W]
  assert (gone == gone[:, :1]).all()
  tubes = gone[:, 0]
  assert 0.45 < tubes.mean() < 0.55
  assert not (tubes == tubes[:, :1, :1]).all(axis=(1, 2)).all()


def test_space_drops_frames_and_their_share_of_the_class_token():
  _, cls, more = dropped(step_of(SPACE, drop_path=0.5), frames=GRID[1])
  gone = np.isclose(more, 0, atol=1e-6).all(-1)
  assert (gone == gone[:, :, :1, :1]).all()
  frames = gone[:, :, 0, 0]
  assert 0.38 < frames.mean() < 0.62
  np.testing.assert_array_equal(frames, np.isclose(cls, 0, atol=1e-6).all(-1))


def test_a_sparse_step_drops_whole_groups():
  look = StepSpec('s', 'THW', '', 'quadrant')
  _, _, more = dropped(step_of(look, drop_path=0.5))
  gone = np.isclose(more, 0, atol=1e-6).all(-1)
  for rows in (slice(0, 2), slice(2, 4)):
    for columns in (slice(0, 3), slice(3, 5)):
      group = gone[:, :, rows, columns].reshape(64, -1)
      assert (group == group[:, :1]).all()
      assert 0.3 < group.mean() < 0.7


@pytest.mark.parametrize(('scheme', 'frames'), [('joint', 1), ('space', 3)])
@pytest.mark.fast_every(3)
def test_the_perceptron_drops_what_the_class_token_is_for(scheme, frames):
  # Attention closed: what is left is the perceptron.
  block = block_of(scheme, drop_path=0.5)
  cls_BTD, h_BTHWD = normal(1, (64, frames, 16)), normal(0, (64, *GRID[1:]))
  params = start(block, cls_BTD, h_BTHWD)
  for value in params[scheme]['attn']['out'].values():
    value[:] = 0
  run = jax.jit(functools.partial(block.apply, train=True))
  rngs = {'drop_path': jax.random.key(5)}
  cls, h = run({'params': params}, cls_BTD, h_BTHWD, rngs=rngs)
  gone = np.isclose(h, h_BTHWD, atol=1e-6).all(-1).all(axis=(2, 3))  # [B, T]
  none = ~np.isclose(h, h_BTHWD, atol=1e-6).all(-1).any(axis=(2, 3))
  assert (gone | none).all()  # a frame is dropped whole or not at all
  class_gone = np.isclose(cls, cls_BTD, atol=1e-6).all(-1)  # [B, frames]
  np.testing.assert_array_equal(gone, np.broadcast_to(class_gone, gone.shape))
  assert 0.3 < gone.mean() < 0.7
