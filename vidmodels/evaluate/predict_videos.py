"""Classifies video files: the top classes of a file or of each window of it.

  predictor = Predictor(restore.load('runs/first'), views=views, top=5)
  for prediction in predictor.predict_file('clip.mp4', window_s=2.0):
    print(prediction.start_s, prediction.classes, prediction.probabilities)

Without windows, a file is one segment and its views are those of evaluation;
with windows, each is treated as a video of its own. A file is decoded twice,
for the times, and for the frames that the times select. So memory grows neither
with the file nor with the window. An image model also takes a single picture,
which is one frame.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.data.augment import cut, fit_short_side, resize_frame
from vidmodels.data.prepare import encode
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.task import Task
from vidmodels.data.sampling import rules
from vidmodels.data.sampling import views as viewing
from vidmodels.data.video import container, decode, image_file
from vidmodels.evaluate import averaging
from vidmodels.train import memory
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
    self.size = viewing.crop_size(views, model.config.clip.size)
    self.top = min(top, len(model.classes))
    batch = round_up_batch(views.batch, model.mesh)
    self._advice = functools.partial(memory.scoring_advice, model.config, batch)
    self._step = memory.compiled_to_fit(
      jax.jit(model.eval_step()),
      lambda needed: memory.check_program(
        needed, model.mesh, f'a step of up to {batch} views', self._advice
      ),
    )

  def predict_file(
    self, path: str | pathlib.Path, *, window_s: float = 0.0, hop_s: float = 0.0
  ) -> Iterator[Prediction]:
    """Classifies a file that PyAV opens, segment by segment.

    A segment is `window_s` long (0: the whole file) and starts `hop_s` after
    the one before (0: the window's length).
    """
    for segment, clips_VTHWC in self.read(path, window_s=window_s, hop_s=hop_s):
      yield self.predict(str(path), segment, clips_VTHWC)

  def read(
    self, path: str | pathlib.Path, *, window_s: float = 0.0, hop_s: float = 0.0
  ) -> Iterator[tuple[Segment, np.ndarray]]:
    """Yields the segments of a file, each with its views, [V, T, H, W, C]."""
    segments: Iterable[Segment]
    how: Any = dict(keep=self.shrink, fps=self.model.fps)
    how['choose'] = self.choose_frames
    try:
      if image_file.is_picture(pathlib.Path(path)):
        yield self._read_picture(pathlib.Path(path))
        return
      if window_s:
        hop_s = hop_s or window_s
        segments = cut_windows(path, window_s=window_s, hop_s=hop_s, **how)
      else:
        segments = [read_whole_file(path, **how)]
      for segment in segments:
        yield segment, self.cut_views(segment)
    except container.BadVideo as error:
      text = f'{path}: {error.reason}; nothing was predicted for it'
      raise InputError(text) from error
    except InputError as error:  # from the sampler, which knows no file names
      raise InputError(f'{path}: {error}') from error

  def shrink(self, frame_HWC: np.ndarray) -> np.ndarray:
    """A whole frame resized as `cut` does, but never enlarged."""
    side = viewing.short_side(self.views, self.size)
    height, width = frame_HWC.shape[:2]
    if min(height, width) <= side:
      return frame_HWC
    H, W = fit_short_side(height, width, side, self.views.long_side)
    return resize_frame(frame_HWC, H, W, self.views.resize)

  def choose_frames(self, times_us: np.ndarray) -> np.ndarray:
    """The frame numbers of each view over time, [views over time, T]."""
    clip, count = self.model.config.clip, self.views.temporal
    views = range(count)
    return np.stack(
      [rules.view_indices(times_us, clip, v, count) for v in views]
    )

  def cut_views(self, segment: Segment) -> np.ndarray:
    """The views of a segment, cut as evaluation cuts, [V, T, H, W, C]."""
    numbers = self.choose_frames(segment.times_us)
    return self._cut_crops(segment.frames, numbers, self.views)

  def _cut_crops(
    self,
    frames_by_number: Mapping[int, np.ndarray],
    numbers: np.ndarray,
    views: cfg.Views,
  ) -> np.ndarray:
    """The crops of each row of frame numbers, [V, T, H, W, C]."""
    height, width = next(iter(frames_by_number.values())).shape[:2]
    clips = []
    for number in range(viewing.count(views)):
      when, where = viewing.split(number, views)
      crop = viewing.view_crop(
        height, width, size=self.size, view=where, views=views
      )
      frames = [
        cut(frames_by_number[int(i)], crop, self.size) for i in numbers[when]
      ]
      clips.append(np.stack(frames))
    return np.stack(clips)

  def _read_picture(self, path: pathlib.Path) -> tuple[Segment, np.ndarray]:
    """A picture as a segment, for a model that scores every frame alone."""
    family = self.model.config.family
    if not getattr(models.find(family), 'FRAME_BY_FRAME', False):
      raise InputError(
        f'got a single picture, and {family} looks at several frames of a '
        'video; expected a video file; try a model of images, such as vit'
      )
    frame_HWC = image_file.read_picture(path)
    one = dataclasses.replace(self.views, temporal=1)
    segment = Segment(0.0, 0.0, np.zeros(1, np.int64), {})
    numbers = np.zeros((1, 1), np.int64)
    clips = self._cut_crops({0: self.shrink(frame_HWC)}, numbers, one)
    return segment, clips

  def predict(
    self, file: str, segment: Segment, video_VTHWC: np.ndarray, *, top: int = 0
  ) -> Prediction:
    """The best classes of a segment; `top` of them, 0: as many as usual."""
    logits_VK = self.run(self._step, video_VTHWC)
    if not np.isfinite(logits_VK).all():
      raise InputError(
        f'{file}: got scores that are not finite: the weights are broken; try '
        'an earlier checkpoint with --step'
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
      **vars(top_classes(prob_K, task, self.model.classes, top or self.top)),
    )

  def run(
    self, step: Callable[..., jax.Array], video_VTHWC: np.ndarray
  ) -> np.ndarray:
    """What a jitted step says of each view; like `TrainedModel.eval_step`.

    Views go in batches of one shape; what pads the last one is left out.
    """
    model, mesh = self.model, self.model.mesh
    rows = round_up_batch(min(self.views.batch, len(video_VTHWC)), mesh)
    answers = []
    for first in range(0, len(video_VTHWC), rows):
      part = video_VTHWC[first : first + rows]
      padded = np.zeros((rows, *part.shape[1:]), np.uint8)
      padded[: len(part)] = part
      batch = to_device({'video': padded}, rows=rows, mesh=mesh)
      with jax.set_mesh(mesh), memory.explained(mesh, self._advice):
        out_R = step(model.params, model.model_state, batch['video'])
        answers.append(np.asarray(out_R)[: len(part)])
    return np.concatenate(answers)


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
  times_us = _read_times(path, fps)
  whole = _Window(0, len(times_us), _numbers(choose(times_us)))
  (segment,) = _read_segments(path, times_us, iter([whole]), keep, fps)
  return segment


def read_array(
  video_THWC: np.ndarray,
  *,
  choose: Callable[[np.ndarray], np.ndarray],
  keep: Callable[[np.ndarray], np.ndarray],
  source_fps: float,
  fps: float = 0.0,
) -> Segment:
  """As `read_whole_file`, of frames that are in memory already, uint8."""
  pairs: Any = (
    (frame_HWC, round(i * 1e6 / source_fps))
    for i, frame_HWC in enumerate(video_THWC)
  )
  if fps:
    pairs = encode.resample(pairs, fps=fps, source_fps=source_fps)
  frames, times = zip(*pairs, strict=True)
  times_us = np.array(times, np.int64)
  numbers = {int(i) for i in np.ravel(choose(times_us))}
  kept = {number: keep(frames[number]) for number in sorted(numbers)}
  return Segment(0.0, times_us[-1] / 1e6, times_us, kept)


def cut_windows(
  path: str | pathlib.Path,
  *,
  window_s: float,
  hop_s: float,
  keep: Callable[[np.ndarray], np.ndarray],
  choose: Callable[[np.ndarray], np.ndarray] | None = None,
  fps: float = 0.0,
) -> Iterator[Segment]:
  """Cuts a file into windows.

  Window i contains the frames whose time is in [i * hop, i * hop + window). The
  last one ends with the file and may be shorter; its times say so. `keep`,
  `fps` and `choose` are those of `read_whole_file`; without `choose`, a window
  keeps all of its frames.
  """
  times_us = _read_times(path, fps)
  plan = _plan_windows(
    times_us, round(window_s * 1e6), round(hop_s * 1e6), choose
  )
  return _read_segments(path, times_us, plan, keep, fps)


@dataclasses.dataclass(frozen=True)
class _Window:
  """A part of a file, in frame numbers of the file."""

  first: int
  end: int  # the number after its last frame
  numbers: frozenset[int]  # of the frames that it keeps, at least one


def _plan_windows(
  times_us: np.ndarray,
  window_us: int,
  hop_us: int,
  choose: Callable[[np.ndarray], np.ndarray] | None,
) -> Iterator[_Window]:
  """The windows that have frames, until the first that reaches the end."""
  # Whole microseconds: in floats, 5 * 0.2 s is more than 1.0 s.
  last_us = int(times_us[-1])
  for start_us in range(0, last_us + 1, hop_us):
    first, end = np.searchsorted(times_us, (start_us, start_us + window_us))
    if first < end:
      chosen: Any = range(first, end)
      if choose is not None:
        chosen = first + choose(times_us[first:end] - times_us[first])
      yield _Window(int(first), int(end), _numbers(chosen))
    if start_us + window_us > last_us:
      return


def _numbers(chosen: Any) -> frozenset[int]:
  return frozenset(int(i) for i in np.ravel(chosen))


def _read_times(path: str | pathlib.Path, fps: float) -> np.ndarray:
  """The times of all frames, microseconds from the first, int64 [n]."""
  with decode.VideoReader(path) as reading:
    times = [time_us for _, time_us in _resampled(reading, fps)]
  return np.array(times, np.int64)


def _read_segments(
  path: str | pathlib.Path,
  times_us: np.ndarray,
  windows: Iterator[_Window],
  keep: Callable[[np.ndarray], np.ndarray],
  fps: float,
) -> Iterator[Segment]:
  """Reads windows in one pass; only the frames that they keep are held."""
  open_windows: collections.deque[_Window] = collections.deque()
  kept: dict[int, np.ndarray] = {}
  upcoming = next(windows, None)
  with decode.VideoReader(path) as reading:
    size = (reading.info.width, reading.info.height)
    for number, (picture, _) in enumerate(_resampled(reading, fps)):
      while upcoming is not None and upcoming.first <= number:
        open_windows.append(upcoming)
        upcoming = next(windows, None)
      if any(number in window.numbers for window in open_windows):
        kept[number] = keep(picture.rgb(size))
      while open_windows and number >= max(open_windows[0].numbers):
        yield _segment(times_us, open_windows.popleft(), kept)
        first = open_windows[0].first if open_windows else number + 1
        kept = {i: frame for i, frame in kept.items() if i >= first}
      if not open_windows and upcoming is None:
        return
  raise container.BadVideo('it became shorter while it was read')


def _resampled(
  reading: decode.VideoReader, fps: float
) -> Iterator[tuple[decode.Picture, int]]:
  """Frames and times at the frame rate of the model's records."""
  pictures = reading.pictures()
  if not fps:
    return pictures
  return encode.resample(pictures, fps=fps, source_fps=reading.info.fps)


def _segment(
  times_us: np.ndarray, window: _Window, kept: Mapping[int, np.ndarray]
) -> Segment:
  first, end = window.first, window.end
  return Segment(
    start_s=times_us[first] / 1e6,
    end_s=times_us[end - 1] / 1e6,
    times_us=times_us[first:end] - times_us[first],
    frames={i - first: kept[i] for i in sorted(window.numbers)},
  )
