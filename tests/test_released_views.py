"""What models are fed, against what the releases' own loaders fed them.

Frames, sizes, crops and pixels that the authors' loaders gave for made-up
videos, and tables of their rules. A file says what it is in its `config`; a
recipe of the same release must give the same. Pixels are compared in levels of
0 to 255.
"""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from sampling import stamps, train_indices
from scipy.stats import chi2_contingency

from vidmodels.cli import recipe
from vidmodels.config import Augment
from vidmodels.data import augment
from vidmodels.data.augment import erase, fit_short_side, ops, policies
from vidmodels.data.sampling import rules, views
from vidmodels.data.video import decode

RECIPES = {
  'timesformer_k400': 'timesformer',
  'timesformer_ssv2': 'timesformer:ssv2',
  'xvit_k400': 'xvit',
  'xvit_ssv2': 'xvit:ssv2',
  'vidtr': 'vidtr',
  'dualformer_k400': 'dualformer',
  'dualformer_ucf101': 'dualformer:small,ucf101',
  'video_focalnets': 'video_focalnet',
}
RATES = ('sampling_rate', 'frame_interval', 'frame_sample_rate')
# Their resizes round to levels where ours does, or nowhere.
LEVELS = {'uint8': 1.001, 'float': 0.51}


@pytest.fixture
def golden(shared):
  folder = shared / 'golden_views'
  if not folder.is_dir():
    pytest.skip(f'no reference files at {folder}')
  return folder


def files(golden, release, kind):
  """(name, what it says of itself, arrays) of the files of a kind."""
  found = []
  for path in sorted((golden / release).glob('*.npz')):
    with np.load(path) as arrays:
      about = json.loads(str(arrays['config']))
      if about['kind'] == kind:
        found.append((path.name, about, {k: arrays[k] for k in arrays}))
  return found


def config_of(release, about):
  """The release's recipe at the sizes of a file: frames, rate, crop, views."""
  config = recipe.load(RECIPES[release])
  rate = next((about[r] for r in RATES if about.get(r)), config.clip.stride)
  if release == 'video_focalnets':
    rate = config.clip.stride  # one recipe, whose tests count by 1
  shown = dataclasses.replace(
    config.views,
    temporal=about.get('temporal_views', 1),
    spatial=about.get('spatial_views', 3),
    short_side=config.views.short_side * about['crop'] // config.clip.size,
  )
  if about['kind'].startswith('validation'):
    scale = config.log.validate_scale or shown.centre_scale
    shown = dataclasses.replace(shown, centre_scale=scale)
  clip = dataclasses.replace(
    config.clip,
    size=about['crop'],
    frames=about['clip_frames'],
    stride=float(rate),
  )
  return dataclasses.replace(config, clip=clip, views=shown)


def as_levels(pixels, about):
  """Normalised pixels of a release, back in RGB levels of 0 to 255."""
  scale = 1 if about.get('mean_std_scale') == '0..255' else 255
  levels = (pixels * np.array(about['std']) + np.array(about['mean'])) * scale
  swapped = about['channel_order_of_pixels'] != about['channel_order_of_frames']
  return levels[..., ::-1] if swapped else levels


def spatial_order(about):
  """Our number of each crop, in the order in which the release counts."""
  if about['spatial_views'] == 1:
    return [0]
  return [0, 2, 1] if 'crops slowest' in about['view_order'] else [0, 1, 2]


@pytest.mark.parametrize('release', RECIPES)
@pytest.mark.parametrize('kind', ['test', 'validation in training'])
def test_a_recipe_shows_the_views_that_its_release_shows(golden, release, kind):
  for name, about, arrays in files(golden, release, kind):
    config = config_of(release, about)
    clip, shown = config.clip, config.views
    height, width = about['height'], about['width']
    times_n = stamps(about['frames_in_video'], about['fps'])
    index_VT = np.stack([
      rules.view_indices(times_n, clip, v, shown.temporal)
      for v in range(shown.temporal)
    ])  # fmt: skip
    part = about['frames_in_video'] // clip.frames
    if about.get('indices_are_random') and part > 1:
      # Theirs are drawn anew, ours are fixed; both are one of each part.
      for index in (index_VT, arrays['indices']):
        assert (index // part == np.arange(clip.frames)).all(), name
    else:
      assert (index_VT == arrays['indices']).all(), name
    crops = [
      views.view_crop(height, width, size=clip.size, view=s, views=shown)
      for s in spatial_order(about)
    ]
    assert {c.short_side for c in crops} == {about['short_side']}, name
    assert [[c.top, c.left] for c in crops] == arrays['offsets'].tolist(), name
    resized = fit_short_side(
      height, width, crops[0].short_side, crops[0].long_side
    )
    assert list(resized) == arrays['resized'].tolist(), name
    numbers = arrays['frame_numbers'].tolist()
    for p, (v, s) in enumerate(arrays['pixel_views']):
      for k, t in enumerate(arrays['pixel_positions']):
        number = numbers.index(arrays['indices'][v, t])
        found_HWC = augment.cut(arrays['frames'][number], crops[s], clip.size)
        off = found_HWC - as_levels(arrays['pixels'][p, k], about)
        assert abs(off).max() <= LEVELS[shown.resize], name
        if shown.resize == 'float':
          assert abs(off.mean()) < 0.03, name  # .13 if it were rounded down


@pytest.mark.parametrize('release', RECIPES)
def test_pixels_are_normalised_as_in_the_release(golden, release):
  (about,) = [
    about
    for name, about, _ in files(golden, release, 'test')
    if name == 'test_wide.npz'
  ]
  data = recipe.load(RECIPES[release]).data
  scale = 1 if about.get('mean_std_scale') == '0..255' else 255
  for found, wanted in ((data.mean, about['mean']), (data.std, about['std'])):
    # As bytes come: (x / 255 - mean) / std.
    assert np.array(found) * 255 == pytest.approx(np.array(wanted) * scale)


@pytest.mark.parametrize('release', RECIPES)
def test_a_recipe_cuts_training_clips_as_its_release_does(golden, release):
  for name, about, arrays in files(golden, release, 'train'):
    config, drawn = config_of(release, about), about['drawn']
    size = config.clip.size
    square = drawn['height'] == drawn['width'] == size
    # As the recipe draws it, at the release's place.
    crop = augment.draw_crop(
      np.random.default_rng(0), 256, 340, config.augment, size
    )
    crop = dataclasses.replace(
      crop,
      short_side=drawn['short_side'],
      top=drawn['top'],
      left=drawn['left'],
      flip=drawn['flip'],
      zoom=drawn.get('zoom', 1.0),
      height=0 if square else drawn['height'],
      width=0 if square else drawn['width'],
    )
    resized = fit_short_side(
      about['height'], about['width'], crop.short_side, crop.long_side
    )
    assert list(resized) == drawn['resized'], name
    most = LEVELS[config.augment.resize]
    if release == 'xvit_k400':
      # Pillow rounds after each direction, and takes an antialiasing filter
      # when it shrinks.
      most = 1.001 if max(drawn['height'], drawn['width']) <= size else 10
    found_KHWC = np.stack(
      [augment.cut(f, crop, size) for f in arrays['frames']]
    )
    off = found_KHWC - as_levels(arrays['pixels'], about)
    assert abs(off).max() <= most, name
    if config.augment.resize == 'float':
      assert abs(off.mean()) < 0.08, name  # .13 if it were rounded down


@pytest.mark.parametrize(
  'release', ['timesformer_k400', 'xvit_k400', 'vidtr', 'video_focalnets']
)
def test_every_size_of_frame_becomes_the_releases(golden, release):
  ((_, _, table),) = files(golden, release, 'size table')
  shown = dataclasses.replace(recipe.load(RECIPES[release]).views, spatial=3)
  counted = [0, 2, 1] if shown.centre == 'floor' else [0, 1, 2]
  for (height, width), side, resized, offsets in zip(
    table['height_width'].tolist(),
    table['short_side'].tolist(),
    table['resized'].tolist(),
    table['offsets'].tolist(),
    strict=True,
  ):
    found = fit_short_side(height, width, side, shown.long_side)
    assert list(found) == resized, (height, width, side)
    if side == 224:
      for view, offset in zip(counted, offsets, strict=True):
        crop = views.view_crop(height, width, size=224, view=view, views=shown)
        assert [crop.top, crop.left] == offset, (height, width, view)


# The table's array: the recipe and how many views it has.
TABLES = {
  'timesformer_k400': {
    'one_view': ('timesformer', 1),
    'three_views': ('timesformer', 3),
    'long_96x4': ('timesformer:long', 1),
    'high_16x16': ('timesformer:high', 1),
  },
  'timesformer_ssv2': {
    'T8': ('timesformer:ssv2', 1),
    'T16': ('timesformer:high,ssv2', 1),
    'T64': ('timesformer:long,ssv2', 1),
  },
  'xvit_k400': {'one_view': ('xvit', 1), 'three_views': ('xvit', 3)},
  'xvit_ssv2': {'three_views': ('xvit:ssv2', 3)},
  'vidtr': {
    's_8x8': ('vidtr', 10),
    'm_16x4': ('vidtr:m', 10),
    'l_32x2': ('vidtr:l', 10),
  },
  'dualformer_k400': {'four_views': ('dualformer', 4)},
  'dualformer_ucf101': {'four_views': ('dualformer:small,ucf101', 4)},
  'video_focalnets': {'one_view': ('video_focalnet', 1)},
}


@pytest.mark.parametrize('release', TABLES)
def test_every_length_gives_the_frames_of_the_release(golden, release):
  compared = set()
  for _, about, table in files(golden, release, 'index table'):
    rows = table.get('frames_fps')
    if rows is None:
      rows = [(n, about.get('fps', 30)) for n in table['frames']]
    for key, (name, count) in TABLES[release].items():
      if key not in table:
        continue
      clip = recipe.load(name).clip
      for (n, fps), wanted_VT in zip(rows, table[key], strict=True):
        times_n = stamps(int(n), fps)
        found_VT = [
          rules.view_indices(times_n, clip, v, count) for v in range(count)
        ]
        wanted_VT = wanted_VT.reshape(count, clip.frames)
        assert (np.stack(found_VT) == wanted_VT).all(), (key, n, fps)
      compared.add(key)
  assert compared == set(TABLES[release])


def test_timesformers_clips_of_real_files_are_the_releases(golden, shared):
  ((_, _, table),) = files(golden, 'timesformer_k400', 'indices on real files')
  rates = {'8x32': 'timesformer', '96x4': 'timesformer:long'}
  compared = 0
  for file in ('arm_wrestling.mp4', 'basketball.mp4', 'pool_cleaning.mp4'):
    # The table names a frame by its pixels: the first of equal ones.
    seen, first, times = {}, [], []
    with decode.VideoReader(shared / 'clips' / file) as reader:
      for number, (frame_HWC, time_us) in enumerate(reader):
        first.append(seen.setdefault(frame_HWC.tobytes(), number))
        times.append(time_us)
    for key in table:
      if key.startswith(file):
        _, rate, count = key.split('|')
        clip = recipe.load(rates[rate]).clip
        for v, wanted_T in enumerate(table[key]):
          found_T = rules.view_indices(np.array(times), clip, v, int(count))
          assert (np.array(first)[found_T] == wanted_T).all(), key
          compared += 1
  # In AVI with B-frames the release's clips are out of order.
  assert compared == 3 * (1 + 1 + 3)


def test_timesformer_trains_on_the_clips_of_its_release(golden):
  ((_, about, table),) = files(golden, 'timesformer_k400', 'training indices')
  clip = recipe.load('timesformer').clip
  times_n = stamps(about['frames_in_video'], about['fps'])
  rng = np.random.default_rng(0)
  found = np.stack([train_indices(times_n, clip, rng) for _ in range(4000)])
  steps = {tuple((row - row[0]).tolist()) for row in table['indices']}
  assert {tuple((row - row[0]).tolist()) for row in found} == steps
  same_shares(found[:, 0], table['indices'][:, 0])


@pytest.mark.parametrize(
  'release',
  ['dualformer_k400', 'dualformer_ucf101', 'vidtr', 'timesformer_ssv2',
   'xvit_ssv2', 'video_focalnets'],
)  # fmt: skip
def test_random_clips_take_the_frames_that_the_release_may_take(
  golden, release
):
  clip = recipe.load(RECIPES[release]).clip
  checked = 0
  for _, _, table in files(golden, release, 'ranges of random indices'):
    prefixes = ('train_min', 'train_max') if 'train_min' in table else (
      'lowest', 'highest')  # fmt: skip
    if release == 'video_focalnets' and prefixes[0] == 'lowest':
      continue  # of tests: the next test
    for n, low_T, high_T in zip(
      table['frames'].tolist(), *(table[p] for p in prefixes), strict=True
    ):
      rng = np.random.default_rng(n)
      found = np.stack(
        [train_indices(stamps(n), clip, rng) for _ in range(400)]
      )
      checked += 1
      if release == 'video_focalnets' and n in (9, 10):
        low_T, high_T = found.min(0), high_T.max()  # rare ends: within them
      assert (found.min(0) >= low_T).all(), n
      assert (found.max(0) <= high_T).all(), n
  assert checked > 10


def test_the_test_clips_of_video_focalnets_are_clips_that_it_may_draw(golden):
  clip = recipe.load('video_focalnet').clip
  checked = 0
  for _, _, table in files(
    golden, 'video_focalnets', 'ranges of random indices'
  ):
    keys = (
      ('lowest', 'highest') if 'lowest' in table else ('test_min', 'test_max')
    )
    for n, low_T, high_T in zip(
      table['frames'].tolist(), *(table[k] for k in keys), strict=True
    ):
      found = np.stack(
        [rules.view_indices(stamps(n), clip, v, 4) for v in range(4)]
      )
      assert (found >= low_T).all(), n
      assert (found <= high_T).all(), n
      # Spread over each part: within an eighth of it from its ends.
      room_T = (high_T - low_T + 1) / 8
      assert (found[0] <= low_T + room_T).all(), n
      assert (found[3] >= high_T - room_T).all(), n
      checked += 1
  assert checked > 80


def same_shares(ours, theirs):
  """Asserts that two samples have one distribution: chi-square, 1 in 10**4."""
  values = np.unique(np.concatenate([ours, theirs]))
  table = np.stack([
    [(sample == value).sum() for value in values] for sample in (ours, theirs)
  ])  # fmt: skip
  rare = table.sum(0) < 20
  table = np.concatenate(
    [table[:, ~rare], table[:, rare].sum(1, keepdims=True)], 1
  )
  table = table[:, table.sum(0) > 0]
  assert chi2_contingency(table).pvalue > 1e-4, dict(
    zip(values, table.T.tolist(), strict=False)
  )


def crops_of(name, height, width, count=20_000):
  fields, size = recipe.load(name).augment, 224
  rng = np.random.default_rng(5)
  return [
    augment.draw_crop(rng, height, width, fields, size) for _ in range(count)
  ]


@pytest.mark.parametrize(
  'release', ['timesformer_k400', 'timesformer_ssv2', 'xvit_ssv2']
)
@pytest.mark.fast_every(3)
def test_short_sides_and_places_are_drawn_as_often_as_in_pyslowfast(
  golden, release
):
  ((_, _, table),) = [
    found for found in files(golden, release, 'distribution')
    if 'top_counts' in found[2]
  ]  # fmt: skip
  sides = [crop.short_side for crop in crops_of(RECIPES[release], 256, 340)]
  counted = table['short_side_counts']
  same_shares(np.array(sides), np.repeat(np.arange(256, 321), counted))
  # Places at a short side that changes nothing.
  fields = dataclasses.replace(
    recipe.load(RECIPES[release]).augment,
    short_side=(256, 256),
    short_draw='uniform',
  )
  rng = np.random.default_rng(6)
  crops = [augment.draw_crop(rng, 256, 340, fields, 224) for _ in range(20_000)]
  for key in ('top', 'left'):
    counted = table[f'{key}_counts']
    drawn = np.array([getattr(crop, key) for crop in crops])
    assert counted[-1] == 0
    assert drawn.max() == len(counted) - 2  # the last one never
    same_shares(drawn, np.repeat(np.arange(len(counted)), counted))


@pytest.mark.slow
@pytest.mark.parametrize('release', ['dualformer_k400', 'video_focalnets'])
def test_areas_are_drawn_as_in_the_release(golden, release):
  ((_, _, table),) = files(golden, release, 'distribution')
  boxes = np.array(
    [(c.top, c.left, c.height, c.width)
     for c in crops_of(RECIPES[release], 256, 340)]
  )  # fmt: skip
  area, shape = (
    boxes[:, 2] * boxes[:, 3] / (256 * 340),
    boxes[:, 3] / boxes[:, 2],
  )
  theirs = table['boxes'].astype(np.int64)
  their_area = theirs[:, 2] * theirs[:, 3] / (256 * 340)
  same_shares((area * 20).astype(int), (their_area * 20).astype(int))
  their_shape = theirs[:, 3] / theirs[:, 2]
  for ours, other in ((shape, their_shape), (boxes[:, 0], theirs[:, 0]),
                      (boxes[:, 1], theirs[:, 1])):  # fmt: skip
    edges = np.quantile(other, np.linspace(0, 1, 16)[1:-1])
    same_shares(np.digitize(ours, edges), np.digitize(other, edges))


@pytest.mark.slow
def test_scales_and_zooms_are_drawn_as_in_the_releases(golden):
  ((_, _, table),) = files(golden, 'xvit_k400', 'distribution')
  numbers = {tuple(box): i for i, box in enumerate(table['boxes'].tolist())}
  drawn = [
    numbers[c.top, c.left, c.height, c.width]
    for c in crops_of('xvit', 256, 340)
  ]
  counted = np.repeat(np.arange(len(numbers)), table['counts'])
  same_shares(np.array(drawn), counted)
  ((_, _, table),) = files(golden, 'vidtr', 'distribution')
  rows = table['rows'].astype(np.int64)
  crops = crops_of('vidtr', 256, 340)
  heights = np.array([int(256 * c.zoom) for c in crops])
  same_shares(heights, rows[:, 0])
  assert {(int(256 * c.zoom), int(340 * c.zoom)) for c in crops} >= set(
    map(tuple, rows[:, :2].tolist())
  )
  tops = np.array([c.top for c in crops]) / (heights - 224)
  their_tops = rows[:, 2] / (rows[:, 0] - 224)
  edges = np.linspace(0, 1, 11)[1:-1]
  same_shares(np.digitize(tops, edges), np.digitize(their_tops, edges))
  assert max(tops) == max(their_tops) == 1  # the last place too


@pytest.mark.slow
def test_boxes_are_erased_as_in_xvit(golden):
  ((_, about, table),) = [
    found for found in files(golden, 'xvit_ssv2', 'distribution')
    if 'not_erased' in found[2]
  ]  # fmt: skip
  fields: Augment = recipe.load('xvit:ssv2').augment
  rng = np.random.default_rng(2)
  drawn = [erase.draw(rng, fields, 1, about['crop']) for _ in range(20_000)]
  boxes = np.array(list(itertools.chain(*drawn)))
  theirs = table['boxes'].astype(np.int64)
  none = int(table['not_erased'])
  same_shares(
    np.array([len(d) for d in drawn]),
    np.repeat([0, 1], [none, len(theirs)]),
  )
  for ours, other in (
    *((boxes[:, i], theirs[:, i]) for i in range(4)),
    (boxes[:, 2] / boxes[:, 3], theirs[:, 2] / theirs[:, 3]),
  ):
    edges = np.quantile(other, np.linspace(0, 1, 16)[1:-1])
    same_shares(np.digitize(ours, edges), np.digitize(other, edges))


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


def test_operations_change_pixels_as_in_xvit(golden):
  ((_, _, table),) = files(golden, 'xvit_k400', 'operations of AutoAugment')
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
    assert (off > 1).mean() <= 0.001, label
