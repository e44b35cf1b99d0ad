"""A trained model for Python: what a video shows, features, clips for it.

  model = vidmodels.load('runs/first')
  best = model.predict('clip.mp4', top_k=3)
  best.classes, best.probabilities
  features_VD = model.features('clip.mp4')

Frames are chosen, cut and scaled as `vidmodels evaluate` and `vidmodels
predict` do, by the same code: the answers are the same.
"""

import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vidmodels import config as cfg
from vidmodels.data.sampling import rules
from vidmodels.evaluate.predict_videos import (
  Prediction,
  Predictor,
  Segment,
  read_array,
)
from vidmodels.train import model_file, step
from vidmodels.train.restore import TrainedModel, Weights
from vidmodels.typing import AnyPath, InputError

# A path, or the frames of a video: uint8 RGB, [T, H, W, 3].
Video = AnyPath | np.ndarray
IN_MEMORY = 'an array'  # the name of such a video in errors and predictions
ANY_FPS = 30.0  # of an array whose frame rate nothing reads


def load(
  path: AnyPath, *, step: int | None = None, weights: Weights = 'auto'
) -> 'LoadedModel':
  """Loads a model that was trained here.

  Args:
    path: the workdir of a run, what `vidmodels weights import` wrote, or a file
      that `vidmodels weights export` wrote.
    step: of the checkpoint; default the newest.
    weights: 'ema' are the averaged ones, 'params' the raw ones; 'auto' takes
      the averaged ones if the run kept them.
  """
  return LoadedModel(model_file.load(path, step=step, weights=weights))


class LoadedModel:
  """A trained model with its classes and its way to prepare frames.

  A video is a path, or its frames as an array, uint8 [T, H, W, 3] in RGB. An
  array has no frame rate: give `fps` where the model's clips depend on time.
  """

  def __init__(self, trained: TrainedModel):
    self.trained = trained  # all that the checkpoint holds

  @property
  def config(self) -> cfg.Config:
    """The recipe of its training: clip, views, mean and deviation."""
    return self.trained.config

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the classes, in the order of the logits."""
    return self.trained.classes.names

  @property
  def module(self) -> nn.Module:
    """The linen module: `module.apply(variables, clips)` gives logits."""
    return self.trained.model

  @property
  def variables(self) -> dict[str, Any]:
    """Parameters and other collections of the module."""
    return {'params': self.trained.params, **self.trained.model_state}

  def predict(
    self, video: Video, *, top_k: int = 5, fps: float | None = None
  ) -> Prediction:
    """The likeliest classes of a whole video, over the recipe's views."""
    self._check_top(top_k)
    name = IN_MEMORY if _is_array(video) else str(video)
    segment, clips_VTHWC = self._read(video, fps)
    return self._predictor.predict(name, segment, clips_VTHWC, top=top_k)

  def predict_windows(
    self, path: AnyPath, *, window_s: float, hop_s: float = 0.0, top_k: int = 5
  ) -> Iterator[Prediction]:
    """The likeliest classes of each window of a file; a window is a video.

    A window is `window_s` seconds long and starts `hop_s` after the one before
    (0: the window's length).
    """
    self._check_top(top_k)
    if not (window_s >= 1e-3 and (hop_s == 0 or hop_s >= 1e-3)):
      raise InputError(
        f'got window_s={window_s} and hop_s={hop_s}; expected at least 0.001 '
        'seconds, or a hop of 0 for that of the window; try window_s=2.0'
      )
    windows = self._predictor.read(
      os.fspath(path), window_s=window_s, hop_s=hop_s
    )
    for segment, clips_VTHWC in windows:
      yield self._predictor.predict(str(path), segment, clips_VTHWC, top=top_k)

  def features(self, video: Video, *, fps: float | None = None) -> np.ndarray:
    """What the model's head sees of each view, float32 [V, D].

    The mean over the views is one vector for the video.
    """
    _, clips_VTHWC = self._read(video, fps)
    return self._predictor.run(self._feature_step, clips_VTHWC)

  def preprocess(self, video: Video, *, fps: float | None = None) -> np.ndarray:
    """The clips that the model sees of a video, float32 [V, T, H, W, 3].

    Normalised as in training: `module.apply(variables, clips)` takes them.
    """
    _, clips_VTHWC = self._read(video, fps)
    data = self.config.data
    clips = step.normalise(jnp.asarray(clips_VTHWC), data.mean, data.std)
    return np.asarray(clips)

  @functools.cached_property
  def _predictor(self) -> Predictor:
    return Predictor(
      self.trained, views=self.config.views, top=len(self.classes)
    )

  @functools.cached_property
  def _feature_step(self):
    return jax.jit(
      step.make_eval_step(self.module, self.config.data, 'features')
    )

  def _read(
    self, video: Video, fps: float | None
  ) -> tuple[Segment, np.ndarray]:
    """A whole video as a segment, and its views, uint8 [V, T, H, W, 3]."""
    predictor = self._predictor
    if _is_array(video):
      video_THWC = np.asarray(video)
      check_frames(video_THWC)
      segment = read_array(
        video_THWC,
        choose=predictor.choose_frames,
        keep=predictor.shrink,
        source_fps=self._check_fps(fps),
        fps=self.trained.fps,
      )
      return segment, predictor.cut_views(segment)
    if fps is not None:
      raise InputError(
        f'got fps={fps} with the file {video}, which has its own; expected it '
        'with an array alone; try leaving it out'
      )
    (whole,) = predictor.read(os.fspath(video))  # type: ignore[arg-type]
    return whole

  def _check_fps(self, fps: float | None) -> float:
    """The frame rate of an array; refuses none where the clips need one."""
    if fps is None and (rules.by_time(self.config.clip) or self.trained.fps):
      raise InputError(
        'got an array of frames without a frame rate, and the clips of this '
        'model depend on time; expected the frames per second; try fps=25'
      )
    if fps is not None and not 0 < fps <= 1000:
      raise InputError(
        f'got fps={fps}; expected frames per second, above 0 and at most 1000; '
        'try fps=25'
      )
    return ANY_FPS if fps is None else float(fps)

  def _check_top(self, top_k: int) -> None:
    if top_k < 1:
      raise InputError(
        f'got top_k={top_k}; expected at least 1 class; try top_k=5'
      )


def _is_array(video: Any) -> bool:
  return isinstance(video, np.ndarray | jax.Array)


def check_frames(video_THWC: np.ndarray) -> None:
  """Refuses an array that is not the frames of a video, uint8 [T, H, W, 3]."""
  shape, dtype = video_THWC.shape, video_THWC.dtype
  expected = 'expected the frames of one video, uint8 [T, H, W, 3] in RGB'
  if video_THWC.ndim != 4 or 0 in shape:
    advice = 'video[None] for a single frame'
    if video_THWC.ndim != 3:
      advice = 'one video at a time'
    raise InputError(f'got an array of shape {shape}; {expected}; try {advice}')
  if shape[-1] != 3:
    advice = 'to convert the frames to RGB'
    if 3 in shape[:2]:
      advice = f'np.moveaxis(video, {shape.index(3)}, -1)'
    raise InputError(
      f'got an array of shape {shape}, whose last axis is {shape[-1]}; '
      f'{expected}; try {advice}'
    )
  if dtype != np.uint8:
    raise InputError(
      f'got {dtype} frames from {video_THWC.min()} to {video_THWC.max()}; '
      f'{expected}, 0 to 255; try {_advise_dtype(video_THWC)}'
    )


def _advise_dtype(video_THWC: np.ndarray) -> str:
  """What to do with frames that are no uint8."""
  low, high = video_THWC.min(), video_THWC.max()
  if low < 0:
    return (
      'pixels as they were decoded; for clips that are normalised already '
      'call model.module.apply(model.variables, clips)'
    )
  if high <= 1:
    return '(255 * video).round().astype(np.uint8)'
  if high <= 255:
    return 'video.round().astype(np.uint8)'
  return 'pixels of 8 bits'
