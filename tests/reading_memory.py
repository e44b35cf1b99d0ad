"""How much memory it takes to read or classify a video, for docs/data.md.

  python tests/reading_memory.py 3840x2160x300
  python tests/reading_memory.py 1920x1080x900 1920x1080x18000 --workdir RUN
  python tests/reading_memory.py 1280x720x3300 --workdir RUN --window 100

WIDTHxHEIGHTxFRAMES makes a file of that size, at 30 frames a second; a path
takes that file. Each is read in a process of its own, whose peak is printed:
above its imports, or with `--workdir` above the loaded model.
"""

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import videos

from vidmodels.data.video import decode


def peak_mb() -> int:
  """The largest memory of this process until now, MB.

  Not `ru_maxrss`, which begins with that of the process that started it.
  """
  status = pathlib.Path('/proc/self/status').read_text()
  return int(status.partition('VmHWM:')[2].split()[0]) // 1024


@dataclasses.dataclass(frozen=True)
class Greys:
  """The frames of a video of one grey each, made when they are asked for."""

  width: int
  height: int
  frames: int

  def __len__(self) -> int:
    return self.frames

  def __getitem__(self, i: int) -> np.ndarray:
    if not 0 <= i < self.frames:
      raise IndexError
    return np.full((self.height, self.width, 3), 60 + i % 120, np.uint8)


def make(size: str, folder: pathlib.Path) -> pathlib.Path:
  """Writes a video of WIDTHxHEIGHTxFRAMES."""
  options = {'preset': 'ultrafast', 'crf': '40'}
  greys = Greys(*map(int, size.split('x')))
  return videos.write(folder / f'{size}.mp4', greys, options=options, fps=30)


def measure(path: str, workdir: str, window_s: float) -> str:
  """Reads a file once and says what it took."""
  if not workdir:
    before = peak_mb()
    with decode.VideoReader(path) as reader:
      count = sum(1 for _ in reader)
    what = f'{count} frames'
  else:
    import vidmodels

    model = vidmodels.load(workdir)
    clip = model.config.clip
    black = np.zeros((clip.frames, clip.size, clip.size, 3), np.uint8)
    model.predict(black, fps=30.0)  # it is compiled
    before = peak_mb()
    if window_s:
      windows = model.predict_windows(path, window_s=window_s)
      what = f'{sum(1 for _ in windows)} windows'
    else:
      what = f'{model.predict(path).frames} frames'
  peak = peak_mb()
  return f'{what}: {peak - before} MB more, {peak} MB in all'


def main() -> None:
  """Makes the files and measures each in a process of its own."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('files', nargs='+')
  parser.add_argument('--workdir', default='')
  parser.add_argument('--window', type=float, default=0.0)
  parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.here:
    print(measure(args.files[0], args.workdir, args.window))
    return
  with tempfile.TemporaryDirectory() as folder:
    for file in args.files:
      path = file
      if re.fullmatch(r'\d+x\d+x\d+', file):
        path = str(make(file, pathlib.Path(folder)))
      flags = ['--workdir', args.workdir, '--window', str(args.window)]
      argv = [sys.executable, __file__, path, *flags, '--here']
      done = subprocess.run(argv, check=True, capture_output=True, text=True)
      print(f'{file}: {done.stdout.strip()}', flush=True)


if __name__ == '__main__':
  main()
