"""Runs layers one after the other, or as one scan over their parameters.

A scan compiles one layer instead of all of them. Answers, gradients and the
draws of drop path and dropout do not depend on it, nor do the names of
parameters in files. Within a training run the parameters of a scan are stacked
already (`nn/stacked_blocks.py`); where they are not, as in a model that was
loaded to evaluate it, a scan stacks them when it starts, which costs a copy.

`remat` says what a layer keeps for the backward pass.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import core
from flax import linen as nn

from vidmodels.nn import stacked_blocks
from vidmodels.typing import remat_policy

Layer = Any  # a linen module, bound by its parent
Carry = Any  # the input and output of a layer: an array, or a tuple of arrays

# What layers mark by `jax.ad_checkpoint.checkpoint_name`: their input, what
# they made of several tokens, the outputs of linear layers and convolutions.
# Policies keep them by name; 'offload' moves the first two to the host. Heads
# [A, d] are marked as one axis: a TPU pads the last axis to 128, and d is 64.
INPUT, MIXED, PRODUCT = 'layer_input', 'mixed_tokens', 'product'
# Where a scan lists its layers if it is asked to, see `stacked_entries`.
_ENTRIES = 'stacked_entries'
_STREAMS = ('drop_path', 'dropout')
# Products of all tokens with a matrix. Those of two activations, as scores of
# attention are, have batch axes: they are large, and cheap to compute again.
_PRODUCTS = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
_MARKED = jax.checkpoint_policies.save_only_these_names(PRODUCT)
_MIXES = jax.checkpoint_policies.save_only_these_names(MIXED)


def run(
  layers: Sequence[Layer],
  carry: Carry,
  *,
  train: bool,
  scan: bool,
  policy: str | bool,
) -> Carry:
  """Sends `carry` through the layers.

  Neighbours that differ only in their drop path rate are scanned; layers that
  differ otherwise (one that pools, one with positions) run one by one. So do
  all layers where intermediates are requested.

  The random numbers of a layer come from its place among `layers`, so a scan
  draws what the plain loop draws.

  Layers are bound submodules, called as `layer(*carry, train)`, that return the
  next carry, of the same shapes where layers are alike. `policy` is the one
  that `remat` gave them, or parts of them.
  """
  if not layers or layers[0].is_initializing():
    for layer in layers:
      carry = layer(*_args(carry), train)
    return carry
  parent = layers[0].parent
  keys = {
    stream: parent.make_rng(stream)
    for stream in _STREAMS
    if train and parent.has_rng(stream)
  }
  scan = scan and not parent.is_mutable_collection('intermediates')
  first = 0
  for group in _alike(layers) if scan else [[layer] for layer in layers]:
    if len(group) > 1:
      carry = _scan(group, carry, train, keys, first, policy)
    else:
      carry = _one(group[0], carry, train, keys, first)
    first += len(group)
  return carry


def remat(layer: Any, policy: str | bool, train_at: int = 2) -> Any:
  """The class of a layer that keeps what the policy says for going backwards.

  'none'            all that the derivative of each operation asks for; in a
                    scan what 'dots' and 'save_attention' keep, and the draws
  'block'           the layer's input; the rest is computed again
  'dots'            that and the outputs of dense layers and convolutions
  'save_attention'  that and what mixes tokens: the output of each attention
                    before its projection (of a modulation, of a convolution)
  'offload'         what 'save_attention' keeps, in the memory of the host

  Without a scan XLA chooses, among all that derivatives ask for, what it rather
  computes again. It does not look across the two loops of a scan, so 'none' is
  less there: each GELU, softmax and LayerNorm would be kept in two to four
  forms. In bfloat16 a clip of TimeSformer-B keeps 463 MB instead of 1658, and a
  step of 64 clips on 16 TPUs needs 3.9 GB instead of 10 (4.9 without a scan).

  `train_at` is the place of the argument `train`, counted from self.
  """
  if policy in ('none', False):
    return layer
  policies = jax.checkpoint_policies
  keep = {
    'block': policies.nothing_saveable,
    'dots': _is_product,
    'save_attention': _MIXES,
    'offload': policies.save_and_offload_only_these_names(
      names_which_can_be_saved=[],
      names_which_can_be_offloaded=[MIXED, INPUT],
      offload_src='device',
      offload_dst='pinned_host',
    ),
  }
  return nn.remat(
    layer, policy=keep[remat_policy(policy)], static_argnums=(train_at,)
  )


def stacked_entries(
  model: nn.Module, variables: Mapping[str, Any], *args: Any
) -> tuple[str, ...]:
  """The entries that a stacked state of this model has; () without a scan.

  Nothing is computed: `variables`, by single blocks, may be shapes. `args` are
  those of a call.
  """

  def apply(variables, *args):
    return model.apply(variables, *args, mutable=[_ENTRIES])[1]

  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(variables)
  )
  kept = jax.eval_shape(apply, shapes, *args).get(_ENTRIES, {})
  paths = jax.tree_util.tree_leaves_with_path(kept)
  return tuple(
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in paths
  )


def _args(carry: Carry) -> tuple:
  return carry if isinstance(carry, tuple) else (carry,)


def _is_product(primitive: Any, *args: Any, **params: Any) -> bool:
  """Whether it is the output of a linear layer or of a convolution."""
  return (
    primitive is jax.lax.conv_general_dilated_p
    or _PRODUCTS(primitive, *args, **params)
    or _MARKED(primitive, *args, **params)
  )


def _is_kept_by_scan(primitive: Any, *args: Any, **params: Any) -> bool:
  """What a scan keeps under 'none'; the rest is cheap to compute again."""
  if primitive in (jax.lax.lt_p, jax.lax.sort_p, jax.lax.top_k_p):
    return True  # random numbers below a rate: 1 byte each; order of scores
  if primitive is jax.lax.reduce_sum_p:
    return 0 in params['axes']  # statistics of a batch: of all devices
  return _is_product(primitive, *args, **params) or _MIXES(
    primitive, *args, **params
  )


def _variables(layers: Sequence[Layer], *, row: bool = False) -> Any:
  """The variables of neighbours by collection, stacked; of one, if `row`."""
  parent, names = layers[0].parent, [layer.name for layer in layers]
  found: dict[str, Any] = {}
  for collection, given in parent.variables.items():
    if collection in ('intermediates', _ENTRIES):
      continue
    entry, at = _entry_of(names[0], given)
    if entry:
      whole = len(names) == len(stacked_blocks.row_names(entry))
      cut: Any = at if row else slice(at, at + len(names))
      found[collection] = (
        given[entry]
        if whole and not row
        else jax.tree.map(lambda leaf, cut=cut: leaf[cut], given[entry])
      )
    elif names[0] in given:
      blocks = [given[name] for name in names]
      found[collection] = (
        blocks[0]
        if row
        else jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
      )
  return found


def _entry_of(name: str, given: Mapping[str, Any]) -> tuple[str, int]:
  """The entry of a collection that has a layer, and its row there."""
  for entry in filter(lambda name: '[' in name, given):
    rows = stacked_blocks.row_names(entry)
    if name in rows and entry != name:
      return entry, rows.index(name)
  return '', 0


def _alike(layers: Sequence[Layer]) -> list[list[Layer]]:
  """Groups neighbours that have the same fields and parameter shapes.

  Layers of one group are also rows of one entry, or of none.
  """
  groups: list[list[Layer]] = []
  last: Any = None
  params = layers[0].parent.variables.get('params', {})
  for layer in layers:
    shapes = jax.eval_shape(lambda layer=layer: _variables([layer], row=True))
    kind = (
      _plain(layer),
      _entry_of(layer.name, params)[0],
      jax.tree.structure(shapes),
      [leaf.shape for leaf in jax.tree.leaves(shapes)],
    )
    if kind != last:
      groups.append([])
    groups[-1].append(layer)
    last = kind
  return groups


def _plain(layer: Layer) -> Layer:
  """A copy of a layer without its parent, its name and its drop path rate."""
  fixed = {}
  if hasattr(layer, 'drop_path'):
    fixed['drop_path'] = jax.tree.map(lambda rate: 0.0, layer.drop_path)
  return layer.clone(parent=None, name=None, **fixed)


def _rate(layer: Layer) -> float | tuple[float, ...]:
  """A layer's drop path rate, or one for each of its parts."""
  return getattr(layer, 'drop_path', 0.0)


def _one(
  layer: Layer, carry: Carry, train: bool, keys: dict, place: int
) -> Carry:
  """Runs one layer, as a scan would."""
  parent = layer.parent
  variables = layer.variables
  if 'params' not in variables:  # it is a row of an entry
    variables = _variables([layer], row=True)
  written = [
    name
    for name in ('intermediates', *variables)
    if name != 'params' and parent.is_mutable_collection(name)
  ]
  rngs = {s: jax.random.fold_in(key, place) for s, key in keys.items()}
  with core.bind(variables, rngs=rngs, mutable=written).temporary() as scope:
    scope.path = layer.path  # what an interceptor or an error says of it
    carry = layer.clone(parent=scope)(*_args(carry), train)
    changed = scope.mutable_variables()
  for collection, tree in changed.items():
    rows = jax.tree.map(lambda leaf: leaf[None], tree)
    _write(parent, collection, [layer.name], rows)
  return carry


def _scan(
  layers: Sequence[Layer],
  carry: Carry,
  train: bool,
  keys: dict,
  first: int,
  policy: str | bool,
) -> Carry:
  """Runs layers that are alike as one scan, from place `first` on."""
  like, parent = _plain(layers[0]), layers[0].parent
  names = [layer.name for layer in layers]
  variables = _variables(layers)
  if parent.is_mutable_collection(_ENTRIES):
    entry = stacked_blocks.entry_name(names)
    if entry:
      parent.put_variable(_ENTRIES, entry, jnp.zeros(()))
  written = [
    name
    for name in variables
    if name != 'params' and parent.is_mutable_collection(name)
  ]
  rates = jnp.asarray([_rate(layer) for layer in layers])
  places = first + jnp.arange(len(layers))
  drops = train and any(
    rate for layer in layers for rate in jax.tree.leaves(_rate(layer))
  )

  def body(carry: Carry, row) -> tuple[Carry, Any]:
    variables, rate, place = row
    rngs = {s: jax.random.fold_in(key, place) for s, key in keys.items()}
    fields = {'drop_path': rate} if drops else {}
    with core.bind(variables, rngs=rngs, mutable=written).temporary() as scope:
      scope.path = layers[0].path
      carry = like.clone(parent=scope, **fields)(*_args(carry), train)
      return carry, scope.mutable_variables()

  if remat_policy(policy) == 'none':
    # Nothing is computed twice in one trip of a loop: no barrier is needed.
    body = jax.checkpoint(body, policy=_is_kept_by_scan, prevent_cse=False)
  carry, changed = jax.lax.scan(body, carry, (variables, rates, places))
  for collection, tree in changed.items():
    _write(parent, collection, names, tree)
  return carry


def _write(parent: Any, collection: str, names: list[str], tree: Any) -> None:
  """Puts the variables that layers changed where they were read."""
  given = parent.variables.get(collection, {})
  entry, at = _entry_of(names[0], given)
  if not entry:
    for i, name in enumerate(names):
      block = jax.tree.map(lambda leaf, i=i: leaf[i], tree)
      parent.put_variable(collection, name, block)
    return
  rows = slice(at, at + len(names))
  if len(names) < len(stacked_blocks.row_names(entry)):
    tree = jax.tree.map(
      lambda old, new: old.at[rows].set(new), given[entry], tree
    )
  parent.put_variable(collection, entry, tree)
