"""The scores of every view of every video, kept in one .npz file.

  scores = SplitScores.load('runs/first/evaluation/test_4x3_....npz')
  scores.logits_RVK, scores.videos, scores.info.views

The scores are kept view by view, so that they can be counted again without the
model: with fewer views, with another average, or together with another model.
`score_split` writes these files. NumPy only.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from vidmodels import checked_json, files, local_cache
from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.record_set import Manifest
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.files import write_atomically
from vidmodels.typing import Count, InputError, Name, Positive, check_value
from vidmodels.weights.formats import npz
from vidmodels.weights.formats.tensors import Tensors

FORMAT = 'vidmodels-scores-1'
# Fields that scores have in common with the manifest of their records.
_SHARED = (
  *('split', 'task', 'labelled', 'listed', 'expected', 'fingerprint'),
  *('subsets', 'class_subsets'),
)
_LARGEST_ABOUT = 1 << 26  # letters; that of 50,000 videos has 3 million
_FIELDS: Mapping[str, Any] = {
  'split': Name,
  'classes': tuple[str, ...],
  'task': dict[str, Any],
  'labelled': bool,
  'listed': Count,
  'expected': Count,
  'lost': Count,
  'damaged': Count,
  'limit': Count,
  'dataset': str,
  'fingerprint': Name,
  'subsets': dict[str, tuple[str, ...]],
  'class_subsets': dict[str, tuple[Count, ...]],
  'temporal': Positive,
  'spatial': Literal[1, 3],
  'average': Literal['logits', 'probs', 'max'],
  'of': tuple[Positive, Positive] | None,
  'step': Count,
  'weights': Name,
  'config': dict[str, Any],
  'knn': Count,
}
# Errors that NumPy, zipfile and the reading below raise for a foreign or
# damaged file.
_READ_ERRORS = (
  *(OSError, ValueError, TypeError, AttributeError, LookupError, EOFError),
  *(RuntimeError, MemoryError, OverflowError, SyntaxError),
  *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreInfo:
  """Describes scores: the split, the views, the weights."""

  split: str  # name of the split
  classes: ClassList  # the classes that the last axis of the scores stands for
  task: Task = SINGLE  # kind of the labels
  labelled: bool = True  # False if the split's labels are not published
  listed: int  # videos that the source listed: the records plus the lost videos
  expected: int = 0  # clips that the split officially has; 0 if unknown
  lost: int = 0  # videos that gave no record
  damaged: int = 0  # records with frames that did not decode
  # limit: the records are only the first so many of the list; 0: all of it
  limit: int = 0
  dataset: str = ''  # the published data set of the records; '' if none
  fingerprint: str  # identifies the records
  # subsets: subset name -> names of its videos; each is also counted alone
  subsets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  # class_subsets: subset name -> its classes; each is also counted alone
  class_subsets: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  temporal: int  # views over time
  spatial: int  # crops of each: left or top, centre, right or bottom; or centre
  # average: how views make a video's scores; see `averaging.average_logits`
  average: str
  # of: (temporal, spatial) of the views that these were selected from, if they
  # were; see `averaging.select_views`
  of: tuple[int, int] | None = None
  step: int  # updates behind the weights
  weights: str  # 'params' or 'ema'
  # config: the recipe, as a dict
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  # knn: so many nearest training videos voted; 0: the scores are the head's
  knn: int = 0

  @property
  def views(self) -> str:
    """The number of views, e.g. '4x3', or '2x1of4x3' if selected from more."""
    text = f'{self.temporal}x{self.spatial}'
    return text if self.of is None else f'{text}of{self.of[0]}x{self.of[1]}'

  @property
  def name(self) -> str:
    """The name of numbers that come from these scores, e.g. 'test_4x3'.

    Of nearest neighbours 'test_4x3_knn20'.
    """
    voters = f'_knn{self.knn}' if self.knn else ''
    return f'{self.split}_{self.views}{voters}'

  @property
  def stem(self) -> str:
    """A file name that contains all that can change the numbers."""
    weights = f'step{self.step}_{self.weights}_{self.average}'
    return f'{self.name}_{weights}_{self.fingerprint[:8]}'

  def same_weights(self, other: Self) -> bool:
    """Whether recipe, step, weights and records agree; views may differ."""

    def identity(info: ScoreInfo) -> tuple[Any, ...]:
      recipe = {k: v for k, v in info.config.items() if k != 'views'}
      return recipe, info.step, info.weights, info.fingerprint, info.knn

    return identity(self) == identity(other)

  @classmethod
  def of_records(
    cls, manifest: Manifest, classes: ClassList, **rest: Any
  ) -> Self:
    """Takes what the records know from them, and all else from `rest`."""
    limit = int(manifest.options.get('limit') or 0)
    # A limit that the list does not reach left nothing out.
    cuts = limit <= manifest.listed != manifest.expected
    dataset = ''
    with contextlib.suppress(InputError):  # the source is no published data set
      dataset = registry.find(str(manifest.options.get('source', ''))).name
    return cls(
      **{name: getattr(manifest, name) for name in _SHARED},
      classes=classes,
      lost=len(manifest.lost),
      damaged=len(manifest.damaged),
      limit=limit if cuts else 0,
      dataset=dataset,
      **rest,
    )

  def to_json(self) -> dict[str, Any]:
    """Returns a dict for JSON, which `from_json` reads."""
    value = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    value |= {'classes': self.classes.names, 'task': self.task.to_json()}
    crops = {1: ('centre',), 3: ('first', 'centre', 'last')}[self.spatial]
    return value | {'classes_sha256': self.classes.sha256, 'crops': crops}

  @classmethod
  def from_json(cls, value: Mapping[str, Any]) -> Self:
    """Reads what `to_json` wrote; InputError for anything else."""
    known = checked_json.fields(
      value, _FIELDS, optional={'knn': 0}, name='the description'
    )
    for name in (*known['subsets'], *known['class_subsets']):
      check_value(name, Name, path='a subset')
    return cls(
      **known
      | {
        'classes': ClassList.from_names(known['classes']),
        'task': Task.from_json(known['task']),
      }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitScores:
  """Scores of every view of every video of a split, in the records' order."""

  # logits_RVK: float32; view v is temporal view v // spatial, crop v % spatial
  logits_RVK: np.ndarray
  # label_Rx: as the task has it in a batch; blank if the split is unlabelled
  label_Rx: np.ndarray
  videos: tuple[str, ...]  # name of each video
  info: ScoreInfo  # describes the scores
  file: str = ''  # the file that holds them; '' if none does

  @property
  def inputs(self) -> tuple[pathlib.Path, ...]:
    """Files that must not be overwritten: this one, and the report beside."""
    path = files.place(self.file or '.')
    return (path, path.with_suffix('.json')) if self.file else ()

  def same_model(self, other: Self) -> bool:
    """Whether both scores seem to come from one model.

    For equal views, one model gives equal scores up to the rounding of a
    device: bfloat16 stays under 1 %. Imported models may share one recipe and
    step 0, but then their scores differ.
    """
    if not self.info.same_weights(other.info):
      return False
    if self.logits_RVK.shape != other.logits_RVK.shape:
      return True
    ours, theirs = (s.logits_RVK.astype(np.float64) for s in (self, other))
    return bool(np.linalg.norm(ours - theirs) <= 0.02 * np.linalg.norm(ours))

  def check(self) -> None:
    """Raises InputError if a score is not finite: the weights are broken."""
    if not np.isfinite(self.logits_RVK).all():
      raise InputError(
        'got scores that are not finite: the weights are broken; try an '
        'earlier checkpoint with --step'
      )

  def save(self, path: pathlib.Path) -> None:
    """Writes an npz of logits, label, video and about; whole or not at all."""
    about = {'format': FORMAT, **self.info.to_json()}
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
    """Reads what `save` wrote; nothing in the file is executed."""
    try:
      copy = local_cache.local_copy(path)
    except FileNotFoundError as error:
      raise _unusable_file_error(path, str(error.strerror)) from error
    _check_zip(copy)
    try:
      arrays = npz.read_npz(copy, kinds=npz.NUMBERS + npz.TEXT)
      if missing := {'about', 'logits', 'label', 'video'} - {*arrays}:
        raise ValueError(f'it has no {min(missing)}')
      _check_spec(arrays, 'about', np.str_, ())
      about = checked_json.parse(str(arrays['about']), largest=_LARGEST_ABOUT)
      if not isinstance(about, dict) or about.get('format') != FORMAT:
        raise ValueError(f'it is not of format {FORMAT}')
      info = ScoreInfo.from_json(about)
      # Shapes first: what does not fit is not unpacked.
      (R,) = arrays.specs['video'][0]
      blank = info.task.blank(len(info.classes))
      shape = (R, info.temporal * info.spatial, len(info.classes))
      _check_spec(arrays, 'video', np.str_, (R,))
      _check_spec(arrays, 'logits', np.float32, shape)
      _check_spec(arrays, 'label', blank.dtype, (R, *blank.shape))
      scores = cls(
        logits_RVK=arrays['logits'],
        label_Rx=arrays['label'],
        videos=tuple(arrays['video'].tolist()),
        info=info,
        file=str(path),
      )
      scores._check_labels()
    except _READ_ERRORS as e:
      raise _unusable_file_error(path, f'{e!s:.300}') from e
    scores.check()
    return scores

  def _check_labels(self) -> None:
    K, labels = len(self.info.classes), self.label_Rx
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if not 0 <= low <= high < max(K, 2):
      raise ValueError(
        f'got labels from {low} to {high}, expected 0 to {K - 1}'
      )


def _check_spec(
  arrays: Tensors, name: str, dtype: Any, shape: tuple[int, ...]
) -> None:
  """Raises ValueError unless an array of a file has this kind and shape."""
  got_shape, got = arrays.specs[name]
  # The width of a text is that of the longest.
  is_text = got.type is np.str_ is dtype
  if got_shape != shape or not (is_text or got == dtype):
    raise ValueError(
      f'got {name} {got}{got_shape}, expected {np.dtype(dtype)}{shape}'
    )


def find_score_file(path: str | pathlib.Path) -> pathlib.Path:
  """Returns `path`, or the only .npz file in it if it is a folder."""
  path = files.place(path)
  if not path.is_dir():
    return path
  candidates = sorted(path.glob('*.npz'))
  if len(candidates) != 1:
    names = ', '.join(file.name for file in candidates) or 'no .npz'
    move = 'naming one of them' if candidates else 'evaluating the model first'
    raise InputError(
      f'got the folder {path}, which holds {names}; expected one .npz of '
      f'scores in it, or the name of a file; try {move}'
    )
  return candidates[0]


def _check_zip(path: pathlib.Path) -> None:
  """Raises InputError unless the file is a zip archive, as every .npz is.

  NumPy would treat any other file as a pickle, and say how to run it.
  """
  try:
    with open(path, 'rb') as file:
      start = file.read(4)
      complete = zipfile.is_zipfile(file)
  except (OSError, ValueError) as e:  # ValueError: a name with a NUL
    reason = getattr(e, 'strerror', None) or str(e)
    raise _unusable_file_error(path, reason) from e
  if not start:
    raise _unusable_file_error(path, 'it is empty')
  if start[:2] != b'PK':
    raise _unusable_file_error(path, 'it is no .npz file')
  if not complete:
    raise _unusable_file_error(
      path, 'it is an .npz or zip file that is cut short'
    )


def _unusable_file_error(path: str | pathlib.Path, reason: str) -> InputError:
  return InputError(
    f'cannot use {path}: {reason}; expected an .npz that `vidmodels evaluate` '
    f'wrote, of format {FORMAT}; try naming that file, or evaluate again'
  )
