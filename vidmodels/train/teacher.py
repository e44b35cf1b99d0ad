"""A trained model that labels every token for another one (token labelling)."""

import jax
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels.data.records.class_list import ClassList
from vidmodels.train import restore
from vidmodels.train.objective import Teacher, normalise
from vidmodels.typing import InputError


def load(
  config: cfg.Config, student: nn.Module, classes: ClassList, mesh: Mesh
) -> Teacher | None:
  """The teacher that a recipe names, on the run's mesh; None if it names none.

  Raises:
    InputError: if the teacher or the student scores no tokens, or if the
      teacher's classes are others or more than one question.
  """
  has_head = getattr(student, 'token_head', False)
  if not config.loss.teacher:
    if has_head:
      raise InputError(
        'model.token_head=True and nothing trains it; give loss.teacher, the '
        'workdir of a trained model, or leave the head out'
      )
    return None
  if not has_head:
    raise InputError(
      f'loss.teacher={config.loss.teacher} and the model has no token head; '
      'set model.token_head=True, of a family that has one'
    )
  found = restore.load(config.loss.teacher, mesh=mesh)
  if different := classes.first_difference(found.classes):
    raise InputError(f'the teacher has other classes: {different}')
  if found.task.kind == 'multi' or found.task.heads:
    raise InputError(
      f'the teacher in {config.loss.teacher} answers more than one question a '
      'video; give one that answers a single one'
    )
  if not hasattr(found.model, 'token_logits'):
    raise InputError(
      f'the teacher in {config.loss.teacher} is a {found.config.family}, which '
      'scores no tokens; give one that does'
    )
  return make(found)


def make(found: restore.TrainedModel) -> Teacher:
  """A trained model as a teacher."""
  data, model = found.config.data, found.model

  def score(variables, video_BTHWC: jax.Array) -> jax.Array:
    video_BTHWC = normalise(video_BTHWC, data.mean, data.std)
    _, tokens_BTHWK = model.apply(
      variables, video_BTHWC, train=False, method='token_logits'
    )
    return tokens_BTHWK

  return Teacher(
    score=score,
    variables={'params': found.params, **found.model_state},
    identity={'step': found.step, 'weights': found.weights},
  )
