"""VidTr: attention over time, then over space, in one step (arXiv 2104.11746).

As released in amazon-science/gluonmm, whose weights it runs. Where the paper
says otherwise both are here, and the defaults are the release's:

* activation: ReLU was released, the paper says GELU;
* projections: one each for q, k, v and the answer, shared by time and space
  (`nn.separable`); Eqs. 5-8 give both their own;
* positions: added to what the attention of the first layer sees (of every
  layer in VidTr-M); section 3.1 adds them to the tokens;
* norms: before each branch and once at the end; section 3.3 says 'before and
  after the residual connection';
* heads: 12, the paper says 8;
* C-VidTr: one class token that looks at nothing before the last pooled layer,
  then joint attention; section 3.2 keeps both kinds of class token throughout;
* what top-K pooling keeps goes through a second softmax, Eq. 4 has one.

`AS_WRITTEN` are the fields of the paper's reading.
"""

import itertools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels.models import _vidtr_fields
from vidmodels.models._vidtr_layer import SCHEMES, SeparableLayer, LayerNorm
from vidmodels.nn import initializers, position, stack
from vidmodels.nn.class_grid import ClassGrid, Tokens, flatten_tokens
from vidmodels.nn.patch import PatchEmbed
from vidmodels.nn.t2t import T2T
from vidmodels.typing import BelowOne, Count, Positive, PositiveFloat

# The paper's reading; C-VidTr then pools in 'separable' attention, with
# pool_softmax=False.
AS_WRITTEN = {
  'heads': 8,
  'activation': 'gelu',
  'projections': 'separate',
  'positions': 'tokens',
  'norms': 'both',
}

# The first regex found in a parameter's path says how its axes are split.
SHARDING = (
  (r'/qkv/kernel$', ('fsdp', None, 'tensor', None)),  # [D, 3, A, d]
  (r'attn/out/kernel$', ('tensor', None, 'fsdp')),  # [A, d, D]
  (r'^layer_\d+/mlp/up/kernel$', ('fsdp', 'tensor')),
  (r'^layer_\d+/mlp/down/kernel$', ('tensor', 'fsdp')),
  (r'/pool/kernel$', (None, 'fsdp', None)),  # [3, D, D]
  (r'^patch/kernel$', ()),  # [(t,) P, P, C, D]
  (r'^t2t/mixer_\d/\w+/kernel$', ()),  # 64 wide
  (r'^(t2t/fc|head)/kernel$', ('fsdp', None)),
  (r'^tokens/', ()),  # class tokens and positions
  (r'/(bias|scale)$', ()),
)

# A model and a clip small enough to try things on, and fields to try.
TINY = {'layers': 3, 'width': 16, 'heads': 2, 'patch': 8}
TINY_CLIP = (4, 16, 32)
_MERGED = {'attention': 'merged', 'joint_from': 1}
_TOP_K = {'pool': 'top_k', 'pool_layers': (0,), 'pool_drop': (2,)}
_HALF = {'pool_layers': (0, 1)}
VARIANTS = (
  *({'attention': scheme} for scheme in ('joint', 'space', 'axial')),
  _MERGED,
  {'activation': 'gelu'},
  {'projections': 'separate'},
  {'projections': 'separate', 'attention': 'axial'},
  {'positions': 'every'},
  {'positions': 'tokens'},
  {'positions': 'every', **_MERGED},
  {'positions': 'tokens', **_MERGED},
  {'norms': 'both'},
  {'norms': 'both', **_MERGED},
  {'patch_frames': 2},
  {'patch': 16, 'stem': 't2t'},
  {'pos_resize': 'nearest'},
  *({**_TOP_K, **more} for more in ({}, _MERGED, {'pool_softmax': False})),
  {**_MERGED, 'pool': 'top_k', 'pool_layers': (0,), 'pool_keep': (3,)},
  {**AS_WRITTEN, 'heads': 2, **_TOP_K},
  {'pool': 'average', **_HALF},
  {'pool': 'conv', **_HALF},
  {'pool': 'conv', **_HALF, 'projections': 'separate'},
)


class Model(nn.Module):
  """VidTr and C-VidTr: patches, class tokens, layers, one linear layer.

  Takes any number of frames that patches divide, any frame size that patches
  divide, and as many frames as pooling needs. Position tables and class tokens
  keep the size of the clip that a model was initialised with, or of the weights
  given to it. Defaults are VidTr-S as released.

  C-VidTr takes a whole video in one pass, as section 3.3 describes, if trained
  and run on frames sampled over all of it: give it any number.

  On request (collection 'intermediates') it sows patches as 'patches'; every
  layer its answer as 'attention' and (grid, class token) as 'tokens', and its
  attention weights; the class feature as 'after_norm'.

  Attributes:
    classes: answers, K.
    dtype: of the computation; parameters, softmax, statistics and logits are
      float32.
    layers: of attention and a perceptron.
    width: of a token, D.
    heads: attention heads, A; must divide the width.
    mlp_ratio: units of a perceptron over the width.
    patch: edge of a patch in pixels.
    patch_frames: frames of a patch; above 1 it is Table 5a's cubic patch.
    stem: 'patch', or 't2t' for T2T-ViT's soft splits (Table 5c).
    attention: a scheme of Table 5b, see `SCHEMES`. 'merged' is separable with
      one class token that waits, and joint from layer `joint_from` on.
    joint_from: that layer, counted from 0; for 'merged' alone.
    projections: 'shared' by time and space, or 'separate': attention over time
      with projections of its own, its answer's too, then over space of what
      that answers; one norm before and one residual around both.
    activation: of the perceptrons; GELU is exact.
    positions: added in attention of the 'first' layer or of 'every' layer, or
      to the 'tokens' before all layers.
    norms: 'before' each branch, or 'both' before it and after its residual.
    pool: how C-VidTr gets rid of frames: 'top_k' of the largest standard
      deviation, 'average' of pairs, 'conv' of stride 2, or 'none' of it.
    pool_layers: which layers do, counted from 0.
    pool_drop: frames that each of them leaves out; for 'top_k'.
    pool_keep: frames that each of them keeps, instead of `pool_drop`.
    pool_softmax: the second softmax of 'top_k'. Which frames it keeps hangs on
      close calls: bfloat16 makes some of them otherwise than float32.
    pos_resize: how tables fit another grid or clip length.
    dropout: within layers, see `Layer`.
    head_dropout: before the last linear layer.
    remat: recompute layers in the backward pass, to save memory.
    scan: run layers that are alike as one scan, to compile faster.
  """

  classes: Positive
  dtype: Any = jnp.float32
  layers: Positive = 12
  width: Positive = 768
  heads: Positive = 12
  mlp_ratio: PositiveFloat = 4.0
  patch: Positive = 16
  patch_frames: Positive = 1
  stem: Literal['patch', 't2t'] = 'patch'
  attention: Literal['separable', 'merged', 'joint', 'space', 'axial'] = (
    'separable'
  )
  joint_from: Count = 0
  projections: Literal['shared', 'separate'] = 'shared'
  activation: Literal['relu', 'gelu'] = 'relu'
  positions: Literal['first', 'every', 'tokens'] = 'first'
  norms: Literal['before', 'both'] = 'before'
  pool: Literal['none', 'top_k', 'average', 'conv'] = 'none'
  pool_layers: tuple[Count, ...] = ()
  pool_drop: tuple[Count, ...] = ()
  pool_keep: tuple[Positive, ...] = ()
  pool_softmax: bool = True
  pos_resize: position.Resize = 'bilinear'
  dropout: BelowOne = 0.1
  head_dropout: BelowOne = 0.5
  remat: bool = False
  scan: bool = False

  def __post_init__(self) -> None:
    """Refuses fields that contradict each other."""
    _vidtr_fields.check_fields(self)
    super().__post_init__()

  def setup(self) -> None:
    """Names the submodules; the names are the keys of checkpoints."""
    if self.stem == 'patch':
      self.patch_embed = PatchEmbed(
        self.width,
        self.patch,
        frames=self.patch_frames,
        dtype=self.dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name='patch',
      )
    else:
      self.patch_embed = T2T(self.width, dtype=self.dtype, name='t2t')
    self.class_grid = ClassGrid(
      'merged' if self.attention == 'joint' else self.attention,
      self.pos_resize,
      dtype=self.dtype,
      name='tokens',
    )
    pools = _vidtr_fields.make_pools(self)
    # Static argument 4 is `train`, counted from self.
    layer = nn.remat(SeparableLayer, static_argnums=(4,)) if self.remat else SeparableLayer
    self.all_layers = [
      layer(**self._fields(i), pool=pools.get(i), name=f'layer_{i}')
      for i in range(self.layers)
    ]
    self.norm = LayerNorm(dtype=jnp.float32)
    self.drop = nn.Dropout(self.head_dropout)
    # torch's untouched linear layer.
    self.head = nn.Dense(
      self.classes,
      dtype=jnp.float32,
      kernel_init=initializers.uniform_fan_in,
      bias_init=initializers.uniform_bias(self.width),
    )

  def _fields(self, i: int) -> dict[str, Any]:
    """What layer i is, but for its pool."""
    merged = self.attention == 'merged' and i >= self.joint_from
    scheme = 'joint' if merged else self.attention
    grid, order = SCHEMES[scheme]
    return {
      'grid': grid,
      'order': order,
      'lead': int(scheme == 'separable'),
      'separate': self.projections == 'separate' and len(order) > 1,
      'bare_values': scheme == 'joint' and self.positions != 'tokens',
      'both_norms': self.norms == 'both',
      'heads': self.heads,
      'hidden': round(self.width * self.mlp_ratio),
      'activation': self.activation,
      'dropout': self.dropout,
      'dtype': self.dtype,
    }

  def __call__(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """Scores the classes.

    Args:
      video_BTHWC: normalised float RGB.
      train: dropout on; needs the rng 'dropout' if a rate is above 0.

    Returns:
      logits_BK, float32.

    Raises:
      InputError: (a ValueError) for video that does not divide into patches,
        is not float, has other channels than the weights, or has too few frames
        for the pooling.
    """
    y_BD = self.features(video_BTHWC, train=train)
    return self.head(self.drop(y_BD, deterministic=not train))

  def features(
    self, video_BTHWC: jax.Array, *, train: bool = False
  ) -> jax.Array:
    """The class token after the last norm, [B, D] float32.

    In space attention, the mean over frames of each frame's. Arguments are
    those of a call.
    """
    tokens = self.embed(video_BTHWC)
    for start, end in self._runs():
      if start == 1 and self.positions == 'first':
        tokens = tokens._replace(pos=None)
      if start == self._joint_from():
        tokens = flatten_tokens(tokens)
      tokens = stack.run(
        self.all_layers[start:end], tokens, train=train, scan=self.scan
      )
    if self.attention == 'space':
      y_BTD = self.norm(tokens.grid[:, :, 0].astype(jnp.float32))
      y_BD = y_BTD.mean(1)
    else:
      corner = (0,) * (tokens.grid.ndim - 2)
      y_BD = self.norm(tokens.grid[:, *corner].astype(jnp.float32))
    self.sow('intermediates', 'after_norm', y_BD)
    return y_BD

  def embed(self, video_BTHWC: jax.Array) -> Tokens:
    """Patches, class tokens, and the positions that layers are to add."""
    patches_BTHWD = self.patch_embed(video_BTHWC)
    self.sow('intermediates', 'patches', patches_BTHWD)
    grid, cls_BLD, pos = self.class_grid(patches_BTHWD)
    if self.positions != 'tokens':
      return Tokens(grid, cls_BLD, pos)
    if cls_BLD is not None:
      cls_BLD = cls_BLD + pos[1]
    return Tokens(grid + pos[0], cls_BLD, None)

  def _joint_from(self) -> int | None:
    """The layer before which everything becomes one sequence."""
    return {'merged': self.joint_from, 'joint': 0}.get(self.attention)

  def _runs(self) -> list[tuple[int, int]]:
    """First and last layers between which tokens stay what they are."""
    cuts = {0, self._joint_from() or 0, self.layers}
    if self.positions == 'first':
      cuts.add(1)
    return list(itertools.pairwise(sorted(cuts)))
