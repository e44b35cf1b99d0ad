"""Whether a recipe's loss and its model suit the labels of a data set.

Asked once, as a run is put together: a recipe is checked before its data is
known.
"""

from flax import linen as nn

from vidmodels import config as cfg
from vidmodels.data.records.task import Task
from vidmodels.typing import InputError

# Fields of models whose answers are then logarithms of probabilities.
LOG_PROBABILITIES = (('average', 'probs'), ('head_window', None))


def check(
  config: cfg.Config, model: nn.Module, task: Task, *, classes: int
) -> None:
  """Refuses what would train, and not what its author means.

  Raises:
    InputError: for heads that do not add up to the classes, or that are other
      than the model's groups; for smoothing, or a model that answers in
      probabilities, where each class is a question of its own; for a teacher
      where classes are not one question.
  """
  task.parts(classes)  # raises
  _check_heads(model, task)
  smoothing, teacher = config.loss.label_smoothing, config.loss.teacher
  if task.kind == 'multi' and smoothing:
    raise InputError(
      f'loss.label_smoothing is {smoothing} and the data set has any number of '
      'classes a video, each a yes or no of its own; set it to 0'
    )
  if teacher and (task.kind == 'multi' or task.heads):
    raise InputError(
      f'loss.teacher is {teacher} and the data set has more than one question '
      f'a video ({task.kind}, heads {list(dict(task.heads))}); a teacher '
      'answers one, leave it out'
    )
  if task.kind == 'multi' or (task.heads and not getattr(model, 'groups', ())):
    _check_answers(model, task)


def _check_answers(model: nn.Module, task: Task) -> None:
  """Probabilities of all classes together are none of several questions.

  Averaged over windows or frames they would weigh a head by its share of the
  sum: two verbs of .9 and .1 in a window that is sure of its noun count more.
  """
  several = ', '.join(dict(task.heads)) or 'any number of classes a video'
  for name, value in LOG_PROBABILITIES:
    ours = getattr(model, name, 0)
    if ours and value in (ours, None):
      raise InputError(
        f'model.{name} is {ours!r}, with which answers are probabilities that '
        f'add up to 1, and the data set has {several}; leave it at its default'
      )


def _check_heads(model: nn.Module, task: Task) -> None:
  """The heads of a model that has several are the data set's, in its order."""
  groups = tuple(getattr(model, 'groups', ()))
  if groups and groups != task.sizes:
    heads = dict(task.heads) or 'none'
    raise InputError(
      f'model.groups is {groups} and the heads of the data set are {heads}; '
      f'set model.groups to {task.sizes}'
    )
  if 'action' in dict(task.heads):
    raise InputError(
      "a head is called 'action', which is what all heads together are called; "
      'give it another name'
    )
