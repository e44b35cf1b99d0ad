"""Writes made-up data sets as real video files.

  video_sets.make_videos('videos', 'motion', splits={'train': 64, 'test': 32})

Three sets tell apart what a model sees:

  motion    the label is the direction of time alone: needs time (`scenes.py`)
  textures  the label is a pattern that stands still: needs space
            (`textures.py`)
  mixed     a disc moves in front of a texture in every clip; half the classes
            are motions, half are textures (`textures.py`)

Each frame is coded alone at a constant quantiser: a coder that predicts from
earlier frames leaves trails behind a moving edge, and a trail in a single frame
would show the direction.
"""

import dataclasses
import fractions
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import av
import numpy as np

from vidmodels.data.prepare import process_pool
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.synthetic import scenes, textures
from vidmodels.files import write_atomically
from vidmodels.typing import AnyPath, InputError, unknown_name


@dataclasses.dataclass(frozen=True)
class VideoSet:
  """A made-up data set."""

  classes: ClassList  # sorted
  flip: FlipPolicy  # what a mirror does to them
  options: scenes.ClipOptions  # the default ones; others have this class too
  # Draws a clip of a class: (rng, class name, options) to video_THWC and its
  # frame rate.
  clip: Callable[..., tuple[np.ndarray, float]]
  stream: int  # of the set's draws; no two sets share any


SETS: Mapping[str, VideoSet] = {
  'motion': VideoSet(
    scenes.CLASSES, scenes.FLIP, scenes.Motion(), scenes.motion_clip, 0
  ),
  'textures': VideoSet(
    textures.TEXTURE_CLASSES,
    textures.TEXTURE_FLIP,
    scenes.ClipOptions(),
    textures.texture_clip,
    1,
  ),
  'mixed': VideoSet(
    textures.MIXED_CLASSES,
    textures.MIXED_FLIP,
    textures.Mixed(),
    textures.mixed_clip,
    2,
  ),
}


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


def make_videos(
  out: AnyPath,
  name: str = 'motion',
  *,
  splits: Mapping[str, int] | None = None,
  seed: int = 0,
  options: scenes.ClipOptions | None = None,
  workers: int = 0,
  progress: process_pool.Progress | None = None,
) -> None:
  """Writes a set of `SETS` as `out/<split>/<class>/<number>.mp4`.

  A clip depends on its set, its split, its number, the seed and the options
  alone, not on the other clips or the workers. A run that was killed continues;
  a finished one is left alone.

  Args:
    out: a new or empty folder, or one that this made with the same arguments.
    name: the set.
    splits: clips of each split; 4,000 to train and 640 to test by default.
    seed: of all draws.
    options: how clips look, of the class of the set's own `options`.
    workers: processes; 0 for one a CPU.
    progress: called with clips done, clips in all, and the last file's name.

  Raises:
    InputError: if there is no such set, or the folder has another one, one of
      other options, or other files.
  """
  if name not in SETS:
    raise InputError(unknown_name('the set', name, SETS))
  made = SETS[name]
  options = options or made.options
  if type(options) is not type(made.options):
    raise TypeError(
      f'got {type(options).__name__} for set {name!r}; expected '
      f'{type(made.options).__name__}'
    )
  splits = dict(splits or {'train': 4000, 'test': 640})
  out = pathlib.Path(out)
  described = {'splits': splits, 'seed': seed, **dataclasses.asdict(options)}
  _claim_folder(out, name, described)
  jobs = []
  for k, (split, clips) in enumerate(sorted(splits.items())):
    for label in made.classes.names:
      (out / split / label).mkdir(parents=True, exist_ok=True)
    for start in range(0, clips, 32):
      numbers = range(start, min(start + 32, clips))
      jobs.append((out / split, k, numbers, name, seed, options))
  total = sum(splits.values())
  for _ in process_pool.run_jobs(
    _make_clips, jobs, workers=workers, total=total, progress=progress
  ):
    pass


def _make_clips(
  job: tuple[pathlib.Path, int, range, str, int, scenes.ClipOptions],
) -> None:
  folder, split, numbers, name, seed, options = job
  made = SETS[name]
  for number in numbers:
    label = made.classes.names[number % len(made.classes)]
    path = folder / label / f'{number:06d}.mp4'
    if not path.exists():
      rng = scenes.clip_rng(seed, split, number, stream=made.stream)
      video_THWC, fps = made.clip(rng, label, options)
      write_clip(path, video_THWC, fps=fps, qp=options.qp)
    process_pool.tick(path.name)


def _claim_folder(
  out: pathlib.Path, name: str, options: Mapping[str, Any]
) -> None:
  """Writes the options to the folder, or checks that they are the same."""
  text = json.dumps(options, indent=1, sort_keys=True) + '\n'
  path = out / f'{name}.json'
  if path.exists() and path.read_text() != text:
    raise InputError(
      f'got {out}, which holds {name} clips made with other options (see '
      f'{path}); expected the same ones; try another folder, or delete this one'
    )
  if not path.exists() and out.exists() and any(out.iterdir()):
    raise InputError(
      f'got {out}, which holds other files; expected a new or empty folder; '
      'try another'
    )
  out.mkdir(parents=True, exist_ok=True)
  write_atomically(path, text.encode())
