"""What is in a video file: the model's top classes, with times if asked.

A file is decoded once, front to back. Without windows it is one stretch: its
views are those of evaluation. With windows every stretch of so many seconds is
treated as a video of its own, so that memory does not grow with the file.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from vidmodels import config as cfg
from vidmodels.data import clips, decode
from vidmodels.data import views as viewing
from vidmodels.data.augment import cut
from vidmodels.evaluate import accuracy
from vidmodels.evaluate.trained import Trained
from vidmodels.train.feed import to_device
from vidmodels.train.mesh import whole_batch
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class Stretch:
  """Frames of a file between two times.

  Attributes:
    start_s: of its first frame, seconds from the file's first frame.
    end_s: of its last frame.
    times_us: of every frame, microseconds from the stretch's first, [n].
    frames: n frames, uint8 [H, W, C] RGB.
  """

  start_s: float
  end_s: float
  times_us: np.ndarray
  frames: list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Answer:
  """The best classes of one stretch of one file.

  Attributes:
    file: as given.
    start_s: seconds; 0 for a whole file.
    end_s: seconds.
    frames: decoded in the stretch.
    views: whose scores were averaged.
    classes: names, best first.
    probabilities: of them, from 0 to 1.
  """

  file: str
  start_s: float
  end_s: float
  frames: int
  views: int
  classes: tuple[str, ...]
  probabilities: tuple[float, ...]

  def as_json(self) -> dict[str, Any]:
    """A plain dict."""
    return dataclasses.asdict(self)


class Predictor:
  """A trained model that answers for files; compiled once."""

  def __init__(self, trained: Trained, *, views: cfg.Views, top: int) -> None:
    """Prepares the model.

    Args:
      trained: the model.
      views: as in evaluation.
      top: classes an answer names; at most all.
    """
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
      for stretch in stretches(
        path, window_s=window_s, hop_s=hop_s or window_s, keep=self._shrink()
      ):
        yield self._answer(str(path), stretch)
    except decode.BadVideo as error:
      raise InputError(
        f'{path}: {error.reason}; nothing was predicted for it'
      ) from error

  def _shrink(self):
    """Resizes frames as they come, so that long files fit into memory."""
    side = viewing.short_side(self.views, self.trained.config.clip.size)
    return functools.partial(_resize, short_side=side)

  def _answer(self, file: str, stretch: Stretch) -> Answer:
    logits_VK = self._scores(self.cut_views(stretch))
    scores_K = accuracy.average(logits_VK[None], self.views.average)[0]
    if self.views.average == 'logits':
      scores_K = np.asarray(jax.nn.softmax(scores_K))
    best = np.argsort(-scores_K, kind='stable')[: self.top]
    return Answer(
      file=file,
      start_s=round(stretch.start_s, 3),
      end_s=round(stretch.end_s, 3),
      frames=len(stretch.frames),
      views=len(logits_VK),
      classes=tuple(self.trained.classes.names[k] for k in best),
      probabilities=tuple(float(scores_K[k]) for k in best),
    )

  def cut_views(self, stretch: Stretch) -> np.ndarray:
    """The views of a stretch, cut as evaluation cuts, [V, T, H, W, C]."""
    clip, views = self.trained.config.clip, self.views
    height, width = stretch.frames[0].shape[:2]
    made = []
    for number in range(viewing.count(views)):
      when, where = viewing.split(number, views)
      crop = viewing.crop_of(
        height,
        width,
        clip.size,
        viewing.short_side(views, clip.size),
        where,
        views.spatial,
      )
      chosen = clips.view_indices(stretch.times_us, clip, when, views.temporal)
      made.append(
        np.stack([cut(stretch.frames[i], crop, clip.size) for i in chosen])
      )
    return np.stack(made)

  def _scores(self, video_VTHWC: np.ndarray) -> np.ndarray:
    """Logits of each view, in batches of one shape, padding cut off."""
    batch = min(self.views.batch, len(video_VTHWC))
    rows = whole_batch(batch, self.trained.mesh)
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


def stretches(
  path: str | pathlib.Path, *, window_s: float, hop_s: float, keep
) -> Iterator[Stretch]:
  """Cuts a file into stretches while decoding it once.

  Window i covers the frames whose time lies in [i * hop, i * hop + window). A
  tail shorter than half a window joins no answer of its own unless it is the
  whole file; the last full window then ends before it.

  Args:
    path: a video file.
    window_s: seconds; 0 for the whole file.
    hop_s: seconds between starts; above 0 if window_s is.
    keep: applied to every frame, uint8 [H, W, C].

  Raises:
    decode.BadVideo: if nothing decodes.
  """
  held: list[tuple[float, np.ndarray]] = []
  number = 0
  for frame_HWC, time_us in decode.read_video(path):
    second = time_us / 1e6
    while window_s and second >= number * hop_s + window_s:
      inside = _inside(held, number * hop_s, window_s)
      if inside:
        yield _stretch(inside)
      number += 1
      held = [h for h in held if h[0] >= number * hop_s]
    held.append((second, keep(frame_HWC)))
  inside = _inside(held, number * hop_s, window_s) if window_s else held
  if inside:
    long = inside[-1][0] - number * hop_s
    if not window_s or number == 0 or long >= window_s / 2:
      yield _stretch(inside)


def _inside(held, start_s: float, window_s: float):
  """The frames of one window."""
  return [h for h in held if start_s <= h[0] < start_s + window_s]


def _stretch(held: list[tuple[float, np.ndarray]]) -> Stretch:
  start = held[0][0]
  return Stretch(
    start_s=start,
    end_s=held[-1][0],
    times_us=np.array([round((t - start) * 1e6) for t, _ in held], np.int64),
    frames=[frame for _, frame in held],
  )


def _resize(frame_HWC: np.ndarray, *, short_side: int) -> np.ndarray:
  """The whole frame at a short side, never enlarged here."""
  import cv2

  from vidmodels.data.augment import resized

  height, width = frame_HWC.shape[:2]
  if min(height, width) <= short_side:
    return frame_HWC
  H, W = resized(height, width, short_side)
  return cv2.resize(frame_HWC, (W, H), interpolation=cv2.INTER_LINEAR)
