"""The training state: everything that goes from step to step.

Where the model runs blocks as a scan, their parameters, moments, averages and
statistics are stacked: one leaf of each kind, 'block_[0:12]/mlp/up/kernel', see
`nn/stacked_blocks.py`. Checkpoints hold them by single blocks.

The random key never changes: a step folds its own number into it, so a resumed
run draws the same numbers as an unbroken one without bookkeeping.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidmodels.nn import stack, stacked_blocks
from vidmodels.train import sharding
from vidmodels.train.mesh import replicated


class TrainState(flax.struct.PyTreeNode):
  """Parameters, moments and the rest; a pytree."""

  step: jax.Array  # updates made so far, int32
  params: Any  # float32 weights
  opt_state: Any  # state of the optax optimiser
  ema: Any  # averaged weights, shaped as params; None if the recipe has none
  # model_state: other collections of the module (batch statistics); often {}
  model_state: Any
  # key: base random key of the run, as raw uint32 words: a typed key has
  # another shape in a checkpoint's metadata than in the state
  key: jax.Array


def make_init(
  model: nn.Module,
  make_tx: Callable[[Any], optax.GradientTransformation],
  *,
  clip_shape: tuple[int, ...],
  seed: int,
  ema: bool,
) -> Callable[[], TrainState]:
  """Returns a function that makes the first `TrainState`.

  `make_tx` gets the (abstract) parameters, `clip_shape` is (T, H, W, C) of a
  training clip, and `ema` says whether to keep averaged weights.
  """

  def init() -> TrainState:
    key = jax.random.key(seed)
    video_BTHWC = jnp.zeros((1, *clip_shape), jnp.float32)
    variables = dict(model.init(jax.random.fold_in(key, 0), video_BTHWC))
    variables.pop('intermediates', None)  # sown on request, never kept
    entries = stack.stacked_entries(model, variables, video_BTHWC)
    variables = {
      name: stacked_blocks.stack_blocks(tree, entries)
      for name, tree in variables.items()
    }
    params = variables.pop('params')
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=make_tx(params).init(params),
      # A copy, because the step donates both params and ema.
      ema=jax.tree.map(jnp.copy, params) if ema else None,
      model_state=variables,
      key=jax.random.key_data(key),
    )

  return init


def place_state(
  abstract: TrainState,
  tx: optax.GradientTransformation,
  *,
  rules: sharding.Rules,
  mesh: Mesh,
  trained: Callable[[Any], Any] = lambda params: params,
) -> tuple[TrainState, sharding.ShardingReport]:
  """Returns the shardings of a whole state, shaped as the state, and a report.

  `abstract` is `jax.eval_shape` of the function from `make_init`; `trained`
  gives the part of the parameters that has moments.
  """
  params, report = sharding.place_parameters(rules, abstract.params, mesh)
  everywhere: Any = replicated(mesh)
  return TrainState(
    step=everywhere,
    params=params,
    opt_state=sharding.place_optimizer(
      tx, abstract.opt_state, trained(params), mesh
    ),
    ema=None if abstract.ema is None else params,
    model_state=jax.tree.map(lambda _: everywhere, abstract.model_state),
    key=everywhere,
  ), report


def create_state(
  init: Callable[[], TrainState], shardings: TrainState
) -> TrainState:
  """Runs `init` so that every array is created on its own devices."""
  return jax.jit(init, out_shardings=shardings)()


def by_block(state: Any) -> Any:
  """A state, or a part of one, with the names of single blocks.

  Leaves are arrays, or shapes with shardings. Stacked arrays are copied on
  their devices, so for as long as both exist they are there twice; the others
  are shared.
  """
  return stacked_blocks.unstack_blocks(state, split=_split)


def stacked_as(state: Any, abstract: Any) -> Any:
  """Stacks the blocks of a state as `abstract` is stacked.

  The blocks' own arrays are deleted one kind after the other, so the devices
  never hold everything twice.
  """
  entries = sorted(stacked_blocks.entries_in(abstract))
  return stacked_blocks.stack_blocks(state, entries, join=_join)


def _split(leaf: Any) -> Sequence[Any]:
  """The rows of an array or of a shape, placed as it is."""
  place = leaf.sharding
  if isinstance(place, NamedSharding):
    place = NamedSharding(place.mesh, PartitionSpec(*place.spec[1:]))
  if not isinstance(leaf, jax.ShapeDtypeStruct):
    return _split_on_devices(leaf, place)
  row = jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=place)
  return [row] * leaf.shape[0]


def _join(leaves: Sequence[jax.Array]) -> jax.Array:
  """Stacks arrays that are placed alike, and deletes them."""
  place = leaves[0].sharding
  if isinstance(place, NamedSharding):
    place = NamedSharding(place.mesh, PartitionSpec(None, *place.spec))
  stacked = _join_on_devices(tuple(leaves), place)
  for leaf in leaves:
    leaf.delete()
  return stacked


@functools.partial(jax.jit, static_argnums=1)
def _split_on_devices(leaf: jax.Array, place: Any) -> list[jax.Array]:
  return [jax.lax.with_sharding_constraint(row, place) for row in leaf]


@functools.partial(jax.jit, static_argnums=1)
def _join_on_devices(leaves: Sequence[jax.Array], place: Any) -> jax.Array:
  return jax.lax.with_sharding_constraint(jnp.stack(leaves), place)
