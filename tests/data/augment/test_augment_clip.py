"""Augmented clips: alike in every frame, in one order, whoever makes them."""

import dataclasses
import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from streams import BATCH, CLIP, SWAP, VIDEOS, record, train, write

from vidmodels.cli import recipe
from vidmodels.config import Augment, Data
from vidmodels.data import augment
from vidmodels.data.augment import ops
from vidmodels.data.stream import batch_stream

HEAVY = dict(
  crop='area',
  short_side=(18, 24),
  short_draw='inverse',
  flip=0.5,
  rand_n=2,
  rand_mstd=2.0,
  rand_p=0.9,
  jitter=0.8,
  grey=0.3,
  erase=0.7,
  erase_count=3,
)
RECIPES = {
  'area': dict(crop='area', short_side=(0, 0)),
  'multi-scale': dict(crop='multi_scale', short_side=(18, 24)),
  'zoom': dict(short_side=(18, 18), zoom=(1.0, 1.5)),
  'auto': dict(short_side=(18, 24), auto='v0'),
  'auto on crops': dict(short_side=(18, 24), auto='v0', policy_on='crop'),
  'rand': dict(short_side=(18, 24), rand_n=3, rand_inc=True),
  'jitter': dict(short_side=(18, 24), jitter=1.0, grey=0.5),
  'erase': dict(short_side=(18, 24), erase=1.0, erase_with='colour'),
  'all': HEAVY,
}


def jpeg(frame_HWC):
  quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
  return cv2.imencode('.jpg', frame_HWC[..., ::-1], quality)[1].tobytes()


def picture(height=24, width=36, seed=0):
  rng = np.random.default_rng(seed)
  small_HWC = rng.integers(0, 256, (6, 9, 3), np.uint8)
  return cv2.resize(small_HWC, (width, height))


def make(jpegs, seed, indices=None, size=16, data=None, **fields):
  """A clip, what was drawn for it, and the generator after that."""
  rng = np.random.default_rng(seed)
  indices = range(len(jpegs)) if indices is None else indices
  augmenter = augment.ClipAugmenter(
    Augment(**fields), size=size, data=data or Data()
  )
  return *augmenter(jpegs, indices, rng), rng


@pytest.mark.parametrize('fields', RECIPES.values(), ids=RECIPES)
def test_equal_frames_stay_equal(fields):
  jpegs, looks = [jpeg(picture())] * 5, set()
  for seed in range(40):
    video_THWC, *_ = make(jpegs, seed, **fields)
    assert video_THWC.shape == (5, 16, 16, 3)
    assert (video_THWC == video_THWC[:1]).all()
    looks.add(video_THWC.tobytes())
  assert len(looks) > 35


@pytest.mark.parametrize('fields', RECIPES.values(), ids=RECIPES)
def test_a_frame_does_not_depend_on_those_beside_it(fields):
  jpegs = [jpeg(picture(seed=s)) for s in range(4)]
  for seed in range(10):
    together_THWC, *_ = make(jpegs, seed, **fields)
    for t in range(4):
      alone_THWC, *_ = make(jpegs, seed, indices=[t] * 4, **fields)
      assert (alone_THWC == together_THWC[t]).all()


def test_frames_flicker_only_where_that_is_asked_for():
  jpegs = [jpeg(picture())] * 4
  fields = dict(short_side=(18, 24), jitter=1.0, jitter_each='frame')
  video_THWC, drawn, _ = make(jpegs, 0, **fields)
  assert len({frame.tobytes() for frame in video_THWC}) == 4
  plain_THWC, *_ = make(jpegs, 0, short_side=(18, 24))
  for t in range(4):
    wanted_HWC = ops.apply(plain_THWC[t], drawn.changes['colour'][t])
    assert (video_THWC[t] == wanted_HWC).all()
  # A frame that stands twice in a clip flickers too.
  video_THWC, *_ = make(jpegs, 0, indices=[2, 2, 2, 2], **fields)
  assert len({frame.tobytes() for frame in video_THWC}) == 4
  noisy_THWC, *_ = make(
    jpegs, 0, short_side=(18, 24), erase=1.0, erase_with='noise'
  )
  assert len({frame.tobytes() for frame in noisy_THWC}) == 4


@pytest.mark.parametrize('on', ['frame', 'crop'])
def test_operations_run_in_the_order_that_is_documented(on):
  frame_HWC = augment.decode(jpeg(picture()))
  fields = HEAVY | dict(policy_on=on, erase_with='black')
  told_apart = 0
  for seed in range(60):
    video_THWC, drawn, _ = make([jpeg(picture())], seed, **fields)
    cut = lambda frame_HWC, own=drawn: augment.cut(frame_HWC, own.crop, 16)
    before = cut(ops.apply(frame_HWC, drawn.changes['policies']))
    after = ops.apply(cut(frame_HWC), drawn.changes['policies'])
    told_apart += (before != after).any()
    cut_HWC = before if on == 'frame' else after
    wanted_HWC = ops.apply(cut_HWC, drawn.changes['colour'][0])
    for top, left, height, width in drawn.changes['erase']:
      wanted_HWC[top : top + height, left : left + width] = 0
    assert (video_THWC[0] == wanted_HWC).all()
  assert told_apart > 20


def test_erased_boxes_have_the_recipes_mean():
  data = Data(mean=(0.2, 0.4, 0.6))
  found = set()
  for seed in range(10):
    video_THWC, drawn, _ = make(
      [jpeg(picture())], seed, data=data, short_side=(18, 24), erase=1.0
    )
    (box,) = drawn.changes['erase']
    found.add(tuple(video_THWC[0, box.top, box.left]))
  assert found == {(51, 102, 153)}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  return write(tmp_path_factory.mktemp('records'), items)


def digest(batches):
  """SHA-256 of each row of a stream, [steps][rows]."""
  return [
    [
      hashlib.sha256(
        b''.join(batch[key][r].tobytes() for key in sorted(batch))
      ).hexdigest()
      for r in range(len(batch['index']))
    ]
    for batch in batches
  ]


STREAMS = {
  'all': HEAVY,
  'noise': dict(short_side=(18, 24), erase=1.0, erase_with='noise'),
  'flicker': dict(short_side=(18, 24), jitter=0.8, jitter_each='frame'),
  'auto': dict(crop='multi_scale', short_side=(0, 0), auto='v0'),
  'repeats': HEAVY | dict(repeats=2),
}


@pytest.mark.parametrize('fields', STREAMS.values(), ids=STREAMS)
def test_augmented_rows_are_bit_equal_for_1_2_and_4_processes(videos, fields):
  rules = Augment(**fields)
  whole = digest(train(videos, augment=rules))
  assert len({row for step in whole for row in step}) == 6 * BATCH
  for processes in (2, 4):
    rows = np.arange(BATCH).reshape(processes, -1)
    parts = [
      digest(train(videos, rows=own, augment=rules)) for own in rows.tolist()
    ]
    for step, rows in zip(whole, zip(*parts, strict=True), strict=True):
      assert step == [row for part in rows for row in part]


@pytest.mark.slow
def test_augmented_rows_are_bit_equal_in_processes_of_their_own(videos):
  code = """
import hashlib, sys
from vidmodels.config import Augment, Clip, Data
from vidmodels.data.records.record_set import RecordSet
from vidmodels.data.stream import batch_stream
stream = batch_stream.train_batches(
  RecordSet.open(sys.argv[1], 'train'), clip={clip!r},
  augment={augment!r}, data=Data(threads=1), batch=4, seed=3,
  rows=[int(r) for r in sys.argv[2:]], start_step=0, steps=6)
pixels = hashlib.sha256()
for batch in stream:
  for key in sorted(batch):
    pixels.update(batch[key].tobytes())
print(pixels.hexdigest())
""".format(clip=CLIP, augment=Augment(**STREAMS['repeats']))
  started = [
    subprocess.Popen(
      [sys.executable, '-c', code, str(videos.dir), *rows],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      cwd=batch_stream.__file__.rsplit('/vidmodels/', 1)[0],
    )
    for rows in ('03', '21')
  ]
  for process, rows in zip(started, ([0, 3], [2, 1]), strict=True):
    out, err = process.communicate()
    pixels = hashlib.sha256()
    rules = Augment(**STREAMS['repeats'])
    for batch in train(videos, rows=rows, augment=rules):
      for key in sorted(batch):
        pixels.update(batch[key].tobytes())
    assert out.strip() == pixels.hexdigest(), err


def test_repeats_show_an_example_side_by_side_in_different_clothes(videos):
  fields = dict(short_side=(18, 24), repeats=2)
  seen, pairs = [], 0
  for batch in train(videos, augment=Augment(**fields), steps=14):
    first, second = batch['index'][::2], batch['index'][1::2]
    assert (first == second).all()
    seen += first.tolist()
    pairs += sum(
      (a != b).any()
      for a, b in zip(batch['video'][::2], batch['video'][1::2], strict=True)
    )
  assert pairs == 28
  for start in range(0, 28, 7):
    assert sorted(seen[start : start + 7]) == list(range(7))


def test_a_mirrored_box_has_the_label_of_its_mirror_image(tmp_path):
  items = [record(i, *video) for i, video in enumerate(VIDEOS)]
  videos, seen = write(tmp_path, items, flip=SWAP), set()
  rules = Augment(
    crop='multi_scale', short_side=(0, 0), erase=1.0, erase_area=(0.02, 0.05)
  )
  for batch in train(videos, augment=rules, steps=14):
    # Green grows to the right, as far as the box does not cover it.
    rightwards = np.median(np.diff(batch['video'][..., 1].astype(int)), (1, 2))
    for i, label, grows in zip(
      batch['index'], batch['label'], rightwards.mean(-1), strict=True
    ):
      assert label == (2 - i % 3 if grows < 0 else i % 3)
      seen.add((i % 3, bool(grows < 0)))
  assert len(seen) == 6  # every class, both ways


def test_every_recipes_augmentation_makes_clips(videos):
  found = {
    recipe.load(variant).augment
    for name in recipe.names()
    for variant in recipe.published(name)
  }
  assert len(found) >= 8
  for own in sorted(found, key=repr):
    # Crops of 16 pixels take a fourteenth of the sides that 224 take.
    sides = tuple(max(16, side // 14) * bool(side) for side in own.short_side)
    small = dataclasses.replace(own, short_side=sides)
    (batch,) = train(videos, augment=small, steps=1)
    assert batch['video'].shape == (BATCH, 4, 16, 16, 3)
    assert batch['video'].std() > 10


def test_what_is_drawn_is_a_matter_of_seed_and_clip_alone(videos):
  rules = Augment(**HEAVY)
  assert digest(train(videos, augment=rules)) == digest(
    train(videos, augment=rules, data=Data(threads=8))
  )
  assert digest(train(videos, augment=rules))[3:] == digest(
    train(videos, augment=rules, start=3)
  )
