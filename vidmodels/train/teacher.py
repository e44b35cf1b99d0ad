"""A trained model that labels every token for another one (token labelling)."""

import jax
from flax import linen as nn
from jax.sharding import Mesh

from vidmodels import config as cfg
from vidmodels.data.records.class_list import ClassList
from vidmodels.train import restore
from vidmodels.train.step import normalise
from vidmodels.train.token_label import Teacher
from vidmodels.typing import InputError


def load(
  config: cfg.Config, student: nn.Module, classes: ClassList, mesh: Mesh
) -> Teacher | None:
  """The teacher that a recipe names, on the run's mesh; None if it names none.

  Refuses a teacher or a student without token scores, and a teacher of other
  classes or of more than one question.
  """
  workdir = config.loss.teacher
  has_head = getattr(student, 'token_head', False)
  if not workdir:
    if has_head:
      raise InputError(
        'got model.token_head=True, but nothing trains it; expected '
        'loss.teacher, the workdir of a trained model; try to set it, or leave '
        'the head out'
      )
    return None
  if not has_head:
    raise InputError(
      f'got loss.teacher={workdir}, but the model has no token head; expected '
      'model.token_head=True, in a family that has one; try to set it, or '
      'leave the teacher out'
    )
  trained = restore.load(workdir, mesh=mesh)
  if different := classes.first_difference(trained.classes):
    raise InputError(
      f'got a teacher of other classes: {different}; expected the classes of '
      'data.dir; try a teacher that was trained on them'
    )
  if trained.task.kind == 'multi' or trained.task.heads:
    raise InputError(
      f'got the teacher in {workdir}, which answers more than one question a '
      'video; expected one class a video; try another teacher'
    )
  if not hasattr(trained.model, 'token_logits'):
    raise InputError(
      f'got the teacher in {workdir}, a {trained.config.family}, which scores '
      'no tokens; expected a family with token_logits; try a dualformer'
    )
  data, model = trained.config.data, trained.model

  def score(variables, video_BTHWC: jax.Array):
    video_BTHWC = normalise(video_BTHWC, data.mean, data.std)
    _, tokens_BTHWK = model.apply(
      variables, video_BTHWC, train=False, method='token_logits'
    )
    return tokens_BTHWK

  return Teacher(
    score=score,
    variables={'params': trained.params, **trained.model_state},
    identity={'step': trained.step, 'weights': trained.weights},
  )
