"""The streams: which clip stands where, whoever makes it."""

import hashlib
import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from streams import (
  AUGMENT,
  CLIP,
  SWAP,
  VIDEOS,
  evaluate,
  record,
  train,
  write,
)

from vidmodels.config import Augment, Data, Views
from vidmodels.data.records import record_set
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.stream import batch_stream


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path_factory.mktemp('records'), items)


def same(a, b):
  """Whether two lists of batches are equal, byte for byte."""
  return len(a) == len(b) and all(
    x.keys() == y.keys() and all(x[k].tobytes() == y[k].tobytes() for k in x)
    for x, y in zip(a, b, strict=True)
  )


def pick(batches, rows):
  return [{k: v[list(rows)] for k, v in batch.items()} for batch in batches]


ROW_SETS = {
  'one process': [[0, 1, 2, 3]],
  'two': [[0, 1], [2, 3]],
  'four': [[0], [1], [2], [3]],
  'interleaved': [[0, 2], [1, 3]],
  'uneven and backwards': [[3, 0, 2], [1]],
  'overlapping': [[0, 1, 2], [1, 2, 3], [0, 1, 2, 3]],
}


@pytest.mark.parametrize('sets', ROW_SETS.values(), ids=ROW_SETS)
@pytest.mark.parametrize('make', [train, evaluate])
def test_a_row_is_the_same_whoever_makes_it(videos, sets, make):
  # 6 steps of 4 over 7 records: three epochs end within batches.
  whole = list(make(videos))
  assert len(whole) == 6
  for rows in sets:
    assert same(list(make(videos, rows=rows)), pick(whole, rows))


@pytest.mark.parametrize('start', [0, 1, 2, 5, 6])
def test_a_stream_from_step_k_equals_the_rest_of_the_whole(videos, start):
  whole = list(train(videos))
  assert same(list(train(videos, start=start)), whole[start:])
  assert train(videos, start=start).batches == 6 - start


def test_what_came_before_the_first_step_is_not_read(videos, monkeypatch):
  wanted = [i for batch in train(videos) for i in batch['index']]
  read, original = [], record_set.RecordSet.record
  spy = lambda self, i: read.append(i) or original(self, i)
  monkeypatch.setattr(record_set.RecordSet, 'record', spy)
  list(train(videos, start=4, data=Data(threads=1)))
  assert read == wanted[16:]
  far = 10**9
  batch = next(train(videos, start=far, steps=far + 10))
  assert batch['mask'].sum() == 4


def test_epochs_show_every_record_once_across_batches(videos):
  shown = [i for batch in train(videos, steps=21) for i in batch['index']]
  for start in range(0, 84, 7):
    assert sorted(shown[start : start + 7]) == list(range(7))


@pytest.mark.parametrize('data', [Data(threads=1, prefetch=1), Data(threads=8)])
def test_threads_change_nothing(videos, data):
  assert same(list(train(videos, data=data)), list(train(videos)))
  assert same(list(evaluate(videos, data=data)), list(evaluate(videos)))


def test_the_seed_changes_order_and_augmentation(videos):
  a, b = list(train(videos)), list(train(videos, seed=4))
  order = lambda batches: [i for x in batches for i in x['index']]
  assert order(a) != order(b)
  # A record looks different each time it is shown.
  looks = {}
  for batch in train(videos, steps=14):
    for i, video in zip(batch['index'], batch['video'], strict=True):
      looks.setdefault(int(i), set()).add(video.tobytes())
  assert all(len(found) > 4 for found in looks.values())


def test_another_process_makes_the_same_stream(videos):
  code = f"""
import hashlib, sys
from vidmodels.config import Augment, Clip, Data
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
loaded = {{'jax', 'tensorflow', 'torch'}} & set(sys.modules)
assert not loaded, loaded
stream = batch_stream.train_batches(
  RecordSet.open({str(videos.dir)!r}, 'train'), clip={CLIP!r},
  augment={AUGMENT!r}, data=Data(), batch=4, seed=3, rows=[3, 1],
  start_step=2, steps=6)
pixels = b''.join(batch['video'].tobytes() for batch in stream)
print(hashlib.sha256(pixels).hexdigest())
"""
  out = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    check=False,
    cwd=batch_stream.__file__.rsplit('/vidmodels/', 1)[0],
  )
  ours = b''.join(b['video'].tobytes() for b in train(videos, [3, 1], start=2))
  assert out.stdout.strip() == hashlib.sha256(ours).hexdigest(), out.stderr


def test_batches_own_contiguous_arrays_of_the_stated_kinds(videos):
  kinds = {
    'video': (np.uint8, (2, 4, 16, 16, 3)),
    'label': (np.int32, (2,)),
    'mask': (np.float32, (2,)),
    'index': (np.int32, (2,)),
  }
  streams = [(train(videos, rows=[1, 2]), kinds)]
  streams += [(evaluate(videos, rows=[1, 2]), kinds | {'view': kinds['index']})]
  # One row is where a view of the item would do as well.
  one = {k: (d, (1, *s[1:])) for k, (d, s) in kinds.items()}
  streams += [(train(videos, rows=[1]), one)]
  for stream, wanted in streams:
    for batch in stream:
      found = {k: (v.dtype, v.shape) for k, v in batch.items()}
      assert found == wanted
      assert all(v.flags.c_contiguous for v in batch.values())
      assert all(v.flags.owndata for v in batch.values())
      assert all(v.flags.writeable for v in batch.values())


@pytest.mark.parametrize('policy', [SWAP, FlipPolicy('free')], ids=str)
def test_a_mirrored_clip_has_the_label_of_its_mirror_image(tmp_path, policy):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  videos, seen = write(tmp_path, items, flip=policy), set()
  for batch in train(videos, steps=14):
    rightwards = np.diff(batch['video'][..., 1].mean((1, 2)), axis=-1).mean(-1)
    for i, label, grows in zip(
      batch['index'], batch['label'], rightwards, strict=True
    ):
      flipped = grows < 0
      swapped = flipped and policy is SWAP
      assert label == (2 - i % 3 if swapped else i % 3)
      seen.add((i % 3, flipped))
  assert len(seen) == 6  # every class, both ways


def test_frames_are_those_the_sampler_names_and_red_comes_first(videos):
  for batch in train(videos, augment=Augment(short_side=(16, 16), flip=0)):
    for i, video_THWC in zip(batch['index'], batch['video'], strict=True):
      frames = np.round(video_THWC[..., 0].mean((1, 2)) / 6).astype(int)
      n = VIDEOS[i][0]
      start = frames[0]
      assert start <= max(0, n - 7)
      wanted = np.minimum(start + np.arange(4) * 2, n - 1)
      assert frames.tolist() == wanted.tolist()


def test_every_view_of_every_record_comes_once_and_in_order(videos):
  batches = list(evaluate(videos))
  stack = {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}
  assert len(stack['mask']) == 48
  assert stack['mask'].tolist() == [1] * 42 + [0] * 6
  pairs = list(zip(stack['index'], stack['view'], strict=True))
  assert pairs[:42] == list(itertools.product(range(7), range(6)))
  assert set(pairs[42:]) == {(-1, -1)}
  assert (stack['label'][:42] == stack['index'][:42] % 3).all()
  assert not stack['video'][42:].any()


@pytest.mark.parametrize('batch', [1, 5, 8, 42, 64])
def test_processes_get_equally_many_batches_and_masks_sum_to_the_views(
  videos, batch
):
  views, total = Views(temporal=2, spatial=3, batch=batch), 0
  halves = [range(0, batch, 2), range(1, batch, 2)]
  for rows in filter(len, halves):
    stream = evaluate(videos, rows=rows, views=views)
    assert stream.batches == -(-42 // batch)
    batches = list(stream)
    assert len(batches) == stream.batches
    total += sum(b['mask'].sum() for b in batches)
  assert total == 42


def test_views_differ_in_frames_and_in_place_when_there_is_room(videos):
  for batch in evaluate(videos, views=Views(temporal=3, spatial=3, batch=9)):
    n, height, width = VIDEOS[batch['index'][0]]
    shade = batch['video'].mean((2, 3))  # [views, T, C]
    frames = np.round(shade[..., 0] / 6).astype(int)
    # Views 0 to 2 share their frames, 3 to 5 the next ones, and so on.
    for k in range(3):
      assert len({tuple(f) for f in frames[3 * k : 3 * k + 3]}) == 1
    if n >= 9:
      assert len({tuple(f) for f in frames}) == 3
      assert frames[0, 0] == 0
      assert frames[8, -1] == n - 1
    along = shade[:3, 0, 1] if width >= height else shade[:3, 0, 2]
    if width != height:
      assert (np.diff(along) > 10).all()


def test_evaluation_takes_frames_at_the_short_side_asked_for(videos):
  views = Views(temporal=1, spatial=1, short_side=24, batch=7)
  (batch,) = evaluate(videos, views=views)
  # 16 of 24 rows are seen, so blue spans two thirds of its range.
  span = np.ptp(batch['video'][0, 0, :, 0, 2].astype(int))
  assert abs(span - 255 * 15 / 23) < 6


def test_crops_of_evaluation_may_be_larger_than_those_of_training(videos):
  views = Views(temporal=1, spatial=1, size=24, batch=8)
  (batch,) = evaluate(videos, views=views)
  assert batch['video'].shape[2:4] == (24, 24)
  assert not batch['video'][7].any()  # padding
  # The short side is the crop's: blue spans its whole range.
  assert np.ptp(batch['video'][0, 0, :, 0, 2].astype(int)) > 240


def test_few_clips_are_made_ahead(videos, monkeypatch):
  read, original = [], record_set.RecordSet.record
  spy = lambda self, i: read.append(i) or original(self, i)
  monkeypatch.setattr(record_set.RecordSet, 'record', spy)
  with train(videos, steps=100, data=Data(threads=2, prefetch=3)) as stream:
    next(stream)
    time.sleep(0.3)
    # One batch given, three batches ahead.
    assert len(read) <= 4 + 3 * 4
