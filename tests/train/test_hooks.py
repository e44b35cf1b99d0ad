"""Writers: JSON lines that survive a kill, TensorBoard through clu."""

import json
import sys
import types

import pytest

from vidmodels.train import hooks, loop
from vidmodels.typing import InputError


def step_log(report=loop.no_progress, **changes) -> hooks.StepLog:
  """A log of 4 steps of 8 clips, a line every 2."""
  fields = dict(
    writers=[], every=2, total=4, batch=8, learning_rate=lambda step: 0.1,
    waited=lambda: 0.0, saved=lambda: [],
  )  # fmt: skip
  return hooks.StepLog(report=report, **(fields | changes))


def test_lines_past_the_restored_step_are_dropped(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  first = hooks.JsonLinesWriter(path, start_step=0)
  for step in (2, 4, 6):
    first.write_scalars(step, {'loss': step / 2})
  with path.open('ab') as file:  # a kill, or the power, cut these short
    file.write(b'{"step": "six"}\n\x00\xff\x00\n{"step": 8, "lo')
  again = hooks.JsonLinesWriter(path, start_step=4)
  again.write_scalars(6, {'loss': 0.5})
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(v['step'], v['loss']) for v in lines] == [(2, 1), (4, 2), (6, 0.5)]


def test_metrics_of_a_step_are_read_one_step_late_and_averaged(tmp_path):
  seen = []
  log = step_log(lambda done, total, line: seen.append((done, line)))
  log.add_step(1, {'loss': (8.0, 8.0), 'top1': (4.0, 8.0)})
  assert seen == []
  log.add_step(2, {'loss': (24.0, 8.0), 'top1': (8.0, 8.0)})
  assert seen == [(1, '')]
  log.add_step(3, {'loss': (8.0, 8.0), 'top1': (0.0, 8.0)})
  assert seen[1][0] == 2
  assert 'loss 2.0000  clip top-1 75.0%' in seen[1][1]
  log.finish(3)
  assert 'step 3/4  loss 1.0000' in seen[-1][1]


class Device:
  """A number that is on the host when a clock says so."""

  def __init__(self, clock, ready: float):
    self.clock, self.ready = clock, ready

  def __float__(self) -> float:
    self.clock.now = max(self.clock.now, self.ready)
    return 1.0


def test_clips_per_second_are_those_of_the_device_from_the_first_line_on(
  monkeypatch,
):
  """A step of 8 clips takes 2 s, compiling the first 60 s, dispatch nothing."""
  clock = types.SimpleNamespace(now=100.0)
  monkeypatch.setattr(hooks.time, 'perf_counter', lambda: clock.now)
  written = []
  writer = types.SimpleNamespace(
    write_scalars=lambda step, scalars: written.append((step, scalars)),
    flush=lambda: None,
  )
  log = step_log(writers=[writer], total=7)
  clock.now += 60  # the first call returns when it is compiled
  start = clock.now
  for step in range(1, 8):
    log.add_step(step, {'loss': (Device(clock, start + 2 * step), 1.0)})
    if step == 4:
      log.validate(step, lambda: {'test/top1': 0.5, 'slow': sleep(clock, 50)})
      start += 50
  log.finish(7)
  lines = [(s, v) for s, v in written if 'train_clip/loss' in v]
  assert [step for step, _ in lines] == [2, 4, 6, 7]
  rates = [values['train/clips_per_second'] for _, values in lines]
  assert rates == pytest.approx([4.0] * 4)


def sleep(clock, seconds: float) -> float:
  clock.now += seconds
  return 1.0


def test_numbers_of_a_validation_are_printed():
  seen = []
  log = step_log(lambda done, total, line: seen.append((done, line)))
  log.validate(2, lambda: {'test_1x1/top1': 0.5, 'test_1x1/loss': 1.25})
  assert seen == [(2, 'step 2/4  test_1x1/top1 0.5000  test_1x1/loss 1.2500')]


def test_tensorboard_gets_the_scalars_when_tensorflow_is_there(tmp_path):
  tensorflow = pytest.importorskip('tensorflow')
  accumulator = pytest.importorskip(
    'tensorboard.backend.event_processing.event_accumulator'
  )
  _, board = hooks.make_writers(tmp_path, tensorboard=True, start_step=0)
  board.write_scalars(3, {'train_clip/loss': 1.5})
  board.flush()
  events = accumulator.EventAccumulator(
    str(tmp_path / 'tensorboard'), size_guidance={'tensors': 0}
  )
  events.Reload()
  (event,) = events.Tensors('train_clip/loss')
  assert event.step == 3
  assert tensorflow.make_ndarray(event.tensor_proto) == 1.5


def test_tensorboard_shows_no_step_twice_after_a_resume(tmp_path):
  """Whoever reads the events, and also after a kill in the middle of one."""
  tensorflow = pytest.importorskip('tensorflow')
  accumulator = pytest.importorskip(
    'tensorboard.backend.event_processing.event_accumulator'
  )
  folder = tmp_path / 'tensorboard'
  for start, steps, loss in ((0, (2, 4, 6), 1.0), (4, (6, 8), 0.5)):
    _, board = hooks.make_writers(tmp_path, tensorboard=True, start_step=start)
    for step in steps:
      board.write_scalars(step, {'train_clip/loss': loss})
    board.flush()
    newest = max(folder.glob('*'), key=lambda path: path.stat().st_mtime_ns)
    if not start:
      newest.write_bytes(newest.read_bytes()[:-3])
  events = accumulator.EventAccumulator(
    str(folder), size_guidance={'tensors': 0}
  )
  events.Reload()
  seen = [
    (e.step, float(tensorflow.make_ndarray(e.tensor_proto)))
    for e in events.Tensors('train_clip/loss')
  ]
  assert seen == [(2, 1.0), (4, 1.0), (6, 0.5), (8, 0.5)]
  raw = [
    tensorflow.compat.v1.Event.FromString(record).step
    for path in folder.glob('*')
    for record in tensorflow.data.TFRecordDataset(str(path)).as_numpy_iterator()
  ]
  assert sorted(step for step in raw if step) == [2, 4, 6, 8]


def test_tensorboard_without_tensorflow_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'clu.metric_writers', None)
  monkeypatch.delattr('clu.metric_writers', raising=False)
  with pytest.raises(InputError, match=r"pip install 'vidmodels\[tf\]'"):
    hooks.make_writers(tmp_path, tensorboard=True, start_step=0)


@pytest.mark.parametrize(
  ('metrics', 'said'),
  [
    ({'top1': 0.5}, 'loss 1.0000  clip top-1 50.0%  lr 1.00e-01'),
    (
      {'verb_top1': 0.75, 'action_top1': 0.25},
      'loss 1.0000  clip action_top1 25.0%  lr 1.00e-01',
    ),
    ({'mixed_top1': 0.5}, 'loss 1.0000  clip mixed_top1 50.0%  lr 1.00e-01'),
    ({}, 'loss 1.0000  lr 1.00e-01'),  # mAP is of a set, not of a clip
  ],
)
def test_a_line_shows_the_accuracy_that_the_labels_have(metrics, said):
  seen = []
  log = step_log(lambda done, total, line: seen.append(line), every=1, total=1)
  log.add_step(1, {k: (v, 1.0) for k, v in {'loss': 1.0, **metrics}.items()})
  log.flush()
  assert seen == [f'step 1/1  {said}']
