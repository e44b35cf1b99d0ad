"""Classifies video files: the top classes of a file or of each window of it.

  predictor = Predictor(restore.load('runs/first'), views=views, top=5)
  for prediction in predictor.predict_file('clip.mp4', window_s=2.0):
    print(prediction.start_s, prediction.classes, prediction.probabilities)

Without windows, a file is one segment and its views are those of evaluation. It
is decoded twice: for the times, and for the frames that the times select. With
windows, each window is treated as a video of its own, in one pass. Either way,
memory does not grow with the file.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cv2
import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels.data.augment import cut, fit_short_side
from vidmodels.data.prepare import encode
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import Task
from vidmodels.data.sampling import rules
from vidmodels.data.sampling import views as viewing
from vidmodels.data.video import container, decode
from vidmodels.evaluate import averaging
from vidmodels.train.feed import to_device
from vidmodels.train.mesh import round_up_batch
from vidmodels.train.restore import TrainedModel
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class Segment:
  """Frames of a file between two times."""

  start_s: float  # time of its first frame, seconds from the file's first frame
  end_s: float  # time of its last frame
  # times_us: time of every frame, microseconds from the segment's first, [n]
  times_us: np.ndarray
  # frames: frame number -> frame, for those that views may use; uint8 [H, W, C]
  # RGB
  frames: Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TopClasses:
  """The likeliest classes of a video, best first."""

  classes: tuple[str, ...]  # names; with heads, one of each, as 'take tap'
  # probabilities: of these classes, from 0 to 1; with heads, the product over
  # the heads. All classes together sum to 1, unless classes are questions of
  # their own.
  probabilities: tuple[float, ...]
  # heads: (name, probability) of each head's own classes; {} without heads
  heads: dict[str, tuple[tuple[str, float], ...]]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The best classes of one segment of one file."""

  file: str  # the file as the caller named it
  start_s: float  # seconds; 0 for a whole file
  end_s: float  # seconds
  frames: int  # frames decoded in the segment
  views: int  # the number of views whose scores were averaged
  classes: tuple[str, ...]  # as in `TopClasses`, and so the next two
  probabilities: tuple[float, ...]
  heads: Mapping[str, tuple[tuple[str, float], ...]]

  def as_json(self) -> dict[str, Any]:
    """Returns a plain dict."""
    return dataclasses.asdict(self)


class Predictor:
  """A trained model that classifies files; compiled once.

  `views` are those of evaluation; `top` is the number of classes in a
  prediction, at most all.
  """

  def __init__(self, model: TrainedModel, *, views: cfg.Views, top: int):
    averaging.check_average(views.average, model.task)
    self.model, self.views = model, views
    self.top = min(top, len(model.classes))
    self._step = jax.jit(model.eval_step())

  def predict_file(
    self, path: str | pathlib.Path, *, window_s: float = 0.0, hop_s: float = 0.0
  ) -> Iterator[Prediction]:
    """Classifies a file that PyAV opens, segment by segment.

    A segment is `window_s` long (0: the whole file) and starts `hop_s` after
    the one before (0: the window's length).
    """
    segments: Iterable[Segment]
    how: Any = dict(keep=self.shrink, fps=self.model.fps)
    try:
      if window_s:
        hop_s = hop_s or window_s
        segments = cut_windows(path, window_s=window_s, hop_s=hop_s, **how)
      else:
        segments = [read_whole_file(path, choose=self.choose_frames, **how)]
      for segment in segments:
        yield self._predict(str(path), segment)
    except container.BadVideo as error:
      text = f'{path}: {error.reason}; nothing was predicted for it'
      raise InputError(text) from error
    except InputError as error:  # from the sampler, which knows no file names
      raise InputError(f'{path}: {error}') from error

  def shrink(self, frame_HWC: np.ndarray) -> np.ndarray:
    """A whole frame resized as `cut` does, but never enlarged."""
    side = viewing.short_side(self.views, self.model.config.clip.size)
    height, width = frame_HWC.shape[:2]
    if min(height, width) <= side:
      return frame_HWC
    H, W = fit_short_side(height, width, side, self.views.long_side)
    return cv2.resize(frame_HWC, (W, H), interpolation=cv2.INTER_LINEAR)

  def choose_frames(self, times_us: np.ndarray) -> np.ndarray:
    """The frame numbers of each view over time, [views over time, T]."""
    clip, count = self.model.config.clip, self.views.temporal
    views = range(count)
    return np.stack(
      [rules.view_indices(times_us, clip, v, count) for v in views]
    )

  def cut_views(self, segment: Segment) -> np.ndarray:
    """The views of a segment, cut as evaluation cuts, [V, T, H, W, C]."""
    size, views = self.model.config.clip.size, self.views
    height, width = next(iter(segment.frames.values())).shape[:2]
    numbers = self.choose_frames(segment.times_us)
    clips = []
    for number in range(viewing.count(views)):
      when, where = viewing.split(number, views)
      crop = viewing.view_crop(
        height, width, size=size, view=where, views=views
      )
      frames = [cut(segment.frames[int(i)], crop, size) for i in numbers[when]]
      clips.append(np.stack(frames))
    return np.stack(clips)

  def _predict(self, file: str, segment: Segment) -> Prediction:
    logits_VK = self._score(self.cut_views(segment))
    if not np.isfinite(logits_VK).all():
      raise InputError(
        'got scores that are not finite: the weights are broken; try an '
        'earlier checkpoint with --step'
      )
    how, task = self.views.average, self.model.task
    prob_K = averaging.average_logits(logits_VK[None], how, task)[0]
    if how != 'probs':
      prob_K = averaging.probabilities(prob_K, task)
    return Prediction(
      file=file,
      start_s=round(segment.start_s, 3),
      end_s=round(segment.end_s, 3),
      frames=len(segment.times_us),
      views=len(logits_VK),
      **vars(top_classes(prob_K, task, self.model.classes, self.top)),
    )

  def _score(self, video_VTHWC: np.ndarray) -> np.ndarray:
    """Logits of each view, in batches of one shape, without the padding."""
    model, mesh = self.model, self.model.mesh
    rows = round_up_batch(min(self.views.batch, len(video_VTHWC)), mesh)
    logits = []
    for first in range(0, len(video_VTHWC), rows):
      part = video_VTHWC[first : first + rows]
      padded = np.zeros((rows, *part.shape[1:]), np.uint8)
      padded[: len(part)] = part
      batch = to_device({'video': padded}, rows=rows, mesh=mesh)
      with jax.set_mesh(mesh):
        logits_RK = self._step(model.params, model.model_state, batch['video'])
      logits.append(np.asarray(logits_RK)[: len(part)])
    return np.concatenate(logits)


def top_classes(
  prob_K: np.ndarray, task: Task, classes: ClassList, top: int
) -> TopClasses:
  """The `top` likeliest classes, or all; ties stay in the list's order."""
  if not task.heads:
    order = _best_first(prob_K, top)
    names = tuple(classes.names[k] for k in order)
    return TopClasses(names, tuple(prob_K[order].tolist()), {})
  # Classes beyond a head's `top` cannot be in any of the `top` products.
  kept = {
    head: part.start + _best_first(prob_K[part], top)
    for head, part in task.parts(len(classes)).items()
  }
  heads = {
    head: tuple(
      (classes.names[k].removeprefix(f'{head}/'), float(prob_K[k]))
      for k in order
    )
    for head, order in kept.items()
  }
  product = np.ones(1)
  for order in kept.values():
    product = np.outer(product, prob_K[order]).ravel()
  order = _best_first(product, top)
  combinations = np.unravel_index(order, [len(k) for k in kept.values()])
  names = tuple(
    ' '.join(heads[head][i][0] for head, i in zip(kept, places, strict=True))
    for places in zip(*combinations, strict=True)
  )
  return TopClasses(names, tuple(product[order].tolist()), heads)


def _best_first(prob_K: np.ndarray, top: int) -> np.ndarray:
  return np.argsort(-prob_K, kind='stable')[:top]


def read_whole_file(
  path: str | pathlib.Path,
  *,
  choose: Callable[[np.ndarray], np.ndarray],
  keep: Callable[[np.ndarray], np.ndarray],
  fps: float = 0.0,
) -> Segment:
  """Reads a file as one segment, with the frames that `choose` selects.

  `choose` gets the times of all frames, [n], and returns frame numbers; `keep`
  is applied to every frame that is kept, uint8 [H, W, C]. `fps` above 0
  resamples to this frame rate, as `prepare` does.
  """
  with decode.VideoReader(path) as reading:
    times = [time_us for _, time_us in _resampled(reading, fps)]
  times_us = np.array(times, np.int64)
  numbers = {int(i) for i in np.ravel(choose(times_us))}
  with decode.VideoReader(path) as reading:
    frames = {
      number: keep(frame_HWC)
      for number, (frame_HWC, _) in enumerate(_resampled(reading, fps))
      if number in numbers
    }
  return Segment(0.0, times_us[-1] / 1e6, times_us, frames)


def cut_windows(
  path: str | pathlib.Path,
  *,
  window_s: float,
  hop_s: float,
  keep: Callable[[np.ndarray], np.ndarray],
  fps: float = 0.0,
) -> Iterator[Segment]:
  """Cuts a file into windows while it decodes it once.

  Window i contains the frames whose time is in [i * hop, i * hop + window). The
  last one ends with the file and may be shorter; its times say so. `keep` and
  `fps` are those of `read_whole_file`.
  """
  kept: list[tuple[int, np.ndarray]] = []
  number = 0
  window_us, hop_us = round(window_s * 1e6), round(hop_s * 1e6)
  with decode.VideoReader(path) as reading:
    for frame_HWC, time_us in _resampled(reading, fps):
      # Whole microseconds: in floats, 5 * 0.2 s is more than 1.0 s.
      while time_us >= number * hop_us + window_us:
        if kept:
          yield _segment(kept)
        number += 1
        kept = [frame for frame in kept if frame[0] >= number * hop_us]
      if time_us >= number * hop_us:
        kept.append((time_us, keep(frame_HWC)))
  if kept:
    yield _segment(kept)


def _resampled(
  reading: decode.VideoReader, fps: float
) -> Iterator[tuple[np.ndarray, int]]:
  """Frames and times at the frame rate of the model's records."""
  if not fps:
    return reading
  return encode.resample(reading, fps=fps, source_fps=reading.info.fps)


def _segment(kept: list[tuple[int, np.ndarray]]) -> Segment:
  start_us = kept[0][0]
  return Segment(
    start_s=start_us / 1e6,
    end_s=kept[-1][0] / 1e6,
    times_us=np.array([time_us - start_us for time_us, _ in kept], np.int64),
    frames=dict(enumerate(frame for _, frame in kept)),
  )
