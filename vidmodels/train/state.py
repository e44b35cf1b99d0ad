"""The training state: everything that goes from step to step.

The random key never changes: a step folds its own number into it, so a resumed
run draws the same numbers as an unbroken one without bookkeeping.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

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
) -> tuple[TrainState, sharding.ShardingReport]:
  """Returns the shardings of a whole state, shaped as the state, and a report.

  `abstract` is `jax.eval_shape` of the function from `make_init`.
  """
  params, report = sharding.place_parameters(rules, abstract.params, mesh)
  everywhere: Any = replicated(mesh)
  return TrainState(
    step=everywhere,
    params=params,
    opt_state=sharding.place_optimizer(tx, abstract.opt_state, params, mesh),
    ema=None if abstract.ema is None else params,
    model_state=jax.tree.map(lambda _: everywhere, abstract.model_state),
    key=everywhere,
  ), report


def create_state(
  init: Callable[[], TrainState], shardings: TrainState
) -> TrainState:
  """Runs `init` so that every array is created on its own devices."""
  return jax.jit(init, out_shardings=shardings)()
