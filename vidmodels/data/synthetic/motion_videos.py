"""Writes motion clips as real video files; `scenes.py` draws them.

  motion_videos.make_motion_videos('videos', splits={'train': 64, 'test': 32})

Each frame is coded alone at a constant quantiser: a coder that predicts from
earlier frames leaves trails behind a moving edge, and a trail in a single frame
would show the direction.
"""

import dataclasses
import fractions
import json
import pathlib
from collections.abc import Mapping

import av
import numpy as np

from vidmodels.data.prepare import process_pool
from vidmodels.data.synthetic.scenes import (
  CLASSES,
  Motion,
  clip_rng,
  draw_scene,
  render,
)
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, InputError


def write_clip(
  path: pathlib.Path, video_THWC: np.ndarray, *, fps: float, qp: int = 20
) -> None:
  """Writes uint8 RGB of even size as H.264; the same frames, the same bytes.

  The .mp4 appears only when it is whole. `qp` is the quantiser; 0 is lossless
  except for the coarser grid of colours.
  """
  part = path.with_name(f'{path.name}.part')
  options = {'preset': 'veryfast', 'qp': str(qp), 'g': '1'}
  rate = fractions.Fraction(fps).limit_denominator(1001)
  with av.open(str(part), 'w', format='mp4') as container:
    stream = container.add_stream('libx264', rate=rate, options=options)
    stream.height, stream.width = video_THWC.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    stream.codec_context.thread_count = 1  # more threads give other bytes
    for frame_HWC in video_THWC:
      frame = av.VideoFrame.from_ndarray(frame_HWC, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  part.replace(path)


def make_motion_videos(
  out: AnyPath,
  *,
  splits: Mapping[str, int] | None = None,
  seed: int = 0,
  motion: Motion | None = None,
  workers: int = 0,
  progress: process_pool.Progress | None = None,
) -> None:
  """Writes a motion data set as `out/<split>/<class>/<number>.mp4`.

  A clip depends on its split, its number, the seed and `motion` alone, not on
  the other clips or the workers. A run that was killed continues; a finished
  one is left alone. A folder with a set of other options, or with other files,
  is an InputError.

  `splits` are the clips of each split, 4,000 to train and 640 to test by
  default. `progress` is called with clips done, clips in all, and the last
  file's name. 0 workers stand for one a CPU.
  """
  splits = dict(splits or {'train': 4000, 'test': 640})
  motion = motion or Motion()
  out = pathlib.Path(out)
  _claim_folder(out, splits=splits, seed=seed, motion=motion)
  jobs = []
  for k, (split, clips) in enumerate(sorted(splits.items())):
    for name in CLASSES.names:
      (out / split / name).mkdir(parents=True, exist_ok=True)
    for start in range(0, clips, 32):
      numbers = range(start, min(start + 32, clips))
      jobs.append((out / split, k, numbers, seed, motion))
  total = sum(splits.values())
  for _ in process_pool.run_jobs(
    _make_clips, jobs, workers=workers, total=total, progress=progress
  ):
    pass


def _make_clips(job: tuple[pathlib.Path, int, range, int, Motion]) -> None:
  folder, split, numbers, seed, motion = job
  for number in numbers:
    label = CLASSES.names[number % len(CLASSES)]
    path = folder / label / f'{number:06d}.mp4'
    if not path.exists():
      scene = draw_scene(clip_rng(seed, split, number), motion)
      write_clip(path, render(scene, label), fps=scene.fps, qp=motion.qp)
    process_pool.tick(path.name)


def _claim_folder(
  out: pathlib.Path, *, splits: Mapping[str, int], seed: int, motion: Motion
) -> None:
  """Writes the options to the folder, or checks that they are the same."""
  options = {'splits': splits, 'seed': seed, **dataclasses.asdict(motion)}
  text = json.dumps(options, indent=1, sort_keys=True) + '\n'
  path = out / 'motion.json'
  if path.exists() and path.read_text() != text:
    raise InputError(
      f'got {out}, which holds motion clips made with other options (see '
      f'{path}); expected the same ones; try another folder, or delete this one'
    )
  if not path.exists() and out.exists() and any(out.iterdir()):
    raise InputError(
      f'got {out}, which holds other files; expected a new or empty folder; '
      'try another'
    )
  out.mkdir(parents=True, exist_ok=True)
  write_atomically(path, text.encode())
