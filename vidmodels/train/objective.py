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
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import losses, metrics, mixup, token_label

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


@dataclasses.dataclass(frozen=True)
class Objective:
  """The function of which a step takes the gradient.

  With mixing, accuracies are named mixed_... and count the label of the clip
  with the greater share. A teacher is shown the mixed clip: its answer is about
  what the student sees there.

  Attributes:
    model: the family's module.
    config: the recipe.
    task: what the labels are.
    teacher: whose answers for every token are labels too.
  """

  model: nn.Module
  config: cfg.Config
  task: Task = SINGLE
  teacher: Teacher | None = None

  def __call__(
    self,
    params: Any,
    model_state: Mapping[str, Any],
    part: Batch,
    keys: Mapping[str, jax.Array],
    frozen: Any,
    mixed: mixup.Draw | None,
  ) -> tuple[jax.Array, tuple[metrics.Pairs, Any]]:
    """The summed loss of real rows, and (metrics, collections) as they become.

    Args:
      params: the weights.
      model_state: the module's other collections.
      part: rows of a batch; paired with others where it is mixed.
      keys: random streams of the model.
      frozen: the teacher's variables.
      mixed: what this step mixes.
    """
    video_BTHWC, label_Bx = mixup.seen(part, mixed)
    variables = {'params': params, **model_state}
    answers, model_state = self._ask(variables, video_BTHWC, keys)
    logits_BK, *tokens = answers
    loss_of = functools.partial(self._loss_of, logits_BK)
    loss_B = mixup.mean_loss(loss_of, part, mixed)
    if self.teacher is not None:
      taught = self.teacher.score(frozen, video_BTHWC)
      share = self.config.loss.token_share
      loss_B = token_label.loss(loss_B, *tokens, taught, share=share)
    mask_B = part['mask']
    prefix = '' if mixed is None else metrics.MIXED
    pairs = metrics.clip_metrics(
      logits_BK, label_Bx, loss_B, mask_B, task=self.task, prefix=prefix
    )
    return (loss_B * mask_B).sum(), (pairs, model_state)

  def _loss_of(self, logits_BK: jax.Array, label_Bx: jax.Array) -> jax.Array:
    """The loss of each clip against one label, whole and not mixed."""
    smoothing = self.config.loss.label_smoothing
    return losses.of(logits_BK, label_Bx, task=self.task, smoothing=smoothing)

  def _ask(self, variables, video_BTHWC: jax.Array, keys):
    """((logits,) or (logits, tokens' logits), the collections)."""
    data, options = self.config.data, {}
    if self.teacher is not None:
      options['method'] = 'token_logits'
    answers, model_state = self.model.apply(
      variables,
      normalise(video_BTHWC, data.mean, data.std),
      train=True,
      rngs=keys,
      mutable=[name for name in variables if name != 'params'],
      **options,
    )
    return answers if options else (answers,), model_state
