"""Token labelling: a teacher's answer for every token is a label too.

Pure functions on logits; whoever trains gives them the student's and the
teacher's, both from `model.apply(..., method='token_logits')`. The teacher runs
in evaluation mode, without gradients, on the same augmented clip. (The release
lets its teacher slip into training mode after the first epoch, with dropout on
and batch statistics moving; we do not.)
"""

import jax
import jax.numpy as jnp

from vidmodels.typing import InputError


def soft_labels(logits_xK: jax.Array, *, keep: int = 5) -> jax.Array:
  """What a teacher says of each token, with most of its doubts cut off.

  Args:
    logits_xK: the teacher's scores, one row a token.
    keep: how many of the highest logits stay, with those that tie with the
      lowest of them. The others become 0 before the softmax, as released: not
      minus infinity, so each of them still has e^0 of the weight, and more
      than a kept one whose logit is negative.

  Returns:
    Probabilities of the same shape, float32, without gradient.

  Raises:
    InputError: if there are not so many classes to keep.
  """
  logits_xK = jax.lax.stop_gradient(logits_xK.astype(jnp.float32))
  if not 1 <= keep <= logits_xK.shape[-1]:
    raise InputError(
      f'cannot keep {keep} of {logits_xK.shape[-1]} classes; give from 1 to '
      'as many as there are'
    )
  lowest = jax.lax.top_k(logits_xK, keep)[0][..., -1:]
  return jax.nn.softmax(jnp.where(logits_xK >= lowest, logits_xK, 0.0))


def fit_frames(tokens_BTHWK: jax.Array, frames: int) -> jax.Array:
  """A teacher's logits averaged to fewer frames of tokens.

  As released, the frames that are averaged lie T / r apart and are not
  neighbours: for half as many, the first half of the clip with the second.

  Args:
    tokens_BTHWK: the teacher's logits.
    frames: T / r, of the student's grid.

  Raises:
    InputError: if the frames do not divide.
  """
  B, T, *rest = tokens_BTHWK.shape
  if frames < 1 or T % frames:
    raise InputError(
      f"the teacher's {T} frames of tokens do not average to the student's "
      f'{frames}; give the teacher a multiple of them'
    )
  return tokens_BTHWK.reshape(B, T // frames, frames, *rest).mean(1)


def loss(
  clip_B: jax.Array,
  tokens_BTHWK: jax.Array,
  teacher_BTHWK: jax.Array,
  *,
  share: float = 0.5,
  keep: int = 5,
) -> jax.Array:
  """The clip's loss, and cross entropy of its tokens against the teacher's.

  (1 - share) clip + share mean over tokens of CE(token, teacher).

  Args:
    clip_B: loss of each clip against its label, see `losses.of`.
    tokens_BTHWK: the student's scores of every token of its last grid.
    teacher_BTHWK: the teacher's scores; of r times as many frames it is
      averaged by `fit_frames`.
    share: of the tokens, half as released.
    keep: see `soft_labels`.

  Returns:
    The loss of each clip, [B], float32, in nats.

  Raises:
    InputError: if the teacher's tokens do not lie as the student's.
  """
  teacher_BTHWK = fit_frames(teacher_BTHWK, tokens_BTHWK.shape[1])
  if teacher_BTHWK.shape != tokens_BTHWK.shape:
    raise InputError(
      f'the teacher scores tokens and classes of {teacher_BTHWK.shape}, the '
      f'student of {tokens_BTHWK.shape}; give both the same frames and classes'
    )
  soft_BTHWK = soft_labels(teacher_BTHWK, keep=keep)
  log_BTHWK = jax.nn.log_softmax(tokens_BTHWK.astype(jnp.float32))
  token_B = -(soft_BTHWK * log_BTHWK).sum(-1).mean((1, 2, 3))
  return (1 - share) * clip_B + share * token_B
