"""One training step and one evaluation step: pure functions to be jitted.

A step takes uint8 video, scales it on the device, runs the model, takes the
gradient of the mean loss over real rows and updates the weights. Before this:
`feed.py`; after it: the models, then `losses.py`.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import PartitionSpec

from vidmodels import config as cfg
from vidmodels.train import losses, metrics, token_label
from vidmodels.train.state import TrainState

Batch = Mapping[str, jax.Array]
STREAMS = ('drop_path', 'dropout')  # random streams that models may ask for


@dataclasses.dataclass(frozen=True)
class Teacher:
  """What the training step needs of a teacher.

  Attributes:
    score: (variables, uint8 video [B, T, H, W, C]) -> token logits
      [B, T, H, W, K] in evaluation mode, on frames scaled as the teacher was
      trained on.
    variables: its weights and statistics, on the run's mesh.
    identity: which checkpoint it is; a resumed run needs the same.
  """

  score: Callable[[Any, jax.Array], jax.Array]
  variables: Mapping[str, Any]
  identity: Mapping[str, Any]


def normalise(
  video_BTHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
  """uint8 pixels to (x / 255 - mean) / std, float32, per RGB channel."""
  scaled_BTHWC = video_BTHWC.astype(jnp.float32) / 255
  return (scaled_BTHWC - jnp.asarray(mean)) / jnp.asarray(std)


def stream_keys(key: jax.Array, step: jax.Array, part) -> dict[str, jax.Array]:
  """Keys of one microbatch: fold in the step, the stream, the microbatch."""
  key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
  # crc32, because Python's hash of a string changes with every process.
  names = {s: zlib.crc32(s.encode()) & 0x7FFFFFFF for s in STREAMS}
  return {
    s: jax.random.fold_in(jax.random.fold_in(key, n), part)
    for s, n in names.items()
  }


def make_train_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config: cfg.Config,
  teacher: Teacher | None = None,
) -> Callable[..., tuple[TrainState, metrics.Pairs]]:
  """Builds (state, batch, the teacher's variables) -> (state, metrics).

  The batch holds video uint8 [B, T, H, W, C], label [B] and mask [B]. With
  `accumulate` = M > 1 it is taken as M strided microbatches (rows m, m + M,
  ...), so that every device keeps its own rows; gradients of the summed loss
  add up in float32 and are divided by the real rows of the whole batch, which
  makes M a matter of memory, not of arithmetic. Batch statistics are updated
  once a microbatch, in order. (Drop path draws for each microbatch, so with
  it M changes which branches fall away.)

  The last argument is {} without a teacher. It is an argument so that its
  weights are not a part of the program.
  """
  M = config.accumulate
  gradient = jax.grad(_loss(model, config, teacher), has_aux=True)

  def whole(state: TrainState, batch: Batch, frozen):
    keys = stream_keys(state.key, state.step, 0)
    grads, (pairs, model_state) = gradient(
      state.params, state.model_state, batch, keys, frozen
    )
    return grads, pairs, model_state

  def microbatches(state: TrainState, batch: Batch, frozen):
    def body(carry, part_and_number):
      total, model_state = carry
      part, m = part_and_number
      keys = stream_keys(state.key, state.step, m)
      grads, (pairs, model_state) = gradient(
        state.params, model_state, part, keys, frozen
      )
      return (jax.tree.map(jnp.add, total, grads), model_state), pairs

    zero = jax.tree.map(jnp.zeros_like, state.params)
    (grads, model_state), pairs = jax.lax.scan(
      body, (zero, state.model_state), (_strided(batch, M), jnp.arange(M))
    )
    return grads, jax.tree.map(lambda v: v.sum(0), pairs), model_state

  def step(state: TrainState, batch: Batch, frozen):
    make = whole if M == 1 else microbatches
    grads, pairs, model_state = make(state, batch, frozen)
    grads = jax.tree.map(lambda g: g / batch['mask'].sum(), grads)
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


def _loss(model: nn.Module, config: cfg.Config, teacher: Teacher | None):
  """(params, model_state, batch, keys, frozen) -> loss, (metrics, state)."""
  data, options = config.data, config.loss
  smoothing = options.label_smoothing

  def loss(params, model_state, part: Batch, keys, frozen):
    ask = functools.partial(
      model.apply,
      {'params': params, **model_state},
      normalise(part['video'], data.mean, data.std),
      train=True,
      rngs=keys,
      mutable=list(model_state),
    )
    label_B = part['label']
    if teacher is None:
      logits_BK, model_state = ask()
      loss_B = losses.cross_entropy(logits_BK, label_B, smoothing=smoothing)
    else:
      (logits_BK, tokens_BTHWK), model_state = ask(method='token_logits')
      loss_B = token_label.loss(
        logits_BK,
        tokens_BTHWK,
        label_B,
        teacher.score(frozen, part['video']),
        share=options.token_share,
        smoothing=smoothing,
      )
    pairs = metrics.clip_metrics(logits_BK, label_B, loss_B, part['mask'])
    return (loss_B * part['mask']).sum(), (pairs, model_state)

  return loss


def _strided(batch: Batch, M: int) -> Batch:
  """[B, ...] to [M, B / M, ...], microbatch m holding rows m, m + M, ..."""

  def one(v_Bx):
    v_MBx = v_Bx.reshape(-1, M, *v_Bx.shape[1:]).swapaxes(0, 1)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
      return v_MBx
    spec = PartitionSpec(None, ('data', 'fsdp'))
    return jax.lax.with_sharding_constraint(v_MBx, spec)

  return jax.tree.map(one, batch)


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
