"""Scores of every view of every video, and what they are of: one npz file.

What a model said is kept view by view, so that whatever is counted from it can
be counted again without the model: with fewer views, another average, beside
another model's. `run` writes such files, `saved` reads them. NumPy only.
"""

import dataclasses
import io
import json
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.manifest import Manifest
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate import score_files
from vidmodels.files import write_atomically
from vidmodels.typing import InputError

# What NumPy, zipfile and our own reading say of files that are none of ours.
_DAMAGE = (
  *(OSError, ValueError, TypeError, AttributeError, LookupError, EOFError),
  *(RuntimeError, MemoryError, OverflowError, SyntaxError),
  *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
  """What scores are of: which split, what of it, seen how, by which weights.

  Attributes:
    split: name of the split.
    classes: what the scores' last axis means.
    task: what labels are.
    labelled: False if the split's labels are not published.
    listed: videos that the source listed; records plus lost.
    expected: clips that the split officially has; 0 if nobody says.
    lost: videos that gave no record.
    damaged: records with holes.
    limit: the records are the first so many of the list; 0: all of it.
    dataset: the published set that the records are of; '' if of none.
    fingerprint: of the records.
    subsets: names of videos that are also counted on their own.
    class_subsets: classes that are also counted on their own.
    temporal: views over time.
    spatial: crops of each: left or top, centre, right or bottom; or centre.
    average: how views make a video's scores; see `averaging.average`.
    of: (temporal, spatial) of the views that these were chosen from, if they
      were; see `averaging.fewer`.
    step: updates behind the weights.
    weights: 'params' or 'ema'.
    config: the recipe, as a dict.
  """

  split: str
  classes: ClassList
  task: Task = SINGLE
  labelled: bool = True
  listed: int
  expected: int = 0
  lost: int = 0
  damaged: int = 0
  limit: int = 0
  dataset: str = ''
  fingerprint: str
  subsets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  class_subsets: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  temporal: int
  spatial: int
  average: str
  of: tuple[int, int] | None = None
  step: int
  weights: str
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def views(self) -> str:
    """How many views, e.g. '4x3', or '2x1of4x3' if chosen from more."""
    text = f'{self.temporal}x{self.spatial}'
    return text if self.of is None else f'{text}of{self.of[0]}x{self.of[1]}'

  @property
  def name(self) -> str:
    """What numbers from these scores are called, e.g. 'test_4x3'."""
    return f'{self.split}_{self.views}'

  def same_weights(self, other: Self) -> bool:
    """Whether all that is known of two models, but how they look, is one."""

    def of(about: About) -> tuple[Any, ...]:
      # Views are not of the weights, and all else of a recipe may be.
      recipe = {k: v for k, v in about.config.items() if k != 'views'}
      return recipe, about.step, about.weights, about.fingerprint

    return of(self) == of(other)

  @property
  def stem(self) -> str:
    """A file name with all that can change the numbers."""
    return (
      f'{self.name}_step{self.step}_{self.weights}_{self.average}_'
      f'{self.fingerprint[:8]}'
    )

  @classmethod
  def of_records(
    cls, manifest: Manifest, classes: ClassList, **rest: Any
  ) -> Self:
    """All that the records say, and the `rest`, which they do not know."""
    limit = int(manifest.options.get('limit') or 0)
    # A limit that the list does not reach left nothing out.
    cuts = limit <= manifest.listed != manifest.expected
    return cls(
      split=manifest.split,
      classes=classes,
      task=manifest.task,
      labelled=manifest.labelled,
      listed=manifest.listed,
      expected=manifest.expected,
      lost=len(manifest.lost),
      damaged=len(manifest.damaged),
      limit=limit if cuts else 0,
      dataset=_dataset(str(manifest.options.get('source', ''))),
      fingerprint=manifest.fingerprint,
      subsets=manifest.subsets,
      class_subsets=manifest.class_subsets,
      **rest,
    )

  def to_json(self) -> dict[str, Any]:
    """A dict for JSON, which `from_json` reads."""
    value = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    value |= {'classes': self.classes.names, 'task': self.task.to_json()}
    crops = {1: ('centre',), 3: ('first', 'centre', 'last')}[self.spatial]
    return value | {'classes_sha256': self.classes.sha256, 'crops': crops}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """What `to_json` wrote."""
    value = {f.name: value[f.name] for f in dataclasses.fields(cls)}
    value['classes'] = ClassList.from_names(value['classes'])
    value['task'] = Task.from_json(value['task'])
    for name in ('subsets', 'class_subsets'):
      value[name] = {k: tuple(v) for k, v in value[name].items()}
    value['of'] = value['of'] and tuple(value['of'])
    return cls(**value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
  """Scores of every view of every video, in the records' order.

  Attributes:
    logits_RVK: float32; view v is temporal view v // spatial, crop v % spatial.
    label_Rx: as the task has it in a batch; blank if the split is unlabelled.
    videos: name of each.
    about: what they are of.
    file: where they are kept; '' if nowhere.
  """

  logits_RVK: np.ndarray
  label_Rx: np.ndarray
  videos: tuple[str, ...]
  about: About
  file: str = ''

  @property
  def inputs(self) -> tuple[pathlib.Path, ...]:
    """Files to be left alone: this one, and the report beside it."""
    path = pathlib.Path(self.file)
    return (path, path.with_suffix('.json')) if self.file else ()

  def same_model(self, other: Self) -> bool:
    """Whether the scores are of one model, as far as can be told.

    Of equal views one model gives equal scores, but for the rounding of a
    device: bfloat16 leaves under 1 %. Models that were brought in from other
    files may have one recipe and step 0, and differ in their scores.
    """
    if not self.about.same_weights(other.about):
      return False
    if self.logits_RVK.shape != other.logits_RVK.shape:
      return True
    ours, theirs = (s.logits_RVK.astype(np.float64) for s in (self, other))
    return bool(np.linalg.norm(ours - theirs) <= 0.02 * np.linalg.norm(ours))

  def check(self) -> None:
    """Raises InputError if a score is no number.

    Then nothing can be counted: the weights are broken.
    """
    if not np.isfinite(self.logits_RVK).all():
      raise InputError(
        'some scores are not finite: the weights are broken; take an earlier '
        'checkpoint with --step'
      )

  def save(self, path: pathlib.Path) -> None:
    """Writes an npz of logits, label, video and about; whole or not at all."""
    about = {'format': score_files.FORMAT, **self.about.to_json()}
    buffer = io.BytesIO()
    # Not compressed: floats lose a tenth, and 1 GB would take minutes.
    np.savez(
      buffer,
      logits=self.logits_RVK,
      label=self.label_Rx,
      video=np.array(self.videos, np.str_),
      about=np.array(json.dumps(about, ensure_ascii=False)),
    )
    write_atomically(path, buffer.getbuffer())

  @classmethod
  def load(cls, path: str | pathlib.Path) -> Self:
    """Reads what `save` wrote; nothing in the file is executed.

    Raises:
      InputError: if there is no such file, it is none of ours or damaged.
    """
    score_files.check_zip(pathlib.Path(path))
    try:
      with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file['about']))
        if about['format'] != score_files.FORMAT:
          raise ValueError(f'format {about["format"]!r}')
        scored = cls(
          logits_RVK=file['logits'],
          label_Rx=file['label'],
          videos=tuple(file['video'].tolist()),
          about=About.from_json(about),
          file=str(path),
        )
      scored._check_shapes()
    except _DAMAGE as e:
      why = f'{type(e).__name__}: {e}'
      if 'pickle' in str(e):  # NumPy goes on to say how to run it
        why = 'it holds Python objects, which may be programs'
      raise score_files.unusable(path, why) from e
    scored.check()
    return scored

  def _check_shapes(self) -> None:
    about, R = self.about, len(self.videos)
    K = len(about.classes)
    wanted = (R, about.temporal * about.spatial, K)
    blank = about.task.blank(K)
    if self.logits_RVK.shape != wanted or self.logits_RVK.dtype != np.float32:
      raise ValueError(
        f'logits {self.logits_RVK.dtype}{self.logits_RVK.shape}, wanted '
        f'float32{wanted}'
      )
    labels = self.label_Rx
    if labels.shape != (R, *blank.shape) or labels.dtype != blank.dtype:
      raise ValueError(
        f'labels {labels.dtype}{labels.shape}, wanted '
        f'{blank.dtype}{(R, *blank.shape)}'
      )
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if not 0 <= low <= high < max(K, 2):
      raise ValueError(f'labels from {low} to {high}, wanted 0 to {K - 1}')


def _dataset(source: str) -> str:
  """The published set that records were prepared from; '' for other sources."""
  try:
    return registry.find(source).name
  except InputError:
    return ''
