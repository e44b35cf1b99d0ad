"""Where the time of a run went, over its restarts; it adds up to all of it."""

import json

import fake
import jax
import pytest
import tiny

from vidmodels.train import goodput, loop, metrics, step_trace


class Clock:
  """Seconds that a test lets pass."""

  def __init__(self, now: float = 1000.0):
    self.now = now

  def __call__(self) -> float:
    return self.now


def session(
  clock, path, *, start, steps, step_s=2.0, saved_every=5, start_s=10
):
  """A session of a run: one batch and one step after another."""
  timer = goodput.Goodput(path, clock=clock, now=clock)
  clock.now += start_s
  timer.resume(start)
  for done in range(start + 1, start + steps + 1):
    timer.wait(lambda: pass_time(clock, 0.5), lambda: False)
    timer.switch('compile' if done == start + 1 else 'steps')
    clock.now += step_s
    timer.switch('steps')
    if done % saved_every == 0:
      with timer.phase('checkpoint'):
        clock.now += 1
      timer.write(done)
  return timer


def pass_time(clock, seconds: float) -> str:
  clock.now += seconds
  return 'batch'


def test_seconds_have_a_name_and_add_up(tmp_path):
  clock = Clock()
  timer = session(clock, tmp_path / 'g.json', start=0, steps=10)
  with timer.phase('validation'):
    clock.now += 7
  summary = timer.summary(10)
  assert summary == pytest.approx(
    dict(
      steps=18, input=5, compile=2, checkpoint=2, validation=7, start=10,
      restart=0, lost=0, wall=44, goodput=18 / 44,
    )
  )  # fmt: skip
  assert summary['wall'] == clock.now - 1000
  assert timer.line(10).startswith('goodput 41% of 44.0 s: steps 18.0 s, ')


def test_steps_made_again_are_lost_and_the_gap_is_a_restart(tmp_path):
  path, clock = tmp_path / 'g.json', Clock()
  session(clock, path, start=0, steps=10)  # killed when 10 are made and written
  clock.now += 100
  timer = session(clock, path, start=4, steps=6)
  summary = timer.summary(10)
  # Of the first session's 18 s in steps, those of 5 to 10 count for nothing.
  assert summary['lost'] == pytest.approx(18 * 6 / 10)
  assert summary['steps'] == pytest.approx(18 * 4 / 10 + 10)
  assert summary['restart'] == pytest.approx(100 + 10)
  assert summary['start'] == 10
  assert summary['compile'] == 4
  assert summary['wall'] == pytest.approx(clock.now - 1000)
  names = [summary[name] for name in goodput.NAMES]
  assert sum(names) == pytest.approx(summary['wall'])


def test_a_restart_from_far_behind_loses_the_steps_of_several_sessions():
  def made(first, last, steps_s):
    seconds = dict.fromkeys(goodput.PHASES, 0.0) | {'steps': steps_s}
    return goodput.Session(0.0, 0.0, first, last, seconds)

  sessions = [made(0, 10, 10.0), made(10, 20, 20.0), made(5, 8, 3.0)]
  total = goodput.add_up(sessions)
  assert total['lost'] == pytest.approx(5 + 20)
  assert total['steps'] == pytest.approx(5 + 3)


def test_a_wait_while_the_devices_work_is_a_step(tmp_path):
  clock = Clock()
  timer = goodput.Goodput(clock=clock, now=clock)
  timer.switch('steps')
  assert timer.wait(lambda: pass_time(clock, 3), lambda: True) == 'batch'
  timer.wait(lambda: pass_time(clock, 2), lambda: False)
  with pytest.raises(ZeroDivisionError):
    timer.wait(lambda: 1 / 0, lambda: False)
  summary = timer.summary(0)
  assert (summary['steps'], summary['input']) == (3, 2)


def test_the_record_is_json_for_readers(tmp_path):
  clock = Clock()
  path = tmp_path / 'g.json'
  session(clock, path, start=0, steps=5)
  record = json.loads(path.read_text())
  assert record['step'] == 5
  assert record['summary']['wall'] == 23.5
  assert [s['last'] for s in record['sessions']] == [5]


@pytest.mark.parametrize(
  'text', ['', '{"sessions": 3}', '[]', '{"sessions": [{}]}', '{"sessions": [{'
    '"began": -1, "ended": 0, "first": 0, "last": 0, "seconds": {}}]}']
)  # fmt: skip
def test_a_damaged_record_begins_anew(tmp_path, text):
  path, clock = tmp_path / 'g.json', Clock()
  path.write_text(text)
  timer = session(clock, path, start=3, steps=2)
  assert timer.summary(5)['wall'] == pytest.approx(clock.now - 1000)


def test_a_record_of_a_run_that_had_not_saved_counts_too(tmp_path):
  path, clock = tmp_path / 'g.json', Clock()
  session(clock, path, start=0, steps=4, saved_every=2)
  timer = session(clock, path, start=0, steps=4)
  assert timer.summary(4)['lost'] > 0


def test_a_run_says_where_its_time_went_and_reads_a_step_in_one_transfer(
  tmp_path, monkeypatch
):
  fetched = []
  divide = metrics.divide

  def counted(pairs):
    fetched.append([v.shape for v in jax.tree.leaves(pairs)])
    return divide(pairs)

  monkeypatch.setattr(metrics, 'divide', counted)
  records = fake.write(tmp_path / 'records')
  config = tiny.config(
    records, model__layers=1, checkpoint__every=2, log__every=2
  )
  said = []
  loop.train(
    config,
    tmp_path / 'run',
    progress=lambda done, total, line: said.append(line),
    profile=step_trace.TracedSteps(1, 3),
  )
  # loss, top1, grad_norm, update_norm: sums and counts, one array a step
  assert fetched == [[(2, 4)]] * 6
  record = json.loads((tmp_path / 'run/goodput.json').read_text())
  summary = record['summary']
  (session,) = record['sessions']
  wall = session['ended'] - session['began']
  assert sum(summary[name] for name in goodput.NAMES) == pytest.approx(wall)
  for name in ('steps', 'input', 'compile', 'checkpoint', 'start'):
    assert summary[name] > 0, name
  assert (record['step'], session['first'], session['last']) == (6, 0, 6)
  lines = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  for line in map(json.loads, lines):
    assert 0 < line['goodput/share'] < 1
    assert line['goodput/compile_seconds'] > 0
  assert said[-1].startswith('goodput ')
  assert f'the profile is in {tmp_path / "run/profile"}' in said
  (trace,) = (tmp_path / 'run/profile').rglob('*.xplane.pb')
  assert trace.stat().st_size > 0
