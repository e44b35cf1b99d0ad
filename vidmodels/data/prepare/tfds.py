"""Reads the video sets of TensorFlow Datasets: decoded videos with labels.

  split = tfds.open_split('tfds:ucf101', 'train')
  for video in split.videos(): video.frames_THWC, video.labels

`prepare tfds:NAME` makes records of these. Nothing is downloaded: TFDS has to
have prepared the set on this machine. The features with the video and the
label are found by their types.
"""

import contextlib
import dataclasses
import importlib
import itertools
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import AnyPath, InputError

PREFIX = 'tfds:'
_RATES = ('fps', 'frame_rate', 'frames_per_second')
# `-vf scale=64:64,fps=10` or `-r 10`, as builders hand them to ffmpeg.
_FPS_FILTER = re.compile(r'(?:^|,)fps=(?:fps=)?(\d+(?:\.\d+)?)(?:/(\d+))?')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TfdsVideo:
  """A decoded video of a TFDS split."""

  video: str  # its name, unique in the split: the shard and the index in it
  frames_THWC: np.ndarray  # uint8, RGB
  labels: tuple[int, ...]  # class indices; none if the set has none for it
  fps: float  # frames a second; 0 if unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSplit:
  """A split of a TFDS set; can be sent to other processes."""

  name: str  # of the set, such as `ucf101` or `ucf101/ucf101_1`
  split: str  # one of its splits
  data_dir: str | None  # where TFDS keeps its sets; None for TFDS's default
  classes: ClassList  # names of the labels
  task: Task  # 'multi' if a video has a sequence of labels, else 'single'
  count: int  # videos of the split
  labelled: bool  # False if the set has no label for this split's videos
  fps: float  # of all videos; 0 if unknown, or given for each video
  notes: tuple[str, ...]  # lines for the user

  def videos(
    self, start: int = 0, stop: int | None = None
  ) -> Iterator[TfdsVideo]:
    """Yields videos `start` to `stop`, decoded one at a time, in TFDS's order.

    The order is fixed: video i is the same in every range. An error names the
    video that cannot be used.
    """
    tfds = _import_tfds()
    stop = self.count if stop is None else min(stop, self.count)
    if start >= stop:
      return
    builder = _load_builder(tfds, self.name, self.data_dir)
    video, label, rate = _find_features(tfds, builder)
    for example in _read_examples(tfds, builder, self.split, start, stop):
      name = example['tfds_id'].decode()
      labels = _label_indices(example[label])
      if self.task == SINGLE and bool(labels) != self.labelled:
        raise InputError(
          f'got {"a" if labels else "no"} label for {name}, unlike the first '
          f'video of {PREFIX}{self.name} {self.split}; expected one for all '
          'or for none'
        )
      yield TfdsVideo(
        video=name,
        frames_THWC=_to_rgb(example[video], name),
        labels=labels,
        fps=float(example[rate]) if rate else self.fps,
      )


def open_split(
  name: str, split: str, data_dir: AnyPath | None = None
) -> TfdsSplit:
  """Describes a split of `NAME` or `NAME/CONFIG` without reading a video.

  `tfds:` may stand before the name; `data_dir` is where TFDS keeps its sets,
  None for its default. Raises InputError if TFDS is not installed or has not
  prepared the set, if the set lacks the split, or if it does not have one video
  and one label.
  """
  tfds = _import_tfds()
  name = name.removeprefix(PREFIX)
  data_dir = None if data_dir is None else os.fspath(data_dir)
  builder = _load_builder(tfds, name, data_dir)
  if split not in builder.info.splits:
    raise InputError(
      f'got split {split!r}, but {PREFIX}{name} has no split {split!r}; '
      f'expected one of {", ".join(builder.info.splits)}; try it with --split'
    )
  video, label, rate = _find_features(tfds, builder)
  feature = builder.info.features[label]
  many = isinstance(feature, tfds.features.Sequence)
  classes = feature.feature if many else feature
  fps = 0.0 if rate else _find_fps(builder, video)
  (first,) = _read_examples(tfds, builder, split, 0, 1, only=label)
  # A sequence may be empty; an unpublished class is -1.
  labelled = many or bool(_label_indices(first[label]))
  no_fps = (
    f'{PREFIX}{name} does not say how many frames a second its videos have; '
    'its clips can be sampled by frames only'
  )
  return TfdsSplit(
    name=name,
    split=split,
    data_dir=data_dir,
    classes=ClassList.from_names(classes.names),
    task=Task('multi') if many else SINGLE,
    count=builder.info.splits[split].num_examples,
    labelled=labelled,
    fps=fps,
    notes=() if rate or fps else (no_fps,),
  )


def _import_tfds() -> Any:
  try:
    # In this order: importing TensorFlow takes seconds.
    tfds = importlib.import_module('tensorflow_datasets')
    tf = importlib.import_module('tensorflow')
  except ImportError as e:
    raise InputError(
      f'got a {PREFIX} set, but TensorFlow Datasets does not import here '
      f'({e}); expected it installed; try pip install "vidmodels[tf]", or pip '
      'install tensorflow-datasets tensorflow'
    ) from e
  # Otherwise TensorFlow takes all memory of the accelerator, for JPEGs.
  with contextlib.suppress(RuntimeError):  # its devices are in use already
    tf.config.set_visible_devices([], 'GPU')
  return tfds


def _load_builder(tfds: Any, name: str, data_dir: str | None) -> Any:
  try:
    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
  except (tfds.core.DatasetNotFoundError, ValueError, TypeError) as e:
    reason = (str(e).strip() or type(e).__name__).splitlines()[0]
    raise InputError(
      f'got {PREFIX}{name} ({reason}); expected a set that TensorFlow Datasets '
      f'knows; try {PREFIX}ucf101 or {PREFIX}ucf101/ucf101_2'
    ) from e
  if not builder.info.splits:
    raise InputError(
      f'got {PREFIX}{name}, but {name} is not prepared in '
      f'{builder.data_dir}; expected what `tfds build {name}` writes; try to '
      'run that, or give its folder with --videos'
    )
  return builder


def _read_examples(
  tfds: Any,
  builder: Any,
  split: str,
  start: int,
  stop: int,
  *,
  only: str | None = None,
) -> Iterator[dict[str, Any]]:
  """Yields examples `start` to `stop` in the order of the files, with names.

  Decodes the feature `only`, or all.
  """
  decoders = tfds.decode.PartialDecoding({only: True}) if only else None
  dataset = builder.as_dataset(
    split=tfds.core.ReadInstruction(split, from_=start, to=stop, unit='abs'),
    shuffle_files=False,
    decoders=decoders,
    # One file after the other; by default TFDS mixes 16 of them.
    read_config=tfds.ReadConfig(
      interleave_cycle_length=1, add_tfds_id=True, try_autocache=False
    ),
  )
  return iter(tfds.as_numpy(dataset))


def _find_features(tfds: Any, builder: Any) -> tuple[str, str, str | None]:
  """Names of the features with the video, the label and, if any, the rate."""
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
  for what, names in (('video', videos), ('class label', labels)):
    if len(names) != 1:
      raise InputError(
        f'got {PREFIX}{builder.info.full_name} with {len(names)} features that '
        f'are a {what} {names} among {sorted(features)}; expected exactly one'
      )
  return videos[0], labels[0], rates[0] if rates else None


def _find_fps(builder: Any, video: str) -> float:
  """The rate that the builder asks ffmpeg for, or that its metadata name."""
  content = builder.info.features[video].to_json_content()
  args = list(content.ffmpeg_extra_args)
  for flag, value in itertools.pairwise(args):
    if flag == '-r' and _is_positive(value):
      return float(value)
    match = _FPS_FILTER.search(value) if 'vf' in flag else None
    if match:
      return float(match[1]) / float(match[2] or 1)
  metadata = builder.info.metadata or {}
  value = next((metadata[key] for key in _RATES if key in metadata), 0)
  return float(value) if _is_positive(value) else 0.0


def _is_positive(value: Any) -> bool:
  try:
    return 0 < float(value) < math.inf
  except (TypeError, ValueError):
    return False


def _label_indices(value: Any) -> tuple[int, ...]:
  """The labels of an example, each once; -1 stands for none."""
  labels = np.atleast_1d(value).tolist()
  return tuple(dict.fromkeys(label for label in labels if label >= 0))


def _to_rgb(frames_THWC: np.ndarray, name: str) -> np.ndarray:
  shape, dtype = frames_THWC.shape, frames_THWC.dtype
  if not shape[0] or dtype != np.uint8 or shape[-1] not in (1, 3):
    raise InputError(
      f'got {name} as {dtype} of shape {shape}; expected uint8 frames with 1 '
      'or 3 channels'
    )
  if shape[-1] == 1:
    return np.repeat(frames_THWC, 3, axis=-1)
  return frames_THWC
