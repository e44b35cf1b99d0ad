"""Token labelling: a teacher's answer for every token is a label too.

Pure functions on logits. Student and teacher both give theirs through
`model.apply(..., method='token_logits')`. The teacher runs in evaluation mode,
without gradients, on the same augmented clip. (The release switches its teacher
to training mode after the first epoch, with dropout on and batch statistics
moving; we do not.)
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class Teacher:
  """What the training step needs of a teacher; `teacher.load` makes one.

  `score` maps (variables, video [B, T, H, W, C], pixels from 0 to 255) to token
  logits [B, T, H, W, K] in evaluation mode. It scales the pixels as the teacher
  was trained.
  """

  score: Callable[[Any, jax.Array], jax.Array]
  variables: Mapping[str, Any]  # weights and statistics, on the run's mesh
  identity: Mapping[str, Any]  # which checkpoint; a resumed run needs the same


def soft_labels(logits_xK: jax.Array, *, keep: int = 5) -> jax.Array:
  """The teacher's class probabilities for each token, from its top logits.

  `keep` of the highest logits stay, together with those that tie with the
  lowest of them. The others become 0 before the softmax, as released. That is
  not minus infinity: each of them still has e^0 of the weight, more than a kept
  logit that is negative. Float32, without gradient.
  """
  logits_xK = jax.lax.stop_gradient(logits_xK.astype(jnp.float32))
  K = logits_xK.shape[-1]
  if not 1 <= keep <= K:
    raise InputError(
      f'got keep={keep}, but cannot keep {keep} of {K} classes; expected 1 to '
      f'{K}; try a smaller number'
    )
  lowest = jax.lax.top_k(logits_xK, keep)[0][..., -1:]
  return jax.nn.softmax(jnp.where(logits_xK >= lowest, logits_xK, 0.0))


def fit_frames(tokens_BTHWK: jax.Array, frames: int) -> jax.Array:
  """Averages a teacher's logits of T frames to `frames` = T / r of them.

  As released, the frames that are averaged lie T / r apart; they are not
  neighbours. For half as many frames, the first half of the clip is averaged
  with the second.
  """
  B, T, *rest = tokens_BTHWK.shape
  if frames < 1 or T % frames:
    raise InputError(
      f"got a teacher's {T} frames of tokens for the student's {frames}; "
      f'expected a multiple of {frames}; try a teacher of more frames'
    )
  return tokens_BTHWK.reshape(B, T // frames, frames, *rest).mean(1)


def add_token_loss(
  clip_B: jax.Array,
  tokens_BTHWK: jax.Array,
  teacher_BTHWK: jax.Array,
  *,
  share: float = 0.5,
  keep: int = 5,
) -> jax.Array:
  """The clip's loss [B], plus cross entropy of its tokens against the
  teacher's.

  (1 - share) clip + share mean over tokens of CE(token, teacher), in nats. The
  student's tokens are those of its last grid; a teacher's of r times as many
  frames are averaged by `fit_frames`; `keep` is that of `soft_labels`. The
  share is half as released.
  """
  teacher_BTHWK = fit_frames(teacher_BTHWK, tokens_BTHWK.shape[1])
  if teacher_BTHWK.shape != tokens_BTHWK.shape:
    raise InputError(
      f'got token scores of {teacher_BTHWK.shape} from the teacher; expected '
      f"{tokens_BTHWK.shape}, the student's; try to give both the same frames "
      'and classes'
    )
  soft_BTHWK = soft_labels(teacher_BTHWK, keep=keep)
  log_BTHWK = jax.nn.log_softmax(tokens_BTHWK.astype(jnp.float32))
  token_B = -(soft_BTHWK * log_BTHWK).sum(-1).mean((1, 2, 3))
  return (1 - share) * clip_B + share * token_B
