"""Between the steps: metrics, logs, the check for a loss that is not finite.

The metrics of a step are read after the next step was dispatched, so that the
device never waits for the host.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vidmodels import checked_json
from vidmodels.files import write_atomically
from vidmodels.object_store import in_store
from vidmodels.train import metrics, non_finite, save_errors, spikes
from vidmodels.typing import Count, InputError

# What a checkpoint holds of the log.
_MEMORY: Mapping[str, Any] = {
  'skipped': Count,
  'skipped_in_a_row': Count,
  'losses': tuple[float, ...],
}
_FORGOTTEN = {'skipped': 0, 'skipped_in_a_row': 0, 'losses': ()}


class NonFiniteLossError(RuntimeError):
  """The loss or the gradient is not finite; the run has stopped."""


class Writer(Protocol):
  """The interface that clu's metric writers and ours share."""

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Writes the numbers of a step."""

  def flush(self) -> None:
    """Puts everything on disk."""


class JsonLinesWriter:
  """`metrics.jsonl`: one object per line, {"step": ..., name: value, ...}.

  On resume, lines after the restored step are dropped, so no step occurs twice.
  The next line then averages only the steps after the restored one.
  """

  def __init__(
    self, path: pathlib.Path, *, start_step: int, again: str = ''
  ) -> None:
    """Opens the file for a run that goes on from `start_step`.

    Lines of that step with a name that starts with `again` are dropped too.
    """
    self._path = path
    lines = []
    if path.exists():  # a lost power supply may leave bytes that are no text
      lines = path.read_text(errors='replace').splitlines()
    kept = _lines_until(lines, start_step, again)
    if len(kept) != len(lines):
      write_atomically(path, ''.join(f'{line}\n' for line in kept).encode())

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends a line."""
    with self._path.open('a') as file:
      file.write(json.dumps({'step': step, **scalars}) + '\n')

  def flush(self) -> None:
    """Does nothing: every line is written at once."""


class StoreLinesWriter:
  """`metrics.jsonl` in an object store, as `JsonLinesWriter` writes a file.

  Objects cannot grow: the whole one is written again, at most every 10 s and
  not more than 1 MB a second, and before each checkpoint. So a kill takes lines
  away that the resumed run makes again.
  """

  def __init__(
    self, path: pathlib.Path, *, start_step: int, again: str = ''
  ) -> None:
    self._path = path
    lines = []
    with contextlib.suppress(FileNotFoundError):
      lines = path.read_text(errors='replace').splitlines()
    kept = _lines_until(lines, start_step, again)
    self._data = bytearray(''.join(f'{line}\n' for line in kept).encode())
    self._changed = len(kept) != len(lines)
    self._next = 0.0
    self.flush()

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Adds a line."""
    self._data += (json.dumps({'step': step, **scalars}) + '\n').encode()
    self._changed = True
    if time.monotonic() >= self._next:
      self.flush()

  def flush(self) -> None:
    """Writes the object, if there is a new line."""
    if self._changed:
      write_atomically(self._path, bytes(self._data))
      self._changed = False
      self._next = time.monotonic() + max(10.0, len(self._data) / 1e6)


def make_lines_writer(
  path: pathlib.Path, *, start_step: int, again: str = ''
) -> Writer:
  """The writer of JSON lines for a file, or for an object of a store.

  `again`: lines of `start_step` with a name that starts so are dropped too.
  """
  kind = StoreLinesWriter if in_store(path) else JsonLinesWriter
  return kind(path, start_step=start_step, again=again)


def _lines_until(lines: list[str], step: int, again: str) -> list[str]:
  """The lines up to a step, without those that it makes again."""
  return [
    line
    for line in lines
    if _step_of(line) < step
    or (_step_of(line) == step and not (again and f'"{again}' in line))
  ]


def _step_of(line: str) -> float:
  """The step of a line; infinity for a line that a kill cut short."""
  try:
    return float(json.loads(line)['step'])
  except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
    return math.inf


def check_place(workdir: pathlib.Path, *, tensorboard: bool) -> None:
  """Refuses TensorBoard's files in an object store, where no file can grow."""
  if tensorboard and in_store(workdir):
    raise InputError(
      f'got log.tensorboard=True and the workdir {workdir}, where files cannot '
      'grow; expected one of the two; try log.tensorboard=False: metrics.jsonl '
      'has the same numbers'
    )


def make_writers(
  workdir: pathlib.Path, *, tensorboard: bool, start_step: int, again: str = ''
) -> list[Writer]:
  """Makes the JSON lines writer, and clu's for TensorBoard if asked for."""
  writers: list[Writer] = [
    make_lines_writer(
      workdir / 'metrics.jsonl', start_step=start_step, again=again
    )
  ]
  if tensorboard:
    try:
      import tensorflow as tf
      from clu import metric_writers

      # Otherwise TensorFlow takes the GPU's memory to write a few scalars.
      tf.config.set_visible_devices([], 'GPU')
    except ImportError as error:
      raise InputError(
        'got log.tensorboard=True; expected TensorFlow, which does not import '
        f"({error}); try pip install 'vidmodels[tf]', or log.tensorboard=False"
      ) from error
    folder = workdir / 'tensorboard'
    _drop_later_events(folder, start_step)
    writers.append(metric_writers.SummaryWriter(str(folder)))
  return writers


def _drop_later_events(folder: pathlib.Path, start_step: int) -> None:
  """Rewrites TensorBoard's files without the events after `start_step`.

  A resumed run makes these steps again, and TensorBoard would show both. (An
  event that restarts a session hides them from TensorBoard, but from no other
  reader of the files.) An event that a kill cut short goes as well.
  """
  import tensorflow as tf

  for path in sorted(folder.glob('events.out.tfevents.*')):
    kept, dropped = [], False
    try:
      for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        if tf.compat.v1.Event.FromString(record).step <= start_step:
          kept.append(record)
        else:
          dropped = True
    except tf.errors.DataLossError:
      dropped = True
    if dropped:
      part = path.with_name(f'.{path.name}.part')  # TensorBoard skips it
      with tf.io.TFRecordWriter(str(part)) as writer:
        for record in kept:
          writer.write(record)
      part.replace(path)


@dataclasses.dataclass
class StepLog:
  """Collects steps into log lines and checks that metrics stay finite."""

  writers: list[Writer]  # receive the scalars
  every: int  # steps per line
  total: int  # steps of the run
  batch: int  # clips per step
  learning_rate: Callable[[int], float]  # step -> rate
  # waited: returns the seconds spent on input since its last call
  waited: Callable[[], float]
  # saved: returns the steps of the complete checkpoints, rising
  saved: Callable[[], list[int]]
  # report: called with (steps done, total, line)
  report: Callable[[int, int, str], None]
  # goodput: step -> what a line says of the run's time; see `goodput.py`
  goodput: Callable[[int], Mapping[str, float]] = lambda step: {}
  skips: bool = False  # whether a step that is not finite is skipped, or ends
  max_skips: int = 0  # in a row; one more ends the run
  spike: float = 0.0  # times the median loss that make a spike; 0: none
  # clips: step -> the clips of its batch, as `spikes.StepClips`
  clips: Callable[[int], list[dict[str, Any]]] = lambda step: []
  spike_writers: list[Writer] = dataclasses.field(default_factory=list)
  # memory: what `remember` returned at the step that the run goes on from
  memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    known = checked_json.fields(
      self.memory, _MEMORY, optional=_FORGOTTEN, name='the log'
    )
    self._skipped, self._in_a_row = known['skipped'], known['skipped_in_a_row']
    self._watch = spikes.SpikeWatch(self.spike, known['losses'])
    self._ended = 0.0  # when the last step that was read was over
    self._pending: tuple[int, metrics.AnyPairs] | None = None
    self._window: list[dict[str, float]] = []  # of steps that were not skipped
    self._steps = 0  # of the window, with those that were
    self._timed = 0  # steps of the window that are timed
    self._since: float | None = None  # end of the step before them

  def add_step(self, step: int, pairs: metrics.AnyPairs) -> None:
    """Takes the metrics of the `step`-th update; reads the previous ones."""
    metrics.start_transfer(pairs)
    previous, self._pending = self._pending, (step, pairs)
    if previous:
      self._read(*previous)

  def busy(self) -> bool:
    """Whether the devices are still at work on the last step."""
    return self._pending is not None and not metrics.is_ready(self._pending[1])

  def flush(self) -> None:
    """Reads the pending metrics: before a save, and at the end.

    What was logged is then on disk, as a checkpoint that is saved next.
    """
    previous, self._pending = self._pending, None
    if previous:
      self._read(*previous)
    self._flush_writers()

  def remember(self) -> dict[str, Any]:
    """What a checkpoint has to hold for a log that goes on; after `flush`."""
    return {
      'skipped': self._skipped,
      'skipped_in_a_row': self._in_a_row,
      'losses': list(self._watch.losses),
    }

  def finish(self, step: int) -> None:
    """Writes a last, shorter line, so that every step is logged."""
    self.flush()
    if self._steps:
      self._write_line(step)
    self._flush_writers()

  def _flush_writers(self) -> None:
    with save_errors.explain_save_errors('the metrics', self.saved):
      for writer in (*self.writers, *self.spike_writers):
        writer.flush()

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Sends numbers to all writers; raises SaveError if that fails."""
    with save_errors.explain_save_errors(
      f'the metrics of step {step}', self.saved
    ):
      for writer in self.writers:
        writer.write_scalars(step, scalars)

  def validate(
    self, step: int, validation: Callable[[], Mapping[str, float]]
  ) -> Mapping[str, float]:
    """Runs `validation` and writes its numbers, after checking the loss.

    Its time is not counted in any rate. Returns the numbers.
    """
    self.flush()
    start = time.perf_counter()
    scalars = validation()
    self.write(step, scalars)
    numbers = '  '.join(
      f'{name} {value:.4f}' for name, value in scalars.items()
    )
    self.report(step, self.total, f'step {step}/{self.total}  {numbers}')
    seconds = time.perf_counter() - start
    self._ended += seconds
    if self._since is not None:
      self._since += seconds
    self.waited()
    return scalars

  def _read(self, step: int, pairs: metrics.AnyPairs) -> None:
    values = metrics.divide(pairs)
    # A step is over when its numbers are here. When it was dispatched says
    # nothing: the first two are dispatched at once.
    self._ended = time.perf_counter()
    skipped = values.pop(non_finite.SKIPPED, 0.0)
    broken = [k for k, v in values.items() if not math.isfinite(v)]
    if skipped:
      self._skip(step, broken or ['a batch statistic'], values['loss'])
    elif broken:
      self._name_videos(step, values['loss'], None, 'is not finite')
      raise NonFiniteLossError(non_finite_message(step, broken, self.saved()))
    else:
      self._in_a_row = 0
      if median := self._watch.add(values['loss']):
        self._name_videos(
          step, values['loss'], median, f'is a spike (median {median:.4f})'
        )
      self._window.append(values)
    self._steps += 1
    if self._since is None:  # the first step compiles: it is not timed
      self._since = self._ended
      self.waited()
    else:
      self._timed += 1
    if step % self.every == 0 or step == self.total:
      self._write_line(step)
    else:
      self.report(step, self.total, '')

  def _skip(self, step: int, broken: list[str], loss: float) -> None:
    """Counts a step that changed nothing; ends the run after too many."""
    self._skipped += 1
    self._in_a_row += 1
    self._name_videos(
      step,
      loss,
      None,
      f'({", ".join(broken)} not finite) was skipped, {self._in_a_row} in a '
      f'row and {self._skipped} in all',
    )
    if self._in_a_row > self.max_skips:
      raise NonFiniteLossError(
        f'{", ".join(broken)} is not finite at step {step}, and the '
        f'{self.max_skips} steps before it were skipped for that too; expected '
        f'at most optim.max_skips={self.max_skips} in a row; the weights are '
        f'those of step {step - self._in_a_row}. Lower optim.lr or set '
        f'optim.clip_norm in a fork (--fork), or look at the clips with '
        f'--replay-step {step}'
      )

  def _name_videos(
    self, step: int, loss: float, median: float | None, fault: str
  ) -> None:
    """Says which videos a step had, in a line and in the file of spikes."""
    clips = self.clips(step)
    with save_errors.explain_save_errors(f'step {step}', self.saved):
      for writer in self.spike_writers:
        writer.write_scalars(step, spikes.record(step, loss, median, clips))
    self.report(
      step,
      self.total,
      f'step {step}: loss {loss:.4f} {fault}; its videos: '
      f'{spikes.some_names(clips)}; run it again with --replay-step {step}',
    )

  def _write_line(self, step: int) -> None:
    """Averages the window into one line."""
    names = self._window[0] if self._window else {}
    mean = {
      k: sum(w[k] for w in self._window) / len(self._window) for k in names
    }
    # A skipped step is none for the optimiser.
    rate = float(self.learning_rate(max(step - 1 - self._skipped, 0)))
    scalars = {f'train_clip/{k}': v for k, v in mean.items()}
    scalars |= {'train/learning_rate': rate, **self._pace(step)}
    if self.skips:
      scalars['train/skipped'] = self._skipped
    scalars |= self.goodput(step)
    self.write(step, scalars)
    accuracy, name = '', metrics.headline(mean)
    if name:  # some tasks have no accuracy while training
      label = 'top-1' if name == 'top1' else name
      accuracy = f'clip {label} {mean[name]:.1%}  '
    loss = f'loss {mean["loss"]:.4f}' if mean else 'every step skipped'
    line = f'step {step}/{self.total}  {loss}  {accuracy}lr {rate:.2e}'
    if 'train/clips_per_second' in scalars:
      line += (
        f'  {scalars["train/clips_per_second"]:.1f} clips/s  waiting for data '
        f'{scalars["train/data_wait"]:.0%}  left '
        f'{scalars["train/eta_seconds"]:.0f} s'
      )
    self.report(step, self.total, line)
    self._window.clear()
    self._steps = 0

  def _pace(self, step: int) -> dict[str, float]:
    """Rates of the window; {} if it has only the step that compiles.

    Times from end to end give the pace of the steps, even if a step runs while
    the host goes on.
    """
    steps, seconds = self._timed, self._ended - (self._since or self._ended)
    self._timed, self._since = 0, self._ended
    waited = self.waited()
    if steps < 1 or seconds <= 0:
      return {}
    return {
      'train/clips_per_second': steps * self.batch / seconds,
      'train/data_wait': min(waited / seconds, 1.0),
      'train/eta_seconds': (self.total - step) * seconds / steps,
    }


def non_finite_message(step: int, broken: list[str], saved: list[int]) -> str:
  """What is not finite, which checkpoint is still good, and the next move.

  The loss of step n comes from the weights after step n - 1: a checkpoint of
  that step contains the broken weights.
  """
  suspect = [s for s in saved if s >= step - 1] if 'loss' in broken else []
  good = [s for s in saved if s not in suspect]
  text = f'{", ".join(broken)} is not finite at step {step}; the last good '
  text += f'state is checkpoint {good[-1]}' if good else 'state is not on disk'
  if suspect:
    text += f'; checkpoint {suspect[0]} holds the broken weights, delete it'
  return text + (
    '. Lower optim.lr, set optim.clip_norm or lengthen optim.warmup, and start '
    'in another workdir'
  )
