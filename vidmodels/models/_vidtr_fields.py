"""VidTr's fields: which of them contradict each other, and where it pools."""

import itertools
import typing

from vidmodels.nn import t2t
from vidmodels.nn.attention import split_heads
from vidmodels.nn.time_pool import TimePool
from vidmodels.typing import InputError

if typing.TYPE_CHECKING:
  from vidmodels.models.vidtr import Model


def make_pools(model: 'Model') -> dict[int, TimePool]:
  """The pools of a model by layer."""
  if model.pool == 'none':
    return {}
  numbers = {'drop': model.pool_drop, 'keep': model.pool_keep}
  return {
    layer: TimePool(
      model.pool,
      **{name: of[n] for name, of in numbers.items() if of},
      softmax=model.pool_softmax,
    )
    for n, layer in enumerate(model.pool_layers)
  }


def check_fields(model: 'Model') -> None:
  """Refuses fields that contradict each other or that nothing would read.

  Raises:
    InputError: naming the fields, what they are and what was wanted.
  """
  split_heads(model.width, model.heads)
  for holds, message in (*_attention(model), *_pool(model)):
    if not holds:
      raise InputError(message)


def _attention(m: 'Model') -> tuple[tuple[bool, str], ...]:
  """What must hold of stem and attention, each with what to say if not."""
  merged = m.attention == 'merged'
  return (
    (
      m.stem == 'patch' or (m.patch, m.patch_frames) == (t2t.PATCH, 1),
      f"stem='t2t' makes tokens of 1 x {t2t.PATCH} x {t2t.PATCH} pixels; patch="
      f'{m.patch} and patch_frames={m.patch_frames} came; leave both alone',
    ),
    (
      not merged or 1 <= m.joint_from < m.layers,
      f"attention='merged' has joint_from={m.joint_from} of {m.layers} layers; "
      'wanted from 1 to one below the layers, so that some are joint and the '
      "class token sees patches; if all are to be, say attention='joint'",
    ),
    (
      merged or not m.joint_from,
      f'joint_from is {m.joint_from} and attention={m.attention!r} does not '
      "read it; say attention='merged' or leave it at 0",
    ),
    (
      m.projections == 'shared' or m.attention not in ('joint', 'space'),
      f'attention={m.attention!r} looks along one axis, so that there is '
      "nothing to share; leave projections at 'shared'",
    ),
  )


def _pool(m: 'Model') -> tuple[tuple[bool, str], ...]:
  """What must hold of the fields of pooling."""
  numbers = len(m.pool_drop) + len(m.pool_keep)
  top_k, layers = m.pool == 'top_k', m.pool_layers
  return (
    *_pool_layers(m),
    (
      not (m.pool_drop and m.pool_keep),
      f'pool_drop {m.pool_drop} and pool_keep {m.pool_keep} say the same of '
      'each layer; give one of them',
    ),
    (
      numbers == (len(layers) if top_k else 0),
      f'pool is {m.pool!r} in layers {layers} with pool_drop {m.pool_drop} and '
      f"pool_keep {m.pool_keep}; 'top_k' wants one number a layer in one of "
      'them, other pools take every second frame and want none',
    ),
    (
      top_k or m.pool_softmax,
      f'pool is {m.pool!r} and has no second softmax; leave pool_softmax',
    ),
    (
      m.pool == 'none' or m.attention in ('separable', 'merged'),
      f'pool is {m.pool!r} and attention={m.attention!r}; frames get fewer '
      "where attention over time is apart: 'separable' or 'merged'",
    ),
    (
      m.pool == 'none' or m.positions != 'every',
      "positions='every' would meet tokens of other frames after a pool; say "
      "'first' or 'tokens'",
    ),
  )


def _pool_layers(m: 'Model') -> tuple[tuple[bool, str], ...]:
  """What must hold of the numbers of the layers that pool."""
  layers, merged = m.pool_layers, m.attention == 'merged'
  # The last separable layer only makes the token that answers, out of tokens
  # that no pool touches; the last before joint ones makes what they see.
  last = m.joint_from if merged else m.layers - 1
  return (
    (
      bool(layers) == (m.pool != 'none'),
      f'pool is {m.pool!r} with pool_layers {layers}; give both or neither',
    ),
    (
      all(a < b for a, b in itertools.pairwise((-1, *layers, last))),
      f'pool_layers is {layers}; wanted rising numbers below {last}, '
      + ('joint_from' if merged else 'the last layer'),
    ),
  )
