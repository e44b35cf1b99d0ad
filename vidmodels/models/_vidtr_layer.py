"""One layer of VidTr: attention of a scheme, a perceptron, their residuals."""

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from vidmodels.nn import initializers, mlp
from vidmodels.nn.class_grid import Tokens
from vidmodels.nn.separable import AXIS_NAMES, SeparableAttention
from vidmodels.nn.time_pool import TimePool

# Table 5b: letters of the grid of tokens, and those looked along, in order.
SCHEMES = {
  'separable': ('TN', 'TN'),  # WH + T: VidTr
  'merged': ('TN', 'TN'),  # the same, and 'joint' in later layers
  'joint': ('L', 'L'),  # WHT: the vanilla transformer
  'space': ('TN', 'N'),  # WH: every frame by itself
  'axial': ('THW', 'TWH'),  # W + H + T
}

# torch's epsilon, and a variance taken around the mean.
LayerNorm = functools.partial(
  nn.LayerNorm, epsilon=1e-5, use_fast_variance=False
)


class SeparableLayer(nn.Module):
  """Fig. 1: separable attention and a perceptron, each with its residual.

  A class token apart from the grid takes no part in attention: what its branch
  adds is its own norm (and position), as released, so that it sees no patch.

  Attributes:
    grid: letters of the grid's axes.
    order: letters of those looked along, in order.
    lead: class rows in front of T.
    pool: how frames get fewer here, if they do.
    separate: whether each axis has projections of its own.
    bare_values: whether positions reach queries and keys only, as in the joint
      layers of the release.
    both_norms: whether a norm follows each residual too.
    heads: A.
    hidden: units of the perceptron.
    activation: its name.
    dropout: of attention weights, of branches, within the perceptron.
    dtype: of the computation.
  """

  grid: str
  order: str
  lead: int
  pool: TimePool | None
  separate: bool
  bare_values: bool
  both_norms: bool
  heads: int
  hidden: int
  activation: Literal['relu', 'gelu']
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, grid: jax.Array, cls_BLD, pos, train: bool) -> Tokens:
    """Takes the parts of `Tokens`, returns `Tokens`."""
    drop = nn.Dropout(self.dropout, deterministic=not train)
    norm = self._norm('attn_norm')
    rest, more = self._attend(grid, norm(grid), pos and pos[0], train)
    self.sow('intermediates', 'attention', more)
    parts = [rest + drop(more)]
    if cls_BLD is not None:
      own_BLD = norm(cls_BLD)
      own_BLD = own_BLD if pos is None else own_BLD + pos[1]
      parts += [cls_BLD + drop(own_BLD)]
    if self.both_norms:
      parts = list(map(self._norm('attn_norm_after'), parts))
    norm, perceptron = self._norm('mlp_norm'), self._perceptron()
    parts = [part + perceptron(norm(part), train) for part in parts]
    if self.both_norms:
      parts = list(map(self._norm('mlp_norm_after'), parts))
    tokens = Tokens(parts[0], *(parts[1:] or [None]), pos)
    self.sow('intermediates', 'tokens', tokens[:2])
    return tokens

  def _attend(
    self, rest_xD: jax.Array, s_xD: jax.Array, pos_xD, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Eq. 1: the residual, pooled where this layer pools, and what it gets."""
    v_xD = s_xD if self.bare_values and pos_xD is not None else None
    if pos_xD is not None:
      s_xD = s_xD + pos_xD
    make = functools.partial(
      SeparableAttention,
      self.heads,
      grid=self.grid,
      lead=self.lead,
      pool=self.pool,
      dropout=self.dropout,
      dtype=self.dtype,
    )
    if not self.separate:
      attn = make(order=self.order, name='attn')
      return attn(s_xD, rest_xD, train, v_xD=v_xD)
    for letter in self.order:
      attn = make(order=letter, name=f'{AXIS_NAMES[letter]}_attn')
      rest_xD, s_xD = attn(s_xD, rest_xD, train)
    return rest_xD, s_xD

  def _norm(self, name: str) -> nn.LayerNorm:
    return LayerNorm(dtype=self.dtype, name=name)

  def _perceptron(self) -> mlp.Mlp:
    """With its dropout, and weights and biases drawn as the release does."""
    return mlp.Mlp(
      self.hidden,
      activation={'relu': nn.relu, 'gelu': mlp.gelu}[self.activation],
      dtype=self.dtype,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=initializers.uniform_bias,
      dropout=self.dropout,
      name='mlp',
    )
