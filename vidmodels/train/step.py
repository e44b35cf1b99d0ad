"""One training step and one evaluation step: pure functions to be jitted.

A step takes uint8 video, mixes clips where the recipe says so, takes the
gradient of the mean loss over real rows and updates the weights. Before this:
`feed.py`; after it: `mixup.py`, then `objective.py`.
"""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import PartitionSpec

from vidmodels import config as cfg
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import metrics, mixup, objective
from vidmodels.train.objective import Batch, Teacher, normalise
from vidmodels.train.state import TrainState

STREAMS = ('drop_path', 'dropout')  # random streams that models may ask for


def stream_key(key: jax.Array, step: jax.Array, stream: str) -> jax.Array:
  """A key of one step: fold in the step, then the stream's name."""
  key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
  # crc32, because Python's hash of a string changes with every process.
  return jax.random.fold_in(key, zlib.crc32(stream.encode()) & 0x7FFFFFFF)


def stream_keys(key: jax.Array, step: jax.Array, part) -> dict[str, jax.Array]:
  """The models' keys of one microbatch: its number is folded in last."""
  return {
    s: jax.random.fold_in(stream_key(key, step, s), part) for s in STREAMS
  }


def make_train_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config: cfg.Config,
  teacher: Teacher | None = None,
  *,
  task: Task = SINGLE,
) -> Callable[..., tuple[TrainState, metrics.Pairs]]:
  """Builds (state, batch, the teacher's variables) -> (state, metrics).

  The batch holds video uint8 [B, T, H, W, C], label (as `task` has it) and
  mask [B]. The last argument is {} without a teacher. It is an argument so that
  its weights are not a part of the program.
  """
  cost = objective.Objective(model, config, task, teacher)
  gradient = jax.grad(cost, has_aux=True)

  def step(state: TrainState, batch: Batch, frozen):
    mask_B = batch['mask']
    batch, mixed = _paired(state, batch, config.mix)
    grads, pairs, model_state = _gradients(
      gradient, config.accumulate, state, batch, frozen, mixed
    )
    grads = jax.tree.map(lambda g: g / mask_B.sum(), grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    pairs['grad_norm'] = (optax.tree.norm(grads), jnp.ones(()))
    pairs['update_norm'] = (optax.tree.norm(updates), jnp.ones(()))
    return state.replace(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      ema=average(state.ema, params, config.optim.ema),
      model_state=model_state,
    ), pairs

  return step


def _paired(
  state: TrainState, batch: Batch, mix: cfg.Mix
) -> tuple[Batch, mixup.Draw | None]:
  """The batch with each clip's partner, and what this step mixes, if any."""
  if not mixup.wanted(mix):
    return batch, None
  H, W = batch['video'].shape[2:4]
  key = stream_key(state.key, state.step, 'mix')
  mixed = mixup.draw(key, batch['mask'], mix, height=H, width=W)
  return _over_devices(mixup.pair(batch, mixed.partner_B)), mixed


def _gradients(gradient, M: int, state: TrainState, batch: Batch, *rest):
  """Gradients of the batch's summed loss, its metrics, the collections.

  With M > 1 the batch is taken as M strided microbatches (rows m, m + M, ...),
  so that every device keeps its own rows; gradients of the summed loss add up
  in float32 and are divided by the real rows of the whole batch, which makes M
  a matter of memory, not of arithmetic: clips are paired before the split.
  Batch statistics are updated once a microbatch, in order. (Drop path draws for
  each microbatch, so with it M changes which branches fall away.)

  Args:
    gradient: of the objective.
    M: microbatches.
    state: weights, collections and key.
    batch: of all rows.
    *rest: what the objective takes besides; of no row.
  """

  def of(model_state, part: Batch, m):
    keys = stream_keys(state.key, state.step, m)
    return gradient(state.params, model_state, part, keys, *rest)

  if M == 1:
    grads, (pairs, model_state) = of(state.model_state, batch, 0)
    return grads, pairs, model_state

  def body(carry, part_and_number):
    total, model_state = carry
    grads, (pairs, model_state) = of(model_state, *part_and_number)
    return (jax.tree.map(jnp.add, total, grads), model_state), pairs

  zero = jax.tree.map(jnp.zeros_like, state.params)
  (grads, model_state), pairs = jax.lax.scan(
    body, (zero, state.model_state), (_strided(batch, M), jnp.arange(M))
  )
  return grads, jax.tree.map(lambda v: v.sum(0), pairs), model_state


def _strided(batch: Batch, M: int) -> Batch:
  """[B, ...] to [M, B / M, ...], microbatch m holding rows m, m + M, ..."""

  def one(v_Bx):
    return v_Bx.reshape(-1, M, *v_Bx.shape[1:]).swapaxes(0, 1)

  return _over_devices(jax.tree.map(one, batch), axis=1)


def _over_devices(batch: Batch, axis: int = 0) -> Batch:
  """The same arrays, their rows (along `axis`) split over the mesh's devices.

  Said where XLA would have to guess; without a mesh there is nothing to say.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return batch
  spec = PartitionSpec(*[None] * axis, ('data', 'fsdp'))
  return jax.lax.with_sharding_constraint(batch, spec)


def average(ema, params, decay: float):
  """ema := decay * ema + (1 - decay) * params, or None without averaging."""
  if ema is None:
    return None
  return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)


def make_eval_step(model: nn.Module, data: cfg.Data):
  """Builds (params, model_state, video uint8 [B,T,H,W,C]) -> logits [B, K].

  Views are rows of the batch; drop path and the like are off.
  """

  def step(params, model_state, video_BTHWC: jax.Array) -> jax.Array:
    variables = {'params': params, **model_state}
    video_BTHWC = normalise(video_BTHWC, data.mean, data.std)
    return model.apply(variables, video_BTHWC, train=False)

  return step
