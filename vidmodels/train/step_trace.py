"""`--profile=100:110`: a trace of some steps, for xprof and TensorBoard.

  trace = StepTrace(parse('100:110'), workdir / 'profile')
  with contextlib.closing(trace):
    trace.begin(step)         # before the step's batch is asked for
    state, pairs = train_step(state, next(feed))
    trace.end(step, pairs)

JAX's own profiler writes it. (clu's Profile stops at the first step that begins
3 s after the trace did: in a short run it never stops, and writes nothing.)
"""

import dataclasses
import pathlib
import re
import shutil
import tempfile
from typing import Any

import jax

from vidmodels import files
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True)
class TracedSteps:
  """Steps `start` + 1 to `stop` of a run: those that lead from one to other."""

  start: int  # updates made when the trace begins
  stop: int  # updates made when it ends

  def check(self, total: int) -> None:
    """Raises InputError for steps that a run of `total` does not have."""
    if self.stop > total:
      raise InputError(
        f'got --profile={self.start}:{self.stop} for a run of {total} steps; '
        f'expected FROM below TO, and TO at most {total}; try '
        f'--profile={max(total - 10, 0)}:{total}'
      )


def parse(text: str) -> TracedSteps:
  """Reads 'FROM:TO', two numbers of updates; raises InputError."""
  numbers = re.fullmatch(r'([0-9]{1,12}):([0-9]{1,12})', text)
  start, stop = map(int, numbers.groups()) if numbers else (0, 0)
  if not start < stop:
    raise InputError(
      f'got --profile={text:.80}; expected FROM:TO, two numbers of steps, the '
      'lower first; try --profile=100:110 for the ten steps after the 100th'
    )
  return TracedSteps(start, stop)


class StepTrace:
  """Traces the steps that it is told of, if they are among those asked for.

  A run that resumes in the middle of them traces the rest. Process 0 traces:
  its hosts' devices, and the time of its own threads.
  """

  def __init__(self, steps: TracedSteps | None, folder: pathlib.Path) -> None:
    self._steps = steps if jax.process_index() == 0 else None
    self._folder = folder
    self._local = folder
    self._active = False
    self._step: Any = None

  def begin(self, step: int) -> None:
    """Before the work for the `step`-th update."""
    if self._steps is None or not self._steps.start < step <= self._steps.stop:
      return
    if not self._active:
      # JAX writes to a disk; files for a store are copied when they are whole.
      self._local = self._folder
      if files.in_store(self._folder):
        self._local = pathlib.Path(tempfile.mkdtemp(prefix='profile-'))
      self._local.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(str(self._local))
      self._active = True
    # The name by which xprof finds the steps.
    self._step = jax.profiler.StepTraceAnnotation('train', step_num=step)
    self._step.__enter__()

  def end(self, step: int, pairs: Any) -> bool:
    """After its dispatch; whether the trace has ended, and is on disk."""
    if not self._active or self._steps is None:
      return False
    self._step.__exit__(None, None, None)
    self._step = None
    if step < self._steps.stop:
      return False
    jax.block_until_ready(pairs)  # or the device's part would be cut off
    self.close()
    return True

  def close(self) -> None:
    """Writes what there is, if the run ends within the steps."""
    if self._active:
      self._active = False
      jax.profiler.stop_trace()
      if self._local != self._folder:
        for path in sorted(p for p in self._local.rglob('*') if p.is_file()):
          place = self._folder / str(path.relative_to(self._local))
          files.write_atomically(place, path.read_bytes())
        shutil.rmtree(self._local)
