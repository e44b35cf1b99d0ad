"""Jobs in processes: each runs once, and errors reach the caller."""

import os
import time

import pytest

from vidmodels.data.prepare import process_pool
from vidmodels.typing import InputError


def double(number):
  process_pool.tick(f'did {number}')
  return 2 * number


def fail(number):
  if number == 3:
    raise InputError('three is no number')
  return number


def die(number):
  if number == 3:
    os._exit(9)
  return number


def dawdle(path):
  for i in range(200):
    path.write_text(str(i))
    time.sleep(0.02)
    process_pool.tick('')


@pytest.mark.parametrize('workers', [1, 2])
def test_every_job_is_done_once_and_progress_reaches_the_end(workers):
  events = []
  results = process_pool.run_jobs(
    double,
    range(20),
    workers=workers,
    done=5,
    total=25,
    progress=lambda *event: events.append(event),
  )
  assert sorted(results) == [2 * i for i in range(20)]
  assert [done for done, _, _ in events] == sorted({d for d, _, _ in events})
  assert events[-1][:2] == (25, 25)
  assert {note for _, _, note in events} <= {f'did {i}' for i in range(20)}


@pytest.mark.parametrize('workers', [1, 2])
def test_an_error_of_a_job_reaches_the_caller(workers):
  with pytest.raises(InputError, match='three'):
    list(process_pool.run_jobs(fail, range(6), workers=workers, total=6))


def test_a_worker_that_dies_is_not_waited_for():
  with pytest.raises(RuntimeError, match='a worker process died'):
    list(process_pool.run_jobs(die, range(6), workers=2, total=6))


def test_an_error_of_the_caller_stops_running_jobs(tmp_path):
  class Enough(Exception):
    pass

  def stop(done, total, note):
    raise Enough

  paths = [tmp_path / 'a', tmp_path / 'b']
  with pytest.raises(Enough):
    list(
      process_pool.run_jobs(dawdle, paths, workers=2, total=400, progress=stop)
    )
  begun = [path for path in paths if path.exists()]
  assert begun
  assert all(int(path.read_text()) < 199 for path in begun)


def test_there_are_no_more_workers_than_jobs():
  assert process_pool.worker_count(8, 3) == 3
  assert process_pool.worker_count(2, 30) == 2
  assert process_pool.worker_count(0, 1000) >= 1
  assert process_pool.worker_count(4, 0) == 1
  assert list(process_pool.run_jobs(double, [], total=0)) == []
  with pytest.raises(InputError, match='-1 workers'):
    process_pool.worker_count(-1, 3)
