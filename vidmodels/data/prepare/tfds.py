"""TensorFlow Datasets' video sets as decoded videos with their labels.

`prepare tfds:NAME` writes records from what this gives. Nothing is downloaded:
the set is one that TFDS has prepared on this machine. Which feature is the
video and which the label is found by type.
"""

import contextlib
import dataclasses
import importlib
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError

PREFIX = 'tfds:'
_RATES = ('fps', 'frame_rate', 'frames_per_second')
# `-vf scale=64:64,fps=10` or `-r 10`, as builders hand them to ffmpeg.
_FPS_FILTER = re.compile(r'(?:^|,)fps=(?:fps=)?(\d+(?:\.\d+)?)(?:/(\d+))?')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Video:
  """A decoded video of a TFDS split.

  Attributes:
    video: its name, unique in the split: the shard and the place in it.
    frames_THWC: uint8, RGB.
    labels: class indices; none if the set says none.
    fps: frames a second; 0 if the set does not say.
  """

  video: str
  frames_THWC: np.ndarray
  labels: tuple[int, ...]
  fps: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """A split of a TFDS set; can be sent to other processes.

  Attributes:
    name: of the set, as in `tfds:ucf101` or `tfds:ucf101/ucf101_1`.
    split: one of its splits.
    data_dir: where TFDS keeps its sets; None for TFDS's default.
    classes: names of the labels.
    task: 'multi' if a video has a sequence of labels, else 'single'.
    count: videos of the split.
    labelled: False if the set has no label for this split's videos.
    fps: of all videos; 0 if the set does not say, or says it of each.
    notes: what the user should read, a line each.
  """

  name: str
  split: str
  data_dir: str | None
  classes: ClassList
  task: Task
  count: int
  labelled: bool
  fps: float
  notes: tuple[str, ...]

  def videos(self, start: int = 0, stop: int | None = None) -> Iterator[Video]:
    """The videos of a range, decoded one at a time, in TFDS's fixed order.

    Video i is the same whatever range it is asked in.

    Args:
      start: number of the first.
      stop: number after the last; None for the end.

    Raises:
      InputError: if a video cannot be taken; its name is said.
    """
    tfds = _library()
    stop = self.count if stop is None else min(stop, self.count)
    if start >= stop:
      return
    builder = _builder(tfds, self.name, self.data_dir)
    video, label, rate = _features(tfds, builder)
    for example in _examples(tfds, builder, self.split, start, stop):
      name = example['tfds_id'].decode()
      yield Video(
        video=name,
        frames_THWC=_rgb(example[video], name),
        labels=self._labels(example[label], name),
        fps=float(example[rate]) if rate else self.fps,
      )

  def _labels(self, value: Any, name: str) -> tuple[int, ...]:
    labels = _labels(value)
    if self.task == SINGLE and bool(labels) != self.labelled:
      raise InputError(
        f'{name} has {"a" if labels else "no"} label, unlike the first video '
        f'of {PREFIX}{self.name} {self.split}; wanted one for all or for none'
      )
    return labels


def open_split(
  name: str, split: str, data_dir: str | os.PathLike[str] | None = None
) -> Split:
  """Looks at a split without reading a video.

  Args:
    name: `NAME` or `NAME/CONFIG`, with or without `tfds:` before it.
    split: one of the set's splits.
    data_dir: where TFDS keeps its sets; None for its default.

  Raises:
    InputError: if TFDS is not installed, has not prepared the set, or the set
      has not one video and one label, or no such split.
  """
  tfds = _library()
  name = name.removeprefix(PREFIX)
  data_dir = None if data_dir is None else os.fspath(data_dir)
  builder = _builder(tfds, name, data_dir)
  _check_split(builder, name, split)
  video, label, rate = _features(tfds, builder)
  feature = builder.info.features[label]
  many = isinstance(feature, tfds.features.Sequence)
  classes = feature.feature if many else feature
  fps = 0.0 if rate else _fps(builder, video)
  (first,) = _examples(tfds, builder, split, 0, 1, only=label)
  # A sequence may be empty; a class is -1 where nobody published it.
  labelled = many or bool(_labels(first[label]))
  silent = (
    f'{PREFIX}{name} does not say how many frames a second its videos have; '
    'its clips can be sampled by frames only'
  )
  return Split(
    name=name,
    split=split,
    data_dir=data_dir,
    classes=ClassList.from_names(classes.names),
    task=Task('multi') if many else SINGLE,
    count=builder.info.splits[split].num_examples,
    labelled=labelled,
    fps=fps,
    notes=() if rate or fps else (silent,),
  )


def _check_split(builder: Any, name: str, split: str) -> None:
  if split not in builder.info.splits:
    raise InputError(
      f'{PREFIX}{name} has no split {split!r}; wanted one of '
      f'{", ".join(builder.info.splits)}; give it with --split'
    )


def _library() -> Any:
  try:
    # In this order: it takes seconds to import TensorFlow.
    tfds = importlib.import_module('tensorflow_datasets')
    tf = importlib.import_module('tensorflow')
  except ImportError as e:
    raise InputError(
      f'{PREFIX} sets need TensorFlow Datasets, which does not import here '
      f'({e}); wanted: pip install "vidmodels[tf]", or pip install '
      'tensorflow-datasets tensorflow'
    ) from e
  # TensorFlow would take all memory of the accelerator, for JPEGs.
  with contextlib.suppress(RuntimeError):  # its devices are in use already
    tf.config.set_visible_devices([], 'GPU')
  return tfds


def _builder(tfds: Any, name: str, data_dir: str | None) -> Any:
  try:
    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ValueError, TypeError) as e:
    raise InputError(
      f'{PREFIX}{name} came; wanted a set that TensorFlow Datasets knows, as '
      f'{PREFIX}ucf101 or {PREFIX}ucf101/ucf101_2 ({_first_line(e)})'
    ) from e
  if not builder.info.splits:
    raise InputError(
      f'{PREFIX}{name} is not prepared in {builder.data_dir}; wanted what '
      f'`tfds build {name}` writes; run that, or give its folder with '
      '--videos'
    )
  return builder


def _examples(
  tfds: Any,
  builder: Any,
  split: str,
  start: int,
  stop: int,
  *,
  only: str | None = None,
) -> Iterator[dict[str, Any]]:
  """Examples of a range in the order of the files, each with its name.

  Args:
    tfds: the library.
    builder: of the set.
    split: of it.
    start: number of the first.
    stop: number after the last.
    only: the one feature to decode; None for all.
  """
  decoders = tfds.decode.PartialDecoding({only: True}) if only else None
  shown = builder.as_dataset(
    split=tfds.core.ReadInstruction(split, from_=start, to=stop, unit='abs'),
    shuffle_files=False,
    decoders=decoders,
    # One file after the other: TFDS would otherwise mix 16 of them.
    read_config=tfds.ReadConfig(
      interleave_cycle_length=1, add_tfds_id=True, try_autocache=False
    ),
  )
  return iter(tfds.as_numpy(shown))


def _features(tfds: Any, builder: Any) -> tuple[str, str, str | None]:
  """Names of the video, the label and, if each video says it, the rate."""
  features = builder.info.features
  videos, labels, rates = [], [], []
  kinds = tfds.features
  for key, feature in sorted(dict(features).items()):
    inner = getattr(feature, 'feature', feature)
    if isinstance(feature, kinds.Video):
      videos.append(key)
    elif isinstance(inner, kinds.ClassLabel):
      labels.append(key)
    elif key in _RATES and feature.shape == ():
      rates.append(key)
  for what, found in (('video', videos), ('class label', labels)):
    if len(found) != 1:
      raise InputError(
        f'{PREFIX}{builder.info.full_name} has {len(found)} features that are '
        f'a {what} {found} among {sorted(features)}; wanted exactly one'
      )
  return videos[0], labels[0], rates[0] if rates else None


def _fps(builder: Any, video: str) -> float:
  """The rate that the builder asked ffmpeg for, or its metadata name."""
  content = builder.info.features[video].to_json_content()
  args = list(content.ffmpeg_extra_args)
  for flag, value in itertools.pairwise(args):
    if flag == '-r' and _positive(value):
      return float(value)
    match = _FPS_FILTER.search(value) if 'vf' in flag else None
    if match:
      return float(match[1]) / float(match[2] or 1)
  metadata = builder.info.metadata or {}
  value = next((metadata[key] for key in _RATES if key in metadata), 0)
  return float(value) if _positive(value) else 0.0


def _positive(value: Any) -> bool:
  try:
    return 0 < float(value) < math.inf
  except (TypeError, ValueError):
    return False


def _labels(value: Any) -> tuple[int, ...]:
  """Indices of an example, each once; -1 stands for none."""
  labels = np.atleast_1d(value).tolist()
  return tuple(dict.fromkeys(label for label in labels if label >= 0))


def _rgb(frames_THWC: np.ndarray, name: str) -> np.ndarray:
  shape, dtype = frames_THWC.shape, frames_THWC.dtype
  if not shape[0] or dtype != np.uint8 or shape[-1] not in (1, 3):
    raise InputError(
      f'{name} came as {dtype} of shape {shape}; wanted uint8 frames with 1 '
      'or 3 channels'
    )
  if shape[-1] == 1:
    return np.repeat(frames_THWC, 3, axis=-1)
  return frames_THWC


def _first_line(error: Exception) -> str:
  lines: Sequence[str] = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
