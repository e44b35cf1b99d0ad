"""`vidmodels inspect` of a run: its checkpoints, and where its time went."""

import json

import made_run
import pytest

from vidmodels.cli import main
from vidmodels.train import goodput


def inspect(capsys, *argv) -> str:
  assert main(['inspect', *map(str, argv)]) == 0
  return capsys.readouterr().out


def record(workdir, *sessions: tuple[int, int, float]) -> None:
  """A goodput.json of (first step, last step, seconds in steps)."""
  made = []
  for first, last, steps_s in sessions:
    seconds = dict.fromkeys(goodput.PHASES, 0.0) | {'steps': steps_s}
    began = made[-1]['ended'] + 10 if made else 1000.0
    made.append(
      {'began': began, 'ended': began + steps_s, 'first': first, 'last': last,
       'seconds': seconds}
    )  # fmt: skip
  workdir.mkdir(exist_ok=True)
  (workdir / goodput.FILE).write_text(json.dumps({'sessions': made}))


def test_a_run_shows_its_checkpoints_and_the_goodput_of_all_starts(
  tmp_path, capsys
):
  workdir = made_run.write(tmp_path / 'run', steps=(2, 4), model__layers=1)
  record(workdir, (0, 4, 40.0), (2, 4, 30.0))  # the second made 3 and 4 again
  page = inspect(capsys, workdir)
  assert page == (
    'timesformer: checkpoints of the steps 2, 4\n'
    '2 starts\n'
    'goodput 62% of 80.0 s: steps 50.0 s, restart 10.0 s, lost 20.0 s\n'
  )
  run = json.loads(inspect(capsys, workdir, '--json'))['run']
  assert run['steps'] == [2, 4]
  assert (run['starts'], run['best'], run['history']) == (2, None, [])
  assert run['goodput']['goodput'] == pytest.approx(50 / 80)
  assert run['goodput']['lost'] == pytest.approx(20)


def test_a_run_that_was_killed_before_it_saved_is_a_run(tmp_path, capsys):
  record(tmp_path / 'run', (0, 3, 12.0))
  page = inspect(capsys, tmp_path / 'run')
  assert page == (
    'a run that has not saved a checkpoint yet\n1 start\n'
    'goodput 100% of 12.0 s: steps 12.0 s\n'
  )


def test_a_damaged_record_of_the_time_is_said(tmp_path, capsys):
  record(tmp_path / 'run')
  (tmp_path / 'run' / goodput.FILE).write_text('{"sessions": [{}]}')
  assert inspect(capsys, tmp_path / 'run').endswith(
    'no record of its time: goodput.json is missing or damaged\n'
  )
