"""What a file that we exported says about itself, beside its tensors.

  text = Description(names='release', config=config, ...).to_json()
  description = Description.from_json(text, 'first.safetensors')

No tensor tells the heads of an attention, how pixels were scaled, what the
classes are called or which frames make a clip. So our files hold one JSON
document with all that: under 'vidmodels' in the metadata of a safetensors
header and beside the tensors of a .pth, and as the comment of an npz archive.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Self

from vidmodels import checked_json
from vidmodels import config as cfg
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import Task
from vidmodels.typing import AnyPath, InputError, quote

FORMAT = 1  # of the document; a later one may not be readable here
# What a document that was edited makes the code below raise.
BAD_DOCUMENT = (
  TypeError,
  ValueError,
  LookupError,
  AttributeError,
  ArithmeticError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
  """What a file says about its model and its training."""

  names: str  # whose key names the tensors have
  # The whole recipe: family, model fields, clip, views, mean and std. Paths of
  # the machine that wrote it are left out.
  config: cfg.Config
  classes: ClassList  # the classes of the logits, in order
  task: Task  # the kind of labels
  fps: float  # frame rate of its records; 0 if they keep that of the videos
  step: int  # updates behind the weights
  weights: str  # 'params' or 'ema'
  version: str  # of vidmodels
  channels: str = 'RGB'  # order of the channels that the weights take
  # source: the file that the training started from, as far as it is known, with
  # its licence
  source: Mapping[str, Any] | None = None

  def to_json(self) -> str:
    """The document as text in ASCII, on one line."""
    document = {
      'format': FORMAT,
      'version': self.version,
      'names': self.names,
      'family': self.config.family,
      'step': self.step,
      'weights': self.weights,
      'classes': list(self.classes.names),
      'classes_sha256': self.classes.sha256,
      'task': self.task.to_json(),
      'channels': self.channels,
      'fps': self.fps,
      'source': self.source and dict(self.source),
      'recipe': cfg.as_dict(without_paths(self.config)),
    }
    return json.dumps(document, separators=(',', ':'))

  @classmethod
  def from_json(cls, text: str, path: AnyPath) -> Self:
    """Reads and checks the document of a file; `path` is for messages."""
    try:
      return cls._read(checked_json.parse(text))
    except BAD_DOCUMENT as error:
      reason = str(error)
      if isinstance(error, LookupError):
        reason = f'it has no {reason}'
      raise InputError(
        f'got {quote(path)}, whose description of itself cannot be read '
        f'({reason[:300]}); expected what `vidmodels weights export` of '
        'this version writes; try exporting the file again'
      ) from error

  @classmethod
  def _read(cls, document: Mapping[str, Any]) -> Self:
    """From the parsed document; a bad value is one of BAD_DOCUMENT."""
    if document['format'] != FORMAT:
      raise InputError(
        f'got format {document["format"]!r}; expected {FORMAT}; try the '
        'version of vidmodels that wrote it'
      )
    names = [_typed(n, str) for n in _typed(document['classes'], list)]
    classes = ClassList.from_names(names)
    if document['classes_sha256'] != classes.sha256:
      raise InputError(
        'got class names whose hash is another than the one beside them; '
        'expected the names as they were written'
      )
    source, task = document['source'], Task.from_json(document['task'])
    task.parts(len(classes))  # raises if the heads do not add up
    return cls(
      names=_typed(document['names'], str),
      config=cfg.check(_typed(document['recipe'], dict)),
      classes=classes,
      task=task,
      fps=float(_not_negative(document['fps'], float, int)),
      step=_not_negative(document['step'], int),
      weights=_one_of(document['weights'], 'params', 'ema'),
      version=_typed(document['version'], str),
      channels=_one_of(document['channels'], 'RGB', 'BGR'),
      source=None if source is None else _typed(source, dict),
    )

  def summary(self) -> dict[str, Any]:
    """The same as plain data for a report, without the recipe's fields."""
    config = self.config
    return {
      'version': self.version,
      'names': self.names,
      'family': config.family,
      'step': self.step,
      'weights': self.weights,
      'classes': list(self.classes.names),
      'mean': list(config.data.mean),
      'std': list(config.data.std),
      'channels': self.channels,
      'clip': dataclasses.asdict(config.clip),
      'views': dataclasses.asdict(config.views),
      'source': self.source and dict(self.source),
    }


def without_paths(config: cfg.Config) -> cfg.Config:
  """The recipe without places on the machine: a file goes to strangers."""
  name = lambda path: pathlib.PurePath(path).name
  return dataclasses.replace(
    config,
    init_from='',
    init_head='auto',
    init_positions='',
    data=dataclasses.replace(config.data, dir=name(config.data.dir) or 'data'),
    loss=dataclasses.replace(config.loss, teacher=name(config.loss.teacher)),
  )


def _typed(value: Any, *kinds: type) -> Any:
  """The value, if it is of one of the kinds; True is no number."""
  if type(value) not in kinds:
    raise TypeError(f'got {value!r:.60}; expected {kinds[0].__name__}')
  return value


def _not_negative(value: Any, *kinds: type) -> Any:
  if not _typed(value, *kinds) >= 0:
    raise ValueError(f'got {value!r:.60}; expected at least 0')
  return value


def _one_of(value: Any, *choices: str) -> str:
  if value not in choices:
    raise ValueError(f'got {value!r:.60}; expected one of {choices}')
  return value
