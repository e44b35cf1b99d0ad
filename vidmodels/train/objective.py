"""What a batch costs: pixels scaled, the model asked, the loss and its metrics.

Before this: `step.py`, which differentiates it. After it: the models, then
`losses.py` and `metrics.py`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidmodels import config as cfg
from vidmodels.data.task import SINGLE, Task
from vidmodels.train import losses, metrics, mixing, token_label

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Teacher:
  """What the training step needs of a teacher.

  Attributes:
    score: (variables, video [B, T, H, W, C], pixels from 0 to 255) -> token
      logits [B, T, H, W, K] in evaluation mode, on frames scaled as the teacher
      was trained on.
    variables: its weights and statistics, on the run's mesh.
    identity: which checkpoint it is; a resumed run needs the same.
  """

  score: Callable[[Any, jax.Array], jax.Array]
  variables: Mapping[str, Any]
  identity: Mapping[str, Any]


def normalise(
  video_BTHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
  """Pixels of 0 to 255 to (x / 255 - mean) / std, float32, per RGB channel."""
  scaled_BTHWC = video_BTHWC.astype(jnp.float32) / 255
  return (scaled_BTHWC - jnp.asarray(mean)) / jnp.asarray(std)


def make(
  model: nn.Module,
  config: cfg.Config,
  *,
  task: Task = SINGLE,
  teacher: Teacher | None = None,
) -> Callable[..., tuple[jax.Array, tuple[metrics.Pairs, Any]]]:
  """Builds the function of which a step takes the gradient.

  (params, model_state, batch, keys, frozen, mixed) -> the summed loss of real
  rows, (metrics, model_state). `keys` are the random streams, `frozen` the
  teacher's variables, `mixed` the step's `mixing.Draw` or None; with it the
  batch has been paired. A teacher is shown the mixed clip: its answer is about
  what the student sees there.

  With mixing, accuracies are named mixed_... and count the label of the clip
  with the greater share.
  """
  data, options = config.data, config.loss
  prefix = metrics.MIXED if mixing.wanted(config.mix) else ''
  of_label = functools.partial(
    losses.of, task=task, smoothing=options.label_smoothing
  )

  def objective(params, model_state, part: Batch, keys, frozen, mixed):
    video_BTHWC, label_Bx = mixing.seen(part, mixed)
    ask = functools.partial(
      model.apply,
      {'params': params, **model_state},
      normalise(video_BTHWC, data.mean, data.std),
      train=True,
      rngs=keys,
      mutable=list(model_state),
    )
    if teacher is None:
      logits_BK, model_state = ask()
    else:
      (logits_BK, tokens_BTHWK), model_state = ask(method='token_logits')
    loss_B = mixing.mean_loss(
      functools.partial(of_label, logits_BK), part, mixed
    )
    if teacher is not None:
      loss_B = token_label.loss(
        loss_B,
        tokens_BTHWK,
        teacher.score(frozen, video_BTHWC),
        share=options.token_share,
      )
    pairs = metrics.clip_metrics(
      logits_BK, label_Bx, loss_B, part['mask'], task=task, prefix=prefix
    )
    return (loss_B * part['mask']).sum(), (pairs, model_state)

  return objective
