"""`--profile=3:5`: a trace of these steps, and of no others."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

from vidmodels.cli import main
from vidmodels.train import step_trace
from vidmodels.typing import InputError


def test_a_range_is_two_numbers_the_lower_first():
  assert step_trace.parse('100:110') == step_trace.TracedSteps(100, 110)
  assert step_trace.parse('0:1') == step_trace.TracedSteps(0, 1)


@pytest.mark.parametrize(
  'text', ['', '5', '5:', ':5', '5:5', '6:5', '-1:5', 'a:b', '1:2:3', '1.5:2']
)
def test_a_malformed_range_is_refused(text):
  with pytest.raises(InputError, match=r'expected FROM:TO.*try --profile=100'):
    step_trace.parse(text)


def test_a_range_past_the_end_is_refused():
  step_trace.TracedSteps(5, 20).check(20)
  with pytest.raises(InputError, match='TO at most 20; try --profile=10:20'):
    step_trace.TracedSteps(5, 21).check(20)


def test_a_malformed_range_stops_the_command_before_any_work(tmp_path, capsys):
  argv = ['train', '--config=demo', f'--workdir={tmp_path / "run"}']
  assert main([*argv, '--profile=110:100']) == 2
  assert 'got --profile=110:100' in capsys.readouterr().err
  assert not (tmp_path / 'run').exists()


def traces(folder):
  return [p for p in folder.rglob('*.xplane.pb') if p.stat().st_size]


def run(folder, steps, start=0, stop=6):
  """A few steps of a program; when the trace was there, by step."""
  add = jax.jit(lambda v: v + 1)
  value, there = jnp.zeros(3), []
  trace = step_trace.StepTrace(steps, folder)
  with contextlib.closing(trace):
    for step in range(start + 1, stop + 1):
      trace.begin(step)
      value = add(value)
      if trace.end(step, value):
        there.append((step, len(traces(folder))))
  return there


def test_the_trace_is_there_as_soon_as_its_last_step_is_made(tmp_path):
  steps = step_trace.TracedSteps(2, 4)
  assert run(tmp_path, steps) == [(4, 1)]
  (path,) = traces(tmp_path)
  data = jax.profiler.ProfileData.from_file(str(path))
  names = {
    f'{event.name} {dict(event.stats).get("step_num")}'
    for plane in data.planes
    for line in plane.lines
    for event in line.events
    if event.name == 'train'
  }
  assert names == {'train 3', 'train 4'}


def test_a_run_that_ends_or_resumes_within_the_range_traces_its_part(tmp_path):
  steps = step_trace.TracedSteps(2, 4)
  assert run(tmp_path / 'ends', steps, stop=3) == []
  assert len(traces(tmp_path / 'ends')) == 1
  assert run(tmp_path / 'resumes', steps, start=3) == [(4, 1)]
  assert run(tmp_path / 'after', steps, start=4) == []
  assert run(tmp_path / 'none', None) == []
  assert not (tmp_path / 'after').exists()
