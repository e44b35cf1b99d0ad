"""DualFormer: attention in 3-D windows, then to a pyramid (arXiv 2112.04674).

As released in sail-sg/dualformer, whose weights it runs. Where the paper says
otherwise:

* Its Table 1 pools at two scales in the first three stages and at one in the
  last. The release pools at two in the first two stages and at one in the
  third, and in the last looks at every token. `fine` and `coarse` give either.
* The coarse scale has a batch norm and a ReLU between its two convolutions, and
  the fine one is a single convolution that is not factorised (Eq. 3 does, and
  so does `factorised`).
* Fig. 4 draws a pyramid of three scales of one convolution each (`coarser`).
* A layer counts one attention and its perceptron, so the paper's "x 5" blocks
  of the tiny model's third stage are 10 layers.

Tokens live on a grid `h_BTHWD` throughout.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels.nn import dual, initializers, pyramid
from vidmodels.nn.depthwise import Implementation
from vidmodels.nn.linear import Dense, uniform_bias
from vidmodels.nn.transformer import LayerNorm
from vidmodels.nn.video_model import VideoModel
from vidmodels.typing import (
  BelowOne,
  Fraction,
  InputError,
  Positive,
  PositiveFloat,
  Remat,
)

Grid = tuple[Positive, Positive, Positive]  # along time, height, width
PEG = (3, 3, 3)  # Eq. 4's taps
FOUR = 4  # stages of the published models

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  *dual.SHARDING,
  (
    r'/(fine|coarse|coarser_\d+)(_space|_time|_rest)?/kernel$',
    (None,) * 4 + ('fsdp',),
  ),
  # [3, 3, 3, 1, D]: split, each of its 27 taps would be gathered by itself.
  (r'/peg/kernel$', ()),
  (r'/patch/kernel$', ()),  # 4 or 5 axes
  (r'/relative/table$', (None, None, None, 'tensor')),
  (r'/space_pos/table$', (None, None, 'fsdp')),  # [H, W, D]
  (r'/time_pos/table$', (None, 'fsdp')),  # [T, D]
  (r'^token_head/up/kernel$', ('fsdp', 'tensor')),
  (r'^token_head/(up_again|down)/kernel$', ('fsdp', None)),
)

# A model and a clip (frames, height, width) small enough to try things on.
TINY_CLIP = (4, 32, 48)
TINY = {
  'widths': (8, 16),
  'layers': (2, 3),
  'heads': (1, 2),
  'mlp_ratios': (2.0, 2.0),
  'patterns': ('LG', 'G'),
  'windows': ((2, 4, 4), (2, 2, 4)),
  'fine': ((2, 4, 4), (2, 2, 3)),
  'coarse': ((1, 1, 1), ()),
  'rates': (1,),
  'built': TINY_CLIP,
}
VARIANTS = (
  {'patterns': ('LL', 'LL'), 'fine': ((), ()), 'coarse': ((), ())},
  {'patterns': ('GG', 'LL'), 'windows': ((1, 1, 1), (2, 3, 4))},
  {'fine': ((), (2, 2, 2)), 'coarse': ((2, 2, 2), ())},
  {'coarse': ((), (2, 1, 1))},
  {'factorised': True, 'coarser': (((1, 2, 2), (1, 1, 1)), ((1, 1, 2),))},
  {'pooling': 'dense'},
  {'pooling': 'average', 'coarser': ((), ((1, 1, 1),))},
  {'position': 'none'},
  {'position': 'absolute'},
  {'position': 'relative'},
  {'rates': (2,), 'fine': ((2, 4, 4), (1, 2, 2))},
  {'patch_frames': 4, 'fine': ((1, 4, 4), (1, 2, 2))},
  {'token_head': True},
  {'qkv_bias': False, 'qk_scale': 0.5, 'epsilon': 1e-3},
  {'depthwise': 'conv'},
  {'fresh': 'scratch'},
  {'fresh': 'scratch', 'position': 'absolute'},
)


class TokenHead(nn.Module):
  """Scores every token by itself, for training with token labels.

  Three layers, of 2 D, 4 D and K units.

  Starts as torch's untouched linear layers.
  """

  classes: int  # K
  # chance that a hidden unit is dropped while training, before ReLU
  dropout: float
  dtype: Any  # dtype of the hidden layers; logits are float32

  @nn.compact
  def __call__(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    """Returns token_logits_BTHWK."""
    D = h_BTHWD.shape[-1]
    for name, units in (('up', 2 * D), ('up_again', 4 * D)):
      h_BTHWD = self._dense(h_BTHWD, units, self.dtype, name)
      h_BTHWD = nn.Dropout(self.dropout, deterministic=not train)(h_BTHWD)
      h_BTHWD = nn.relu(h_BTHWD)
    return self._dense(h_BTHWD, self.classes, jnp.float32, 'down')

  def _dense(self, h_xD: jax.Array, units: int, dtype: Any, name: str):
    draw = uniform_bias(h_xD.shape[-1])  # the same bounds as for the weight
    return Dense(
      units, dtype=dtype, kernel_init=draw, bias_init=draw, name=name
    )(h_xD)


PER_STAGE = (
  'layers',
  'heads',
  'mlp_ratios',
  'patterns',
  'windows',
  'fine',
  'coarse',
)

# Fields that only one kind of level reads, and the value of a stage that is the
# same as not setting them (None: only the default is).
UNREAD: dict[str, dict[str, Any]] = {
  'L': {'windows': (1, 1, 1)},
  'G': {
    'fine': (),
    'coarse': (),
    'coarser': (),
    'factorised': None,
    'pooling': None,
  },
}


def check_fields(model: nn.Module) -> None:
  """Raises InputError for fields of a model that contradict each other."""
  stages = len(model.widths)
  sizes = dict.fromkeys(PER_STAGE, stages) | {'rates': stages - 1}
  if model.coarser:
    sizes['coarser'] = stages
  dual.check_stages(model, sizes)
  for pattern, window in zip(model.patterns, model.windows, strict=True):
    _check_pattern(pattern, window)
  for pattern, scales in zip(model.patterns, model.coarser, strict=False):
    if scales and 'G' not in pattern:
      raise InputError(
        f'got coarser={model.coarser} with patterns={model.patterns}; expected '
        f'() for a stage without global levels; try G in {pattern!r}'
      )
  for target in (*model.fine, *model.coarse):
    if len(target) not in (0, 3):
      raise InputError(
        f'got a scale of {target}; expected (frames, rows, columns), or () for '
        'no such scale'
      )
  if model.factorised and model.pooling == 'average':
    raise InputError(
      "got factorised=True with pooling='average', where a mean in space and "
      'then in time is the mean of both; expected False; try leaving it out'
    )
  _check_unread(model)


def _check_pattern(pattern: str, window: tuple[int, ...]) -> None:
  if not pattern or set(pattern) - {'L', 'G'}:
    raise InputError(
      f"got pattern {pattern!r}; expected letters L and G; try 'LG'"
    )
  if 'L' in pattern and np.prod(window) == 1:
    raise InputError(
      f'got pattern {pattern!r} with windows of a single token; expected '
      'larger windows for L; try G for levels that look at the whole clip'
    )


def _check_unread(model: nn.Module) -> None:
  """Raises InputError for a field that is set and has no effect."""
  kinds = set(''.join(model.patterns))
  defaults = {f.name: f.default for f in dataclasses.fields(model)}
  unread: dict[str, Any] = {}
  for kind in UNREAD.keys() - kinds:
    unread |= UNREAD[kind]
  for name, empty in unread.items():
    value = getattr(model, name)
    plain = empty is not None and all(part == empty for part in value)
    if value != defaults[name] and not plain:
      raise InputError(
        f'got {name}={value}, which no level of patterns={model.patterns} '
        'reads; expected the default; leave it out or change the patterns'
      )
  if model.position == 'relative' and 'L' not in kinds:
    raise InputError(
      f"got position='relative' with patterns={model.patterns}; expected a "
      'local level, whose bias it is; try another position, or L in a pattern'
    )


class Model(VideoModel):
  """DualFormer: four stages of local and global levels, one linear layer.

  Takes any clip that leaves a token in every stage and fills every pooling
  kernel. Tokens left over at the end of an axis when patches are merged or
  pooled are dropped, as released. Windows need not divide the grid (see
  `nn.window`; the release refuses such sizes). Defaults are DualFormer-T as
  released.

  On request (collection 'intermediates') it sows 'after_stage_<s>',
  'after_norm', and every level's attention weights.
  """

  # token width D of each stage
  widths: tuple[Positive, ...] = (64, 128, 256, 512)
  # levels of each stage; a level is an attention and a perceptron
  layers: tuple[Positive, ...] = (2, 2, 10, 4)
  # attention heads of each stage; must divide its width
  heads: tuple[Positive, ...] = (2, 4, 8, 16)
  # units of a perceptron over the width
  mlp_ratios: tuple[PositiveFloat, ...] = (4.0,) * FOUR
  # Kinds of levels of each stage, repeated: L looks at its window, G at the
  # whole clip. Table 4 tries 'LL', 'GG' and 'LG'.
  patterns: tuple[str, ...] = ('LG',) * FOUR
  # windows of local levels in tokens, no larger than the grid is
  windows: tuple[Grid, ...] = ((8, 7, 7),) * FOUR
  # Target grid of each stage's fine scale, () for no such scale. The last
  # target is the whole grid of 32 frames: nothing is pooled.
  fine: tuple[tuple[Positive, ...], ...] = ((8, 7, 7),) * 3 + ((16, 7, 7),)
  # target grid of each stage's coarse scale, () for no such scale
  coarse: tuple[tuple[Positive, ...], ...] = ((4, 4, 4),) * 2 + ((), ())
  # Target grids of further scales of each stage, each made by one convolution;
  # () for none, as released. Fig. 4's pyramid of three scales is fine
  # (4, 4, 4), coarse () and coarser ((2, 2, 2), (1, 1, 1)).
  coarser: tuple[tuple[Grid, ...], ...] = ()
  # Whether the convolutions of the fine and the further scales are factorised,
  # (1, h, w) and then (t, 1, 1), as Eq. 3 says and unlike the release
  factorised: bool = False
  # How a scale is computed: 'depthwise' as released, 'dense' convolutions or
  # 'average' without weights (Table 6)
  pooling: pyramid.Pooling = 'depthwise'
  # Clip (frames, height, width) in pixels that pooling kernels are made for:
  # kernel = floor(grid / target). Kernels are weights, so they do not change
  # with the input: a model built for 32 frames and given 16 has half as many
  # keys. Set it to the clip to train a model of another size.
  built: Grid = (32, 224, 224)
  patch: Positive = 4  # edge of a first patch in pixels
  patch_frames: Positive = 2  # frames of a first patch
  # frames that merge into one at the entry of each later stage
  rates: tuple[Positive, ...] = (1, 1, 1)
  # How positions are encoded: 'peg' as released, a depthwise convolution after
  # the first level of each stage; 'absolute', learned tables of places and
  # frames after the first patches, stretched linearly to other clips;
  # 'relative', a learned bias of local levels; 'none'
  position: Literal['peg', 'none', 'absolute', 'relative'] = 'peg'
  # whether a second head scores every token, for training with token labels
  token_head: bool = False
  # chance of the last level; it rises linearly from 0 at the first
  drop_path: Fraction = 0.1
  dropout: BelowOne = 0.5  # dropout of the heads
  qkv_bias: bool = True  # whether queries, keys and values have biases
  # What attention scores are multiplied by, the authors' `qk_scale`; 0 for the
  # usual 1 / sqrt(width of a head), as in every published model
  qk_scale: Fraction = 0.0
  # Epsilon of the levels' norms and the last one, as the authors' `norm_layer`
  # sets it; the norms of patches and pyramids have 1e-5
  epsilon: PositiveFloat = 1e-5
  # How weights that are not imported are drawn: 'image' as released, to start
  # from an image Twins-SVT; 'scratch' to train from random weights
  fresh: Literal['image', 'scratch'] = 'image'
  # how the position encoding is computed; the answer is the same
  depthwise: Implementation = 'shift'
  # what levels keep for the backward pass; the rest is computed again
  remat: Remat = 'none'
  # run equal blocks of a stage as one scan, to compile faster
  scan: bool = False

  def __post_init__(self):
    """Refuses fields that contradict each other."""
    super().__post_init__()
    check_fields(self)
    self.plans()  # kernels that cannot be built

  @nn.nowrap
  def sizes_to_split(self, clip: tuple[int, int, int]) -> dict[str, int]:
    """What a mesh may split over 'context': windows along time, or frames.

    A global level sends its pooled tokens; in a stage that pools nothing, all
    keys and values. Raises InputError where a window would be cut.
    """
    if self.depthwise == 'conv':
      raise InputError(
        "got mesh.context above 1 with depthwise='conv'; expected 'shift', "
        'which sends the frames at the edges alone; try mesh.fsdp'
      )
    sizes, frames = {}, clip[0]
    for s, (rate, _) in enumerate(self._patches):
      frames //= rate
      window = min(self.windows[s][0], frames)
      if 'L' not in self.patterns[s]:
        sizes[f'frames of tokens in stage {s}'] = frames
      elif frames % window:
        raise InputError(
          f'got mesh.context above 1 with windows of {window} on {frames} '
          f'frames of tokens in stage {s}; expected windows that divide them; '
          'try model.windows, or mesh.fsdp'
        )
      else:
        sizes[f'windows along time in stage {s}'] = frames // window
    return sizes

  def setup(self):
    """Names the submodules; the names are the keys of checkpoints."""
    drops = iter(np.linspace(0, self.drop_path, sum(self.layers)).tolist())
    self.stages = [
      dual.DualStage(
        plan,
        self.widths[s],
        patch=self._patches[s],
        pattern=self.patterns[s],
        rates=tuple(next(drops) for _ in range(self.layers[s])),
        tokens=s > 0,
        absolute=self.position == 'absolute' and s == 0,
        scan=self.scan,
        name=f'stage_{s}',
      )
      for s, plan in enumerate(self.plans())
    ]
    self.norm = LayerNorm(self.epsilon, dtype=jnp.float32)
    self.drop = nn.Dropout(self.dropout)
    draw = nn.initializers.normal(0.01)  # as released, whatever the width
    if self.fresh == 'scratch':
      draw = initializers.FRESH['scratch'].kernel
    self.head = Dense(self.classes, dtype=jnp.float32, kernel_init=draw)
    if self.token_head:
      self.token_mlp = TokenHead(
        self.classes, self.dropout, dtype=self.dtype, name='token_head'
      )

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Returns logits_BK, float32."""
    h_BTHWD = self.grid(video_BTHWC, train=train)
    if self.token_head and self.is_initializing():
      self.token_mlp(h_BTHWD, train)
    return self._answer(h_BTHWD, train)

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The mean of all tokens after the last norm, [B, D] float32."""
    return self.grid(video_BTHWC, train=train).mean((1, 2, 3))

  def token_logits(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Scores the clip and every token of the last stage (token labelling).

    Tokens are scored by the token head if there is one (a student), otherwise
    by the clip's own linear layer (a teacher). Arguments are those of a call.

    Returns logits_BK and token_logits_BTHWK, float32.
    """
    h_BTHWD = self.grid(video_BTHWC, train=train)
    if self.token_head:
      tokens_BTHWK = self.token_mlp(h_BTHWD, train)
    else:
      tokens_BTHWK = self.head(h_BTHWD)
    return self._answer(h_BTHWD, train), tokens_BTHWK

  def grid(self, video_BTHWC: jax.Array, *, train: bool = False) -> jax.Array:
    """The last stage's tokens after the norm, [B, T, H, W, D] float32."""
    h_BTHWD = video_BTHWC
    for s, stage in enumerate(self.stages):
      h_BTHWD = stage(h_BTHWD, train)
      self.sow('intermediates', f'after_stage_{s}', h_BTHWD)
    h_BTHWD = self.norm(h_BTHWD.astype(jnp.float32))
    self.sow('intermediates', 'after_norm', h_BTHWD)
    return h_BTHWD

  def _answer(self, h_BTHWD: jax.Array, train: bool) -> jax.Array:
    y_BD = self.drop(h_BTHWD.mean((1, 2, 3)), deterministic=not train)
    return self.head(y_BD)

  @property
  def _patches(self) -> list[tuple[int, int]]:
    """Frames and edge of a patch at the entry of each stage."""
    first = (self.patch_frames, self.patch)
    return [first, *((rate, 2) for rate in self.rates)]

  def plans(self) -> list[dual.BlockPlan]:
    """What the levels of each stage share, kernels included."""
    made, grid = [], self.built
    for s, (frames, edge) in enumerate(self._patches):
      grid = (grid[0] // frames, grid[1] // edge, grid[2] // edge)
      if min(grid) < 1:
        raise InputError(
          f'got built={self.built}, which leaves {grid} tokens in stage {s}; '
          'expected at least one along each axis; try a longer or larger clip'
        )
      kernels = pyramid.PyramidKernels()
      if 'G' in self.patterns[s]:
        kernels = pyramid.pyramid_kernels(
          grid,
          self.fine[s],
          self.coarse[s],
          self.coarser[s] if self.coarser else (),
          factorised=self.factorised,
        )
      made.append(
        dual.BlockPlan(
          heads=self.heads[s],
          hidden=round(self.widths[s] * self.mlp_ratios[s]),
          window=self.windows[s],
          kernels=kernels,
          pooling=self.pooling,
          qkv_bias=self.qkv_bias,
          qk_scale=self.qk_scale,
          epsilon=self.epsilon,
          relative=self.position == 'relative',
          peg=PEG if self.position == 'peg' else (),
          depthwise=self.depthwise,
          fresh=initializers.FRESH[self.fresh],
          remat=self.remat,
          dtype=self.dtype,
        )
      )
    return made
