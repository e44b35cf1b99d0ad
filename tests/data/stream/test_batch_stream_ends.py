"""The streams: what they refuse, and how they end."""

import gc
import threading
import time

import pytest
from streams import VIDEOS, evaluate, jpeg, picture, record, train, write

from vidmodels.config import Augment, Clip, Views
from vidmodels.data.records import record_set
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path_factory.mktemp('records'), items)


def test_a_crop_that_does_not_fit_is_refused_before_anything_is_read(videos):
  with pytest.raises(InputError, match=r'\(15, 24\).*crops of 16'):
    train(videos, augment=Augment(short_side=(15, 24)))
  with pytest.raises(InputError, match=r'short_side=15.*crop of 16'):
    evaluate(videos, views=Views(short_side=15))


def test_a_forbidden_flip_is_refused_before_anything_is_read(tmp_path):
  videos = write(tmp_path, [record(0, 5, 24, 36)], flip=FlipPolicy('forbid'))
  with pytest.raises(InputError, match=r'augment\.flip=0'):
    train(videos)
  next(train(videos, augment=Augment(short_side=(18, 24), flip=0)))
  next(evaluate(videos))


@pytest.mark.parametrize('rows', [[], [4], [-1], [0, 1, 2, 3, 4]], ids=str)
def test_rows_that_are_empty_or_outside_the_batch_are_refused(videos, rows):
  with pytest.raises(
    ValueError, match='of a batch of 4; expected at least one'
  ):
    train(videos, rows=rows)
  with pytest.raises(
    ValueError, match='of a batch of 4; expected at least one'
  ):
    evaluate(videos, rows=rows, views=Views(batch=4))


@pytest.mark.parametrize('start', [-1, 7])
def test_a_start_outside_the_run_is_refused(videos, start):
  with pytest.raises(ValueError, match='from 0 to 6'):
    train(videos, start=start)


def error_of(stream):
  with stream, pytest.raises(InputError) as caught:
    list(stream)
  assert caught.type is InputError  # not wrapped by the threads
  with pytest.raises(StopIteration):
    next(stream)
  return str(caught.value)


def test_a_corrupt_record_is_named_by_shard_and_offset(tmp_path):
  videos = write(tmp_path, [record(i, 5, 24, 36) for i in range(6)])
  shard, offset = videos.where(4)
  with open(tmp_path / shard, 'r+b') as f:
    f.seek(offset + 500)
    f.write(bytes(40))
  for stream in (train(videos), evaluate(videos)):
    message = error_of(stream)
    assert shard in message
    assert str(offset) in message
  # What comes before the fault is still given.
  batches = evaluate(videos, views=Views(temporal=1, spatial=1, batch=2))
  assert [next(batches)['index'].tolist() for _ in '01'] == [[0, 1], [2, 3]]
  assert str(offset) in error_of(batches)


@pytest.mark.parametrize('make', [train, evaluate])
@pytest.mark.parametrize(
  ('frame', 'said'),
  [(b'no image', 'got 8 bytes'), (jpeg(picture(0, 24, 30)), '24, 30, 3')],
)
def test_an_unfit_frame_is_named_by_shard_offset_and_frame(
  tmp_path, frame, said, make
):
  items = [record(i, 7, 24, 36) for i in range(3)]
  items[1].frames[4] = frame
  videos = write(tmp_path, items)
  shard, offset = videos.where(1)
  message = error_of(make(videos))
  assert message.startswith(f'{shard} at offset {offset}: frame 4')
  assert said in message


@pytest.mark.parametrize('label', [-1, 3])
def test_a_label_outside_the_class_list_is_refused(tmp_path, label):
  videos = write(tmp_path, [record(0, 5, 24, 36, label=label)])
  for stream in (train(videos), evaluate(videos)):
    message = error_of(stream)
    assert f'at offset 0: got label {label}; expected 0 to 2' in message


def test_seconds_from_a_record_whose_times_stand_still_are_refused(tmp_path):
  item = record(0, 5, 24, 36)
  item.timestamps_us[:] = 0
  clip = Clip(frames=4, stride=0.1, unit='second', size=16)
  message = error_of(train(write(tmp_path, [item]), clip=clip))
  assert message.startswith('train-00000-of-00002.tfrecord at offset 0: got 5')


def threads():
  return {t for t in threading.enumerate() if 'grain' in t.name}


def gone(before, seconds=60):
  """Whether the threads started since `before` end in time."""
  end = time.monotonic() + seconds
  while threads() - before and time.monotonic() < end:
    time.sleep(0.01)
  return not threads() - before


def leave(stream):
  next(stream)
  stream.close()
  stream.close()
  with pytest.raises(StopIteration):
    next(stream)


def drop(stream):
  next(stream)
  del stream
  gc.collect()


def block(stream):
  with stream:
    next(stream)


def unused(stream):
  stream.close()


@pytest.mark.parametrize('end', [leave, drop, block, list, unused])
def test_a_stream_that_ends_leaves_no_thread(videos, end):
  before = threads()
  end(train(videos, steps=40))
  assert gone(before)


def test_an_error_ends_the_stream_and_its_threads(tmp_path):
  items, before = [record(i, 7, 24, 36) for i in range(3)], threads()
  items[1].frames[:] = [b'no image'] * 7
  stream = evaluate(write(tmp_path, items))
  with pytest.raises(InputError):
    next(stream)
  assert gone(before)
  assert list(stream) == []


def test_closing_wakes_who_waits_for_a_batch(videos, monkeypatch):
  go, original = threading.Event(), record_set.RecordSet.record
  slow = lambda self, i: go.wait(10) and original(self, i)
  monkeypatch.setattr(record_set.RecordSet, 'record', slow)
  stream, found, before = train(videos), [], threads()
  waiter = threading.Thread(target=lambda: found.append(next(stream, None)))
  waiter.start()
  time.sleep(0.1)
  stream.close()
  go.set()  # the clips under way may finish
  waiter.join(10)
  assert not waiter.is_alive()
  assert found == [None]
  assert gone(before)
