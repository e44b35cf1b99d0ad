"""One training step and one evaluation step: pure functions to be jitted.

  update = jax.jit(step.make_train_step(model, tx, config, task=task))
  state, metrics = update(state, batch, {})

A training step takes uint8 video, mixes clips if the recipe says so, takes the
gradient of the mean loss over real rows and updates the weights. Before this:
`feed.py`. After it: the model, then `losses.py` and `metrics.py`.
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
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.nn import linear
from vidmodels.train import (
  freezing,
  losses,
  metrics,
  mixup,
  non_finite,
  token_label,
)
from vidmodels.train.mesh import BATCH
from vidmodels.train.state import TrainState
from vidmodels.train.token_label import Teacher

Batch = Mapping[str, jax.Array]
STREAMS = ('drop_path', 'dropout')  # random streams that models may ask for


def stream_key(key: jax.Array, step: jax.Array, stream: str) -> jax.Array:
  """The key of one random stream: the run's, with step and name folded in."""
  key = jax.random.fold_in(jax.random.wrap_key_data(key), step)
  # crc32, because Python's hash of a string changes with every process.
  return jax.random.fold_in(key, zlib.crc32(stream.encode()) & 0x7FFFFFFF)


def stream_keys(key: jax.Array, step: jax.Array, m: Any) -> dict[str, Any]:
  """The model's keys for microbatch `m`, whose number is folded in last."""
  return {s: jax.random.fold_in(stream_key(key, step, s), m) for s in STREAMS}


def normalise(
  video_BTHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
  """Pixels of 0 to 255 to (x / 255 - mean) / std, float32, per RGB channel."""
  scaled_BTHWC = video_BTHWC.astype(jnp.float32) / 255
  return (scaled_BTHWC - jnp.asarray(mean)) / jnp.asarray(std)


def make_train_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config: cfg.Config,
  teacher: Teacher | None = None,
  *,
  task: Task = SINGLE,
  class_weights: tuple[float, ...] = (),
) -> Callable[..., tuple[TrainState, metrics.Packed]]:
  """Builds (state, batch, the teacher's variables) -> (state, metrics).

  The batch holds video uint8 [B, T, H, W, C], label (as `task` defines it) and
  mask [B]. `class_weights` are those of `Objective`. The last argument is {}
  without a teacher. The teacher's weights are an argument so that they are not
  compiled into the program as constants.
  """
  update = make_update(
    model, tx, config, teacher, task=task, class_weights=class_weights
  )
  if not mixup.is_on(config.mix):
    return lambda state, batch, frozen: update(state, batch, frozen, None)

  def mix_and_update(state: TrainState, batch: Batch, frozen: Any):
    H, W = batch['video'].shape[2:4]
    key = stream_key(state.key, state.step, 'mix')
    mixed = mixup.draw(key, len(batch['mask']), config.mix, height=H, width=W)
    batch = _split_rows(mixup.add_partners(batch, mixed.distance))
    return update(state, batch, frozen, mixed)

  return mix_and_update


def make_update(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config: cfg.Config,
  teacher: Teacher | None = None,
  *,
  task: Task = SINGLE,
  class_weights: tuple[float, ...] = (),
) -> Callable[..., tuple[TrainState, metrics.Packed]]:
  """The step behind its draws: (state, batch, the teacher's, mixed) -> ...

  A batch that is mixed has every row's partner beside it
  (`mixup.add_partners`), and `mixed` says how much of it a row takes: one draw
  for all, or arrays of one for each row. None mixes nothing.
  """
  objective: Callable[..., Any] = Objective(
    model, config, task, teacher, class_weights
  )
  if config.mesh.reduce == 'dtype':
    objective = linear.sums_of_gradients('dtype')(objective)

  freezes = freezing.is_on(config.optim)
  whole = freezing.join if freezes else (lambda params, _: params)
  gradient = jax.grad(
    lambda trained, still, *rest: objective(whole(trained, still), *rest),
    has_aux=True,
  )

  def update(
    state: TrainState, batch: Batch, frozen: Any, mixed: mixup.Draw | None
  ):
    mask_B = batch['mask']
    trained: Any = state.params
    still: Any = {}
    if freezes:
      trained, still = freezing.split(config.optim, state.params)
    if mixed is not None and jnp.ndim(mixed.share):
      draws: dict[str, Any] = {'mixed': mixed}  # each goes with its row
      batch = {**batch, **draws}

    def microbatch_gradient(model_state: Any, part: Batch, m: Any):
      keys = stream_keys(state.key, state.step, m)
      own = part.get('mixed', mixed)
      return gradient(trained, still, model_state, part, keys, frozen, own)

    if config.accumulate == 1:
      sums, aux = microbatch_gradient(state.model_state, batch, 0)
      pairs, model_state = aux
    else:
      sums, pairs, model_state = _accumulate(
        microbatch_gradient, trained, state, batch, config=config
      )
    if freezes:
      model_state = freezing.keep_statistics(
        config.optim, state.params, state.model_state, model_state
      )
    grads = jax.tree.map(lambda g: g / mask_B.sum(), sums)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = whole(optax.apply_updates(trained, updates), still)
    pairs['grad_norm'] = (optax.tree.norm(grads), jnp.ones(()))
    pairs['update_norm'] = (optax.tree.norm(updates), jnp.ones(()))
    ema, decay = state.ema, config.optim.ema
    if ema is not None:
      ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)
    new = dataclasses.replace(
      state,
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      ema=ema,
      model_state=model_state,
    )
    if config.optim.non_finite == 'skip':
      new, pairs = non_finite.keep_if_broken(state, new, pairs)
    return new, metrics.pack(pairs)

  return update


@dataclasses.dataclass(frozen=True)
class Objective:
  """The function of which a step takes the gradient.

  With mixing, accuracies are named mixed_... and count the label of the clip
  with the greater share. A teacher scores the mixed clip, which is also what
  the student sees.
  """

  model: nn.Module  # the family's module
  config: cfg.Config  # the recipe
  task: Task = SINGLE  # what the labels are
  teacher: Teacher | None = None  # its answers for every token are labels too
  # what the loss of each class is multiplied by, [K]; () for all the same
  class_weights: tuple[float, ...] = ()

  def __call__(
    self,
    params: Any,
    model_state: Mapping[str, Any],
    part: Batch,
    keys: dict[str, jax.Array],
    frozen: Any,
    mixed: mixup.Draw | None,
  ) -> tuple[jax.Array, tuple[metrics.Pairs, Any]]:
    """The loss summed over real rows, and (metrics, new collections).

    `part` holds rows of a batch, with their partners if clips are mixed; `keys`
    the random streams of the model; `frozen` the teacher's variables; `mixed`
    what this step mixes, None if it does not.
    """
    data, options = self.config.data, self.config.loss
    video_BTHWC, label_Bx = part['video'], part['label']
    if mixed is not None:
      video_BTHWC, label_Bx = mixup.mixed_clips(part, mixed)
    variables = {'params': params, **model_state}
    logits_BK, model_state = self.model.apply(
      variables,
      normalise(video_BTHWC, data.mean, data.std),
      # A linear probe learns on what evaluation sees: nothing is dropped.
      train=self.config.optim.train == 'all',
      rngs=keys,
      mutable=[name for name in variables if name != 'params'],
      method=None if self.teacher is None else 'token_logits',
    )
    if self.teacher is not None:
      logits_BK, tokens_BTHWK = logits_BK
    loss_of_label = functools.partial(
      losses.loss_per_clip,
      logits_BK,
      task=self.task,
      smoothing=options.label_smoothing,
      class_weights=self.class_weights,
    )
    if mixed is None:
      loss_B = loss_of_label(label_Bx)
    else:
      loss_B = mixup.mixed_loss(loss_of_label, part, mixed)
    if self.teacher is not None:
      loss_B = token_label.add_token_loss(
        loss_B,
        tokens_BTHWK,
        self.teacher.score(frozen, video_BTHWC),
        share=options.token_share,
      )
    pairs = metrics.clip_metrics(
      logits_BK,
      label_Bx,
      loss_B,
      part['mask'],
      task=self.task,
      prefix='' if mixed is None else metrics.MIXED,
    )
    return (loss_B * part['mask']).sum(), (pairs, model_state)


def _accumulate(
  gradient: Any,
  trained: Any,
  state: TrainState,
  batch: Batch,
  *,
  config: cfg.Config,
):
  """Gradients of the batch's summed loss, its metrics, the new collections.

  The batch is split into M strided microbatches (rows m, m + M, ...), so that
  every device keeps its own rows. Gradients of the summed loss add up in
  float32 and are divided by the real rows of the whole batch. So M changes the
  memory and not the arithmetic: clips are paired before the split. Batch
  statistics are updated once a microbatch, in order. (Drop path draws for each
  microbatch, so with drop path M changes which branches are dropped.)
  With clip_at='microbatch' the sum so far is clipped after each of them, as
  the mean over the whole batch that it is a part of. `gradient` maps
  (collections, rows, m) to gradients and (metrics, new collections).
  """
  M, rows = config.accumulate, batch['mask'].sum()

  def strided(v_Bx: jax.Array) -> jax.Array:
    return v_Bx.reshape(-1, M, *v_Bx.shape[1:]).swapaxes(0, 1)

  def body(carry, part_and_number):
    total, model_state = carry
    grads, (pairs, model_state) = gradient(model_state, *part_and_number)
    total = jax.tree.map(jnp.add, total, grads)
    if config.optim.clip_at == 'microbatch':
      norm = optax.tree.norm(total) / rows
      share = jnp.minimum(1, config.optim.clip_norm / (norm + 1e-6))
      total = jax.tree.map(lambda g: g * share, total)
    return (total, model_state), pairs

  zero = jax.tree.map(jnp.zeros_like, trained)
  parts = _split_rows(jax.tree.map(strided, batch), axis=1)
  (grads, model_state), pairs = jax.lax.scan(
    body, (zero, state.model_state), (parts, jnp.arange(M))
  )
  return grads, jax.tree.map(lambda v: v.sum(0), pairs), model_state


def _split_rows(batch: Batch, axis: int = 0) -> Batch:
  """The same arrays, with the rows (along `axis`) split over the devices.

  XLA would have to guess where rows live. Without a mesh this does nothing.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return batch
  spec = PartitionSpec(*[None] * axis, *BATCH)
  return jax.lax.with_sharding_constraint(batch, spec)


def make_eval_step(
  model: nn.Module, data: cfg.Data, method: str | None = None
) -> Callable[[Any, Any, jax.Array], jax.Array]:
  """Builds (params, model_state, video uint8 [B,T,H,W,C]) -> logits [B, K].

  Views are rows of the batch. Drop path and dropout are off. With the method
  'features' it gives what the head sees, [B, D].
  """

  def step(params, model_state, video_BTHWC: jax.Array):
    variables = {'params': params, **model_state}
    video_BTHWC = normalise(video_BTHWC, data.mean, data.std)
    return model.apply(variables, video_BTHWC, train=False, method=method)

  return step
