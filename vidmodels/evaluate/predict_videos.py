"""What is in a video file: the model's top classes, with times if asked.

Without windows a file is one stretch: its views are those of evaluation. It is
decoded twice, for the times and for the frames they choose. With windows every
stretch of so many seconds is treated as a video of its own, in one pass. Either
way memory does not grow with the file.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels.data.augment import cut, resized
from vidmodels.data.prepare import encode
from vidmodels.data.sampling import rules
from vidmodels.data.sampling import views as viewing
from vidmodels.data.video import decode
from vidmodels.evaluate import averaging
from vidmodels.evaluate.top_classes import best
from vidmodels.train.feed import to_device
from vidmodels.train.mesh import round_up_batch
from vidmodels.train.restore import TrainedModel
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class Stretch:
  """Frames of a file between two times.

  Attributes:
    start_s: of its first frame, seconds from the file's first frame.
    end_s: of its last frame.
    times_us: of every frame, microseconds from the stretch's first, [n].
    frames: by their number, those that views may ask for, uint8 [H, W, C] RGB.
  """

  start_s: float
  end_s: float
  times_us: np.ndarray
  frames: Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answer:
  """The best classes of one stretch of one file.

  Attributes:
    file: as given.
    start_s: seconds; 0 for a whole file.
    end_s: seconds.
    frames: decoded in the stretch.
    views: whose scores were averaged.
    classes: names, best first; of several heads, one of each, as 'take tap'.
    probabilities: of them, from 0 to 1: softmaxes, of several heads their
      product, or sigmoids where a video may have any number of classes.
    heads: (name, probability) of the best classes of each head.
  """

  file: str
  start_s: float
  end_s: float
  frames: int
  views: int
  classes: tuple[str, ...]
  probabilities: tuple[float, ...]
  heads: Mapping[str, tuple[tuple[str, float], ...]] = dataclasses.field(
    default_factory=dict
  )

  def as_json(self) -> dict[str, Any]:
    """A plain dict."""
    return dataclasses.asdict(self)


class Predictor:
  """A trained model that answers for files; compiled once."""

  def __init__(
    self, trained: TrainedModel, *, views: cfg.Views, top: int
  ) -> None:
    """Prepares the model.

    Args:
      trained: the model.
      views: as in evaluation.
      top: classes an answer names; at most all.

    Raises:
      InputError: if views of such labels are not averaged so.
    """
    averaging.check(views.average, trained.task)
    self.trained, self.views = trained, views
    self.top = min(top, len(trained.classes))
    self._step = jax.jit(trained.eval_step())

  def file(
    self,
    path: str | pathlib.Path,
    *,
    window_s: float = 0.0,
    hop_s: float = 0.0,
  ) -> Iterator[Answer]:
    """Answers for a file, stretch by stretch.

    Args:
      path: any container that PyAV opens.
      window_s: length of a stretch; 0: the whole file is one.
      hop_s: from one stretch's start to the next; 0: the window's length.

    Raises:
      InputError: if the file cannot be decoded, with the reason.
    """
    try:
      if window_s:
        found = stretches(
          path,
          window_s=window_s,
          hop_s=hop_s or window_s,
          keep=self.shrink,
          fps=self.trained.fps,
        )
      else:
        found = [
          whole(
            path, choose=self.chosen, keep=self.shrink, fps=self.trained.fps
          )
        ]
      for stretch in found:
        yield self._answer(str(path), stretch)
    except decode.BadVideo as error:
      raise InputError(
        f'{path}: {error.reason}; nothing was predicted for it'
      ) from error
    except InputError as error:  # of the sampler, which knows no names
      raise InputError(f'{path}: {error}') from error

  def shrink(self, frame_HWC: np.ndarray) -> np.ndarray:
    """A whole frame resized as `cut` would, but not enlarged yet."""
    side = viewing.short_side(self.views, self.trained.config.clip.size)
    height, width = frame_HWC.shape[:2]
    if min(height, width) <= side:
      return frame_HWC
    H, W = resized(height, width, side, self.views.long_side)
    return cv2.resize(frame_HWC, (W, H), interpolation=cv2.INTER_LINEAR)

  def chosen(self, times_us: np.ndarray) -> np.ndarray:
    """The frames of each view over time, [views over time, T]."""
    clip, count = self.trained.config.clip, self.views.temporal
    return np.stack(
      [rules.view_indices(times_us, clip, v, count) for v in range(count)]
    )

  def _answer(self, file: str, stretch: Stretch) -> Answer:
    logits_VK = self._scores(self.cut_views(stretch))
    if not np.isfinite(logits_VK).all():
      raise InputError(
        'its scores are not finite: the weights are broken; take an earlier '
        'checkpoint with --step'
      )
    how, task = self.views.average, self.trained.task
    prob_K = averaging.average(logits_VK[None], how, task)[0]
    if how != 'probs':
      prob_K = averaging.probabilities(prob_K, task)
    return Answer(
      file=file,
      start_s=round(stretch.start_s, 3),
      end_s=round(stretch.end_s, 3),
      frames=len(stretch.times_us),
      views=len(logits_VK),
      **vars(best(prob_K, task, self.trained.classes, self.top)),
    )

  def cut_views(self, stretch: Stretch) -> np.ndarray:
    """The views of a stretch, cut as evaluation cuts, [V, T, H, W, C]."""
    size, views = self.trained.config.clip.size, self.views
    height, width = next(iter(stretch.frames.values())).shape[:2]
    chosen = self.chosen(stretch.times_us)
    made = []
    for number in range(viewing.count(views)):
      when, where = viewing.split(number, views)
      crop = viewing.crop_of(height, width, size=size, view=where, views=views)
      frames = [cut(stretch.frames[int(i)], crop, size) for i in chosen[when]]
      made.append(np.stack(frames))
    return np.stack(made)

  def _scores(self, video_VTHWC: np.ndarray) -> np.ndarray:
    """Logits of each view, in batches of one shape, padding cut off."""
    batch = min(self.views.batch, len(video_VTHWC))
    rows = round_up_batch(batch, self.trained.mesh)
    found = []
    for first in range(0, len(video_VTHWC), rows):
      part = video_VTHWC[first : first + rows]
      padded = np.zeros((rows, *part.shape[1:]), np.uint8)
      padded[: len(part)] = part
      batch = to_device({'video': padded}, rows=rows, mesh=self.trained.mesh)
      with jax.set_mesh(self.trained.mesh):
        logits_RK = self._step(
          self.trained.params, self.trained.model_state, batch['video']
        )
      found.append(np.asarray(logits_RK)[: len(part)])
    return np.concatenate(found)


def whole(
  path: str | pathlib.Path,
  *,
  choose: Callable[[np.ndarray], np.ndarray],
  keep: Callable[[np.ndarray], np.ndarray],
  fps: float = 0.0,
) -> Stretch:
  """A file as one stretch, with the frames that `choose` asks for.

  Args:
    path: a video file.
    choose: times of all frames, [n], to frame numbers.
    keep: applied to every frame that is kept, uint8 [H, W, C].
    fps: resample to so many frames a second, as `prepare` does; 0: do not.

  Raises:
    decode.BadVideo: if nothing decodes.
  """
  with decode.read_video(path) as reading:
    shown = _resampled(reading, fps)
    times_us = np.array([time_us for _, time_us in shown], np.int64)
  wanted, frames = {int(i) for i in np.ravel(choose(times_us))}, {}
  with decode.read_video(path) as reading:
    for number, (frame_HWC, _) in enumerate(_resampled(reading, fps)):
      if number in wanted:
        frames[number] = keep(frame_HWC)
  return Stretch(0.0, times_us[-1] / 1e6, times_us, frames)


def stretches(
  path: str | pathlib.Path,
  *,
  window_s: float,
  hop_s: float,
  keep: Callable[[np.ndarray], np.ndarray],
  fps: float = 0.0,
) -> Iterator[Stretch]:
  """Cuts a file into stretches while decoding it once.

  Window i covers the frames whose time lies in [i * hop, i * hop + window).
  The last one ends with the file and may be shorter; its times say so.

  Args:
    path: a video file.
    window_s: seconds, above 0.
    hop_s: seconds between starts, above 0.
    keep: applied to every frame, uint8 [H, W, C].
    fps: as for `whole`.

  Raises:
    decode.BadVideo: if nothing decodes.
  """
  held: list[tuple[int, np.ndarray]] = []
  number = 0
  window_us, hop_us = round(window_s * 1e6), round(hop_s * 1e6)
  with decode.read_video(path) as reading:
    for frame_HWC, time_us in _resampled(reading, fps):
      # Whole microseconds: 5 * 0.2 s lies past 1.0 s in floats.
      while time_us >= number * hop_us + window_us:
        if held:
          yield _stretch(held)
        number += 1
        held = [h for h in held if h[0] >= number * hop_us]
      if time_us >= number * hop_us:
        held.append((time_us, keep(frame_HWC)))
  if held:
    yield _stretch(held)


def _resampled(
  reading: decode.Reading, fps: float
) -> Iterator[tuple[np.ndarray, int]]:
  """Frames and times at the rate of the records that a model knows."""
  if not fps:
    return reading
  return encode.resample(reading, fps=fps, source_fps=reading.info.fps)


def _stretch(held: list[tuple[int, np.ndarray]]) -> Stretch:
  start_us = held[0][0]
  return Stretch(
    start_s=start_us / 1e6,
    end_s=held[-1][0] / 1e6,
    times_us=np.array([time_us - start_us for time_us, _ in held], np.int64),
    frames=dict(enumerate(frame for _, frame in held)),
  )
