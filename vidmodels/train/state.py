"""Everything a run carries from step to step, and how it comes to be.

The random key never changes: a step folds its own number into it, so a resumed
run needs no bookkeeping to draw what the unbroken run drew.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels.train import sharding
from vidmodels.train.mesh import replicated


@flax.struct.dataclass
class TrainState:
  """Parameters, moments and the rest; a pytree.

  Attributes:
    step: updates made so far, int32.
    params: float32 weights.
    opt_state: of the optax optimiser.
    ema: averaged weights, shaped as params; None if the recipe has none.
    model_state: other collections of the module (batch statistics); often {}.
    key: base random key of the run, as its raw uint32 words: typed keys have
      another shape in a checkpoint's metadata than in the state.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  ema: Any
  model_state: Any
  key: jax.Array


def make_init(
  model: nn.Module,
  tx_of,
  *,
  clip_shape: tuple[int, ...],
  seed: int,
  ema: bool,
):
  """Returns a function of no arguments that makes the first `TrainState`.

  Args:
    model: a family's module.
    tx_of: makes the optax optimiser from the (abstract) parameters.
    clip_shape: (T, H, W, C) of the clips that the recipe trains on.
    seed: of the run.
    ema: whether averaged weights are kept.
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
      opt_state=tx_of(params).init(params),
      # A copy: params and ema are both donated to the step.
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
  """The shardings of a whole state, shaped as the state itself.

  Args:
    abstract: `jax.eval_shape` of what `make_init` returned.
    tx: the run's optimiser.
    rules: the family's SHARDING.
    mesh: the device mesh.
  """
  params, report = sharding.place_parameters(rules, abstract.params, mesh)
  whole = replicated(mesh)
  return TrainState(
    step=whole,
    params=params,
    opt_state=sharding.place_optimizer(tx, abstract.opt_state, params, mesh),
    ema=None if abstract.ema is None else params,
    model_state=jax.tree.map(lambda _: whole, abstract.model_state),
    key=whole,
  ), report


def create_state(init, shardings: TrainState) -> TrainState:
  """Runs `init` with every array born on its own devices."""
  return jax.jit(init, out_shardings=shardings)()
