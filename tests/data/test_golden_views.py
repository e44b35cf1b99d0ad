"""Recipes show models what the releases' own loaders showed theirs.

Frames, sizes, crops and pixels that the authors' loaders gave for made-up
videos, and tables of their rules: see `golden_views.py`. Ours come by the way
that users take: a recipe with a command line's overrides, records, streams.
Pixels are compared in levels of 0 to 255.
"""

import collections
import dataclasses
import itertools
import re

import av
import cv2
import golden_views
import numpy as np
import pytest
import streams
from sampling import Fixed, stamps, train_indices
from scipy.stats import binomtest, chi2_contingency

from vidmodels.data import augment
from vidmodels.data.augment import crops, erase, fit_short_side, ops, policies
from vidmodels.data.records.video_record import Record
from vidmodels.data.sampling import rules, views
from vidmodels.data.video import decode

# Levels; resizes round where the releases' do, or once at the end.
LEVELS = {'uint8': 1.001, 'float': 0.51}
DRAWS = 20_000
UNLIKELY = 1e-4


def cases(*kinds, having=''):
  """A test's parameter: all files of some kinds, by their names."""
  found = [
    golden
    for golden in golden_views.every()
    if golden.about['kind'] in kinds and (not having or having in golden.arrays)
  ]
  if not found:
    why = pytest.mark.skip(reason='no reference files; set VIDMODELS_SHARED')
    return pytest.mark.parametrize('golden', [pytest.param(None, marks=why)])
  return pytest.mark.parametrize('golden', found, ids=lambda g: g.name)


def png(frame_HWC):
  """A frame as a record may hold it, without loss."""
  quick = [cv2.IMWRITE_PNG_COMPRESSION, 1]
  return cv2.imencode('.png', frame_HWC[..., ::-1], quick)[1].tobytes()


def numbered(number, height, width):
  """A flat frame whose colour is its number."""
  frame_HWC = np.zeros((height, width, 3), np.uint8)
  frame_HWC[:] = number // 256, number % 256, 128
  return frame_HWC


@cases('test', 'validation in training')
@pytest.mark.fast_every(4)
def test_a_stream_shows_the_views_of_the_release(golden, tmp_path):
  about, arrays = golden.about, golden.arrays
  config = golden_views.config_of(golden)
  clip, shown = config.clip, golden_views.views_of(golden, config)
  n, height, width = (about[k] for k in ('frames_in_video', 'height', 'width'))
  times_n, V = stamps(n, about['fps']), shown.temporal
  index_VT = np.stack(
    [rules.view_indices(times_n, clip, v, V) for v in range(V)]
  )
  part = n // clip.frames
  if about.get('indices_are_random') and part > 1:
    # Theirs are drawn anew, ours are fixed; both are one of each part.
    for index in (index_VT, arrays['indices']):
      assert (index // part == np.arange(clip.frames)).all()
  else:
    np.testing.assert_array_equal(index_VT, arrays['indices'])
  order = golden_views.spatial_order(golden)
  found = [
    views.view_crop(height, width, size=clip.size, view=s, views=shown)
    for s in order
  ]
  assert {crop.short_side for crop in found} == {about['short_side']}
  assert [[c.top, c.left] for c in found] == arrays['offsets'].tolist()
  resized = fit_short_side(height, width, found[0].short_side, shown.long_side)
  assert list(resized) == arrays['resized'].tolist()
  # A record of flat frames, but for those whose pixels are known: each lies
  # where our view has it.
  pictures = [png(numbered(i, height, width)) for i in range(n)]
  numbers, placed = arrays['frame_numbers'].tolist(), {}
  for v, t in itertools.product(
    set(arrays['pixel_views'][:, 0].tolist()), arrays['pixel_positions']
  ):
    theirs = int(arrays['indices'][v, t])
    if placed.setdefault(int(index_VT[v, t]), theirs) == theirs:
      pictures[index_VT[v, t]] = png(arrays['frames'][numbers.index(theirs)])
  record = Record(
    frames=pictures,
    timestamps_us=times_n,
    fps=about['fps'],
    height=height,
    width=width,
    labels=(0,),
    label_texts=(),
    video='made.mp4',
  )
  shown = dataclasses.replace(shown, batch=V * shown.spatial)
  records = streams.write(tmp_path, [record])
  with streams.evaluate(records, clip=clip, views=shown) as stream:
    video_VSTHWC = next(stream)['video'].reshape(
      V, shown.spatial, *index_VT.shape[1:], clip.size, clip.size, 3
    )
  flat_VT = ~np.isin(index_VT, list(placed))
  told = video_VSTHWC[..., 0] * np.int64(256) + video_VSTHWC[..., 1]
  told = told.swapaxes(1, 2)[flat_VT]
  assert (told == index_VT[flat_VT][:, None, None, None]).all()
  compared = 0
  for p, (v, s) in enumerate(arrays['pixel_views'].tolist()):
    for k, t in enumerate(arrays['pixel_positions'].tolist()):
      if placed[index_VT[v, t]] == arrays['indices'][v, t]:
        ours_HWC = video_VSTHWC[v, order[s], t]
        off = golden_views.off_by(
          golden, config, ours_HWC, arrays['pixels'][p, k]
        )
        assert abs(off).max() <= LEVELS[shown.resize]
        # It is .13 if floats are rounded down.
        assert abs(off.mean()) < (0.03 if shown.resize == 'float' else 0.2)
        compared += 1
  assert compared


@cases('train')
@pytest.mark.fast_every(3)
def test_a_training_clip_is_cut_as_in_the_release(golden, monkeypatch):
  about, arrays, drawn = golden.about, golden.arrays, golden.about['drawn']
  config = golden_views.config_of(golden)
  fields, size = config.augment, config.clip.size
  height, width = about['height'], about['width']
  check_may_draw(golden, config)
  # As the recipe draws it, at the release's place.
  square = drawn['height'] == drawn['width'] == size
  crop = dataclasses.replace(
    augment.draw_crop(np.random.default_rng(0), height, width, fields, size),
    short_side=drawn['short_side'],
    top=drawn['top'],
    left=drawn['left'],
    flip=drawn['flip'],
    zoom=drawn.get('zoom', 1.0),
    height=0 if square else drawn['height'],
    width=0 if square else drawn['width'],
  )
  resized = fit_short_side(height, width, crop.short_side, crop.long_side)
  assert list(resized) == drawn['resized'] == arrays['resized'].tolist()
  if 'zoomed' in drawn:
    assert [int(side * crop.zoom) for side in resized] == drawn['zoomed']
  box = [drawn[k] for k in ('top', 'left', 'height', 'width')]
  assert box == arrays['box'].tolist()
  monkeypatch.setattr(crops, 'draw_crop', lambda *_: crop)
  augmenter = augment.ClipAugmenter(fields, size=size, data=config.data)
  frames = [png(frame_HWC) for frame_HWC in arrays['frames']]
  numbers = arrays['frame_numbers'].tolist()
  index_K = [
    numbers.index(about['indices_drawn'][t]) for t in arrays['pixel_positions']
  ]
  video_KHWC, _ = augmenter(frames, index_K, np.random.default_rng(0))
  off = golden_views.off_by(golden, config, video_KHWC, arrays['pixels'])
  most, mean = LEVELS[fields.resize], 0.2
  if fields.crop == 'multi_scale':
    # Pillow rounds after each direction, and takes an antialiasing filter when
    # it shrinks; the noise of these frames shows it most.
    shrinks = max(drawn['height'], drawn['width']) / size
    # By 8/7 at most with frames of 256 pixels and crops of 224.
    most = 9 + 100 * max(0, shrinks - 8 / 7) if shrinks > 1 else 1.001
    mean = 0.5
  elif fields.resize == 'float':
    mean = 0.08  # .13 if it were rounded down
  assert abs(off).max() <= most
  assert abs(off.mean()) < mean


def check_may_draw(golden, config):
  """Asserts that our stream may draw the frames and the box of a clip."""
  about, drawn, clip = golden.about, golden.about['drawn'], config.clip
  times_n = stamps(about['frames_in_video'], about['fps'])
  found = clips_drawn(times_n, clip)
  if not one_start(clip):
    index_T = np.array(about['indices_drawn'])
    assert (found.min(0) <= index_T).all()
    assert (index_T <= found.max(0)).all()
  else:
    assert tuple(about['indices_drawn']) in set(map(tuple, found.tolist()))
  fields = config.augment
  low, high = fields.short_side
  assert low <= drawn['short_side'] <= high
  H, W = drawn.get('zoomed') or drawn['resized']
  h, w, top, left = (drawn[k] for k in ('height', 'width', 'top', 'left'))
  if fields.crop == 'square':
    assert h == w == clip.size
    last = 0 if fields.last_offset else 1
    assert top <= max(0, H - h - last)
    assert left <= max(0, W - w - last)
  elif fields.crop == 'area':
    # A side is rounded to whole pixels.
    assert fields.aspect[0] <= (w + 0.5) / (h - 0.5)
    assert (w - 0.5) / (h + 0.5) <= fields.aspect[1]
    assert fields.area[0] * H * W <= (h + 0.5) * (w + 0.5)
  else:
    rng = np.random.default_rng(0)
    boxes = {crops.scale_box(rng, H, W, fields, clip.size) for _ in range(3000)}
    assert (top, left, h, w) in boxes


def one_start(clip):
  """Whether a rule draws one start, from which all frames follow."""
  return 'segment' not in clip.sampling


def clips_drawn(times_n, clip, shares=2001):
  """Clips whose draws lie at shares of their ranges, from end to end."""
  shares = np.linspace(0, 1, shares if one_start(clip) else 2)
  return np.stack([train_indices(times_n, clip, Fixed(s)) for s in shares])


@cases('size table')
def test_every_size_of_frame_becomes_the_releases(golden):
  table, size = golden.arrays, golden.crop
  shown = golden_views.load(golden).views
  shown = dataclasses.replace(shown, spatial=3, short_side=0)
  order = golden_views.spatial_order(golden)
  cut = 0
  for (height, width), side, resized, offsets in zip(
    *(table[k].tolist() for k in (
      *('height_width', 'short_side', 'resized', 'offsets'),
    )),
    strict=True,
  ):  # fmt: skip
    found = fit_short_side(height, width, side, shown.long_side)
    assert list(found) == resized, (height, width, side)
    if side >= size and offsets[0][0] >= 0:
      at_side = dataclasses.replace(shown, short_side=side)
      for view, offset in zip(order, offsets, strict=True):
        crop = views.view_crop(
          height, width, size=size, view=view, views=at_side
        )
        assert [crop.top, crop.left] == offset, (height, width, side, view)
        cut += 1
  assert cut


@cases('index table')
@pytest.mark.fast_every(3)
def test_every_length_gives_the_frames_of_the_release(golden):
  about, table = golden.about, golden.arrays
  rows = table.get('frames_fps')
  if rows is None:
    rows = [(n, about.get('fps', 30)) for n in table['frames']]
  keys = [key for key in table if key not in ('frames', 'frames_fps')]
  assert keys
  for key in keys:
    wanted_RVT = table[key]
    if wanted_RVT.ndim == 2:
      wanted_RVT = wanted_RVT[:, None]
    _, V, T = wanted_RVT.shape
    word = re.match(r'([a-z]+)_views?$', key)
    assert not word or golden_views.COUNTS.get(word[1], V) == V
    clip = golden_views.clip_of_table(golden, key, T)
    for (n, fps), wanted_VT in zip(rows, wanted_RVT, strict=True):
      times_n = stamps(int(n), fps)
      found_VT = np.stack(
        [rules.view_indices(times_n, clip, v, V) for v in range(V)]
      )
      assert (found_VT == wanted_VT).all(), (key, n, fps)


@cases('indices on real files')
def test_clips_of_real_files_are_the_releases(golden, shared):
  by_file = collections.defaultdict(list)
  for key in golden.arrays:
    by_file[key.split('|')[0]].append(key)
  compared = 0
  for file, keys in by_file.items():
    path = shared / 'clips' / file
    with av.open(str(path)) as container:
      reorders = container.streams.video[0].codec_context.has_b_frames
    if path.suffix == '.avi' and reorders:
      continue  # the release's clips are out of order there
    # The table names a frame by its pixels: the first of equal ones.
    seen, first, times = {}, [], []
    with decode.VideoReader(path) as reader:
      for number, (frame_HWC, time_us) in enumerate(reader):
        first.append(seen.setdefault(frame_HWC.tobytes(), number))
        times.append(time_us)
    for key in keys:
      wanted_VT = golden.arrays[key]
      V, T = wanted_VT.shape
      clip = golden_views.clip_of_table(golden, key, T)
      for v, wanted_T in enumerate(wanted_VT):
        found_T = rules.view_indices(np.array(times), clip, v, V)
        assert (np.array(first)[found_T] == wanted_T).all(), (key, v)
      compared += 1
  assert compared


@cases('training indices')
def test_training_draws_the_clips_of_the_release(golden):
  about, theirs = golden.about, golden.arrays['indices']
  clip = golden_views.clip_of_table(golden, '', theirs.shape[1])
  times_n = stamps(about['frames_in_video'], about['fps'])
  rng = np.random.default_rng(0)
  found = np.stack([train_indices(times_n, clip, rng) for _ in range(4000)])
  steps = {tuple((row - row[0]).tolist()) for row in theirs}
  assert steps <= {tuple((row - row[0]).tolist()) for row in found}
  same_shares(found[:, 0], theirs[:, 0])


@cases('ranges of random indices')
def test_random_clips_take_the_frames_that_the_release_may_take(golden):
  table, about = golden.arrays, golden.about
  names = ('train_min', 'train_max')
  if 'train_min' not in table:
    names = ('lowest', 'highest')
    if 'interval=1' in about['source_functions']:
      return  # of tests: the next test
  low_RT, high_RT = (table[name] for name in names)
  clip = golden_views.clip_of_table(golden, '', low_RT.shape[1])
  draws = about.get('draws_per_length', 1000)
  for n, low_T, high_T in zip(
    table['frames'].tolist(), low_RT, high_RT, strict=True
  ):
    found = clips_drawn(stamps(n), clip)
    assert (found.min(0) <= low_T).all(), n
    assert (high_T <= found.max(0)).all(), n
    # g frames at an end of s are all missed with chance (1 - g / s)**draws,
    # which is one in a million here.
    missed_T = (np.ptp(found, axis=0) + 1) * 14 // draws
    if clip.sampling == 'mmaction_segment' and (
      clip.frames < n < clip.frames + clip.stride - 1
    ):
      continue  # sorted draws, whose ends are rare
    assert (low_T - found.min(0) <= missed_T).all(), n
    assert (found.max(0) - high_T <= missed_T).all(), n


@cases('ranges of random indices')
def test_fixed_test_clips_are_clips_that_the_release_may_draw(golden):
  table, about = golden.arrays, golden.about
  names = ('test_min', 'test_max')
  if 'test_min' not in table:
    names = ('lowest', 'highest')
    if 'interval=1' not in about['source_functions']:
      return  # of training: the test before
  low_RT, high_RT = (table[name] for name in names)
  config = golden_views.load(golden, low_RT.shape[1])
  V = config.views.temporal
  for n, low_T, high_T in zip(
    table['frames'].tolist(), low_RT, high_RT, strict=True
  ):
    found_VT = np.stack(
      [rules.view_indices(stamps(n), config.clip, v, V) for v in range(V)]
    )
    assert (found_VT >= low_T).all(), n
    assert (found_VT <= high_T).all(), n
    # Spread over each part: within an eighth of it from its ends.
    room_T = (high_T - low_T + 1) / (2 * V)
    assert (found_VT[0] <= low_T + room_T).all(), n
    assert (found_VT[-1] >= high_T - room_T).all(), n


def same_shares(ours, theirs):
  """Asserts that two samples have one distribution, by chi-square."""
  values = np.unique(np.concatenate([ours, theirs]))
  table = np.stack([
    [(sample == value).sum() for value in values] for sample in (ours, theirs)
  ])  # fmt: skip
  rare = table.sum(0) < 20
  table = np.concatenate(
    [table[:, ~rare], table[:, rare].sum(1, keepdims=True)], 1
  )
  table = table[:, table.sum(0) > 0]
  assert chi2_contingency(table).pvalue > UNLIKELY, dict(
    zip(values.tolist(), table.T.tolist(), strict=False)
  )


def same_distribution(ours, theirs, bins=16):
  """As `same_shares`, for values that are many: by the quantiles of theirs."""
  edges = np.unique(np.quantile(theirs, np.linspace(0, 1, bins)[1:-1]))
  same_shares(np.digitize(ours, edges), np.digitize(theirs, edges))


def crops_of(golden, fields, seed=5):
  """Crops of frames of the size that the release's draws were made for."""
  rng, size = np.random.default_rng(seed), golden.crop
  height, width = golden.drawn_from
  return [
    augment.draw_crop(rng, height, width, fields, size) for _ in range(DRAWS)
  ]


@cases('distribution', having='top_counts')
@pytest.mark.fast_every(3)
def test_short_sides_and_places_are_drawn_as_often_as_in_pyslowfast(golden):
  table = golden.arrays
  low, high = map(int, golden.number(r'jitter\((\d+), (\d+)'))
  config = golden_views.load(golden, clip__size=golden.crop)
  fields = dataclasses.replace(config.augment, short_side=(low, high))
  counted = table['short_side_counts']
  sides = np.array([crop.short_side for crop in crops_of(golden, fields)])
  same_shares(sides, np.repeat(np.arange(low, high + 1), counted))
  # Both ends come half as often as whole numbers inside.
  for end, length in ((counted[0], low), (counted[-1], high)):
    share = 0.5 / (high - low)
    if fields.short_draw == 'inverse':
      inside = 1 / (length - 0.5) if length == high else 1 / (length + 0.5)
      share = abs(1 / length - inside) / (1 / low - 1 / high)
    for count, draws in (
      (int(end), int(counted.sum())),
      (int((sides == length).sum()), DRAWS),
    ):
      assert binomtest(count, draws, share).pvalue > UNLIKELY, length
  # Places at a short side that changes nothing.
  height, width = golden.drawn_from
  short = min(height, width)
  fixed = dataclasses.replace(
    fields, short_side=(short, short), short_draw='uniform'
  )
  drawn = crops_of(golden, fixed, seed=6)
  for key in ('top', 'left'):
    counted = table[f'{key}_counts']
    places = np.array([getattr(crop, key) for crop in drawn])
    if len(counted) > 1:
      assert counted[-1] == 0
      assert places.max() == len(counted) - 2  # the last one never
    same_shares(places, np.repeat(np.arange(len(counted)), counted))


@cases('distribution', having='area_counts')
@pytest.mark.slow
def test_areas_are_drawn_as_in_the_release(golden):
  height, width = golden.drawn_from
  fields = golden_views.load(golden).augment
  assert list(fields.area) == golden.about['area']
  assert list(fields.aspect) == pytest.approx(golden.about['aspect'])
  side = min(height, width)
  fields = dataclasses.replace(fields, short_side=(side, side))
  rng = np.random.default_rng(5)
  ours = np.array(
    [crops.area_box(rng, height, width, fields) for _ in range(DRAWS)]
  )
  theirs = golden.arrays['boxes'].astype(np.int64)
  for by in (
    lambda b: b[:, 2] * b[:, 3] * 20 // (height * width),
    lambda b: b[:, 3] / b[:, 2],
    lambda b: b[:, 0],
    lambda b: b[:, 1],
    lambda b: (b[:, 0] + 0.5) / (height - b[:, 2] + 1),
    lambda b: (b[:, 1] + 0.5) / (width - b[:, 3] + 1),
  ):
    same_distribution(by(ours), by(theirs))


@cases('distribution', having='counts')
@pytest.mark.slow
def test_scales_are_drawn_as_in_the_release(golden):
  fields, about = golden_views.load(golden).augment, golden.about
  assert list(fields.scales) == about['scales']
  assert (fields.scale_gap, fields.places) == (about['gap'], about['places'])
  boxes = golden.arrays['boxes'].tolist()
  numbers = {tuple(box): i for i, box in enumerate(boxes)}
  drawn = [
    numbers[c.top, c.left, c.height, c.width] for c in crops_of(golden, fields)
  ]
  counted = np.repeat(np.arange(len(numbers)), golden.arrays['counts'])
  same_shares(np.array(drawn), counted)


@cases('distribution', having='rows')
@pytest.mark.slow
def test_zooms_are_drawn_as_in_the_release(golden):
  height, width = golden.drawn_from
  low, high = golden.number(r'Resize\(\(([\d.]+), ([\d.]+)\)')
  fields = golden_views.load(golden).augment
  assert fields.zoom == (low, high)
  side = min(height, width)
  fields = dataclasses.replace(fields, short_side=(side, side))
  drawn = crops_of(golden, fields)
  ours = np.array(
    [(int(height * c.zoom), int(width * c.zoom), c.top, c.left) for c in drawn]
  )
  theirs = golden.arrays['rows'].astype(np.int64)
  same_shares(ours[:, 0], theirs[:, 0])
  assert {tuple(row) for row in theirs[:, :2].tolist()} <= {
    tuple(row) for row in ours[:, :2].tolist()
  }
  for side, place in ((0, 2), (1, 3)):
    room = [rows[:, side] - golden.crop for rows in (ours, theirs)]
    shares = [
      (rows[:, place] + 0.5) / (room + 1)
      for rows, room in zip((ours, theirs), room, strict=True)
    ]
    same_distribution(*shares)
    # The last place too.
    for rows, left in zip((ours, theirs), room, strict=True):
      assert (rows[:, place] == left).any()


@cases('distribution', having='not_erased')
@pytest.mark.slow
def test_boxes_are_erased_as_in_the_release(golden):
  fields = golden_views.load(golden).augment
  assert fields.erase == golden.about['chance']
  rng = np.random.default_rng(2)
  drawn = [erase.draw(rng, fields, 1, golden.crop) for _ in range(DRAWS)]
  ours = np.array(list(itertools.chain(*drawn)))
  theirs = golden.arrays['boxes'].astype(np.int64)
  none = int(golden.arrays['not_erased'])
  same_shares(
    np.array([len(d) for d in drawn]), np.repeat([0, 1], [none, len(theirs)])
  )
  for by in (
    *((lambda b, i=i: b[:, i]) for i in range(4)),
    lambda b: b[:, 2] / b[:, 3],
    lambda b: b[:, 2] * b[:, 3],
  ):
    same_distribution(by(ours), by(theirs))


# AutoAugment's names of our operations.
OPERATIONS = {
  'Color': 'colour',
  'SolarizeAdd': 'solarize_add',
  'ShearX': 'shear_x',
  'ShearY': 'shear_y',
  'TranslateXRel': 'translate_x',
  'TranslateYRel': 'translate_y',
  'AutoContrast': 'autocontrast',
}


@cases('operations of AutoAugment')
def test_operations_change_pixels_as_in_the_release(golden):
  table = golden.arrays
  for label, given, wanted_HWC in zip(
    table['names'].tolist(), table['amounts'], table['results'], strict=True
  ):
    name, _, level = label.partition('|')
    name = OPERATIONS.get(name, name.lower())
    sign = -1 if given < 0 else 1
    amount = policies.amount(name, float(level), sign=sign)
    assert amount == pytest.approx(given), label
    found_HWC = ops.apply(table['frame'], [ops.Op(name, amount)])
    off = abs(found_HWC.astype(int) - wanted_HWC)
    # Places on the very edge of what geometry leaves empty may fall either way.
    most = 0.01 if name in policies.FULL else 0
    assert (off > 1).mean() <= most, label
