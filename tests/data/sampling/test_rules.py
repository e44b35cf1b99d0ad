"""Frame sampling: literal index tables first, then what must hold for any n."""

import itertools

import numpy as np
import pytest
from sampling import stamps, train_indices, views

from vidmodels.config import Clip
from vidmodels.data.sampling import dense
from vidmodels.data.sampling import rules as sampling_rules
from vidmodels.typing import InputError


def rng(seed=0):
  return np.random.default_rng(seed)


def rules(sampling, strides=(1.0, 3.0), **choices):
  """Clips of a rule for every choice of its fields."""
  names, values = ['frames', 'stride', *choices], choices.values()
  return [
    Clip(sampling=sampling, **dict(zip(names, chosen, strict=True)))
    for chosen in itertools.product((1, 2, 8), strides, *values)
  ]


EVERY_RULE = [
  *rules('dense', (1.0, 3.0, 1.5), short=('clamp', 'loop')),
  *rules('dense', (0.1,), unit=('second',), short=('clamp', 'loop')),
  *rules('segment', (1.0,)),
  *rules('pyslowfast', (1.0, 3.0, 1.5), fps=(0.0, 10.0, 30.0)),
  *rules('pyslowfast_pyav', (1.0, 3.0, 1.5), fps=(0.0, 10.0, 30.0)),
  *rules('pyslowfast_segment', (1.0,)),
  *rules('mmaction'),
  *rules('mmaction_segment'),
  *rules('vidtr'),
  *rules('dmvr'),
  *rules('uniform', (1.0, 3.0, 1.5), fps=(0.0, 10.0)),
]


def rounds_up(clip):
  """Whether numbers may be rounded to n, and go round."""
  return clip.sampling == 'mmaction_segment'


def test_every_rule_is_tried():
  assert {clip.sampling for clip in EVERY_RULE} == set(sampling_rules.names())


def most_views(n, clip):
  """How many views are said to differ in a video of n frames at 30 fps."""
  T, s = clip.frames, int(clip.stride)
  window = clip.frames * clip.stride * (30 / clip.fps if clip.fps else 1)
  return {
    'dense': lambda: dense.starts(stamps(n), clip),
    'segment': lambda: n // T,
    'pyslowfast': lambda: n - window,
    'pyslowfast_pyav': lambda: n - window,
    'pyslowfast_segment': lambda: 3 if n > T + 1 else 1,
    'mmaction': lambda: n - T * s + 1,
    'mmaction_segment': lambda: n // T,
    'vidtr': lambda: n - T * s + 1,
    'dmvr': lambda: n - T * s + 1,
    'uniform': lambda: n - window + 1,
  }[clip.sampling]()


def test_dense_views_start_at_the_first_the_last_and_evenly_between():
  clip = Clip(frames=4, stride=4)  # 13 frames long: starts 0 to 7 of 20 frames
  assert views(20, clip, 1) == [[3, 7, 11, 15]]
  assert views(20, clip, 2) == [[0, 4, 8, 12], [7, 11, 15, 19]]
  assert views(20, clip, 3)[1] == [4, 8, 12, 16]  # 3.5 rounds up
  assert [v[0] for v in views(20, clip, 8)] == list(range(8))
  # The clip of 8 frames by 32 takes 225 of 300: the middle starts at 37.
  wide = Clip(frames=8, stride=32)
  assert views(300, wide, 1) == [[37, 69, 101, 133, 165, 197, 229, 261]]
  assert [v[0] for v in views(300, wide, 3)] == [0, 38, 75]


def test_a_fractional_stride_takes_the_floor_of_each_place():
  clip = Clip(frames=6, stride=1.5)
  assert views(8, clip, 1) == [[0, 1, 3, 4, 6, 7]]
  clip = Clip(frames=101, stride=0.29)  # 0.29 * 100 is 28.999999999999996
  assert views(30, clip, 1)[0][-1] == 29


def test_a_short_video_repeats_its_last_frame_or_starts_again():
  for n, clamped, looped in (
    (1, [0, 0, 0, 0], [0, 0, 0, 0]),
    (3, [0, 2, 2, 2], [0, 2, 1, 0]),
    (5, [0, 2, 4, 4], [0, 2, 4, 1]),
    (6, [0, 2, 4, 5], [0, 2, 4, 0]),
    (7, [0, 2, 4, 6], [0, 2, 4, 6]),
  ):
    for count in (1, 3):
      clip = Clip(frames=4, stride=2, short='clamp')
      assert views(n, clip, count) == [clamped] * count
      clip = Clip(frames=4, stride=2, short='loop')
      assert views(n, clip, count) == [looped] * count


@pytest.mark.parametrize('short', ['clamp', 'loop'])
def test_every_start_at_which_the_clip_fits_is_equally_likely(short):
  clip = Clip(frames=3, stride=2, short=short)
  times, random = stamps(10), rng()
  drawn = [train_indices(times, clip, random) for _ in range(6000)]
  count = np.bincount([d[0] for d in drawn])
  assert len(count) == 6  # starts 0 to 5; the last one shows frame 9
  assert abs(count - 1000).max() < 5 * 29  # five standard deviations
  assert all((d - d[0]).tolist() == [0, 2, 4] for d in drawn)


@pytest.mark.parametrize('fps', [30, 25, 12, 30000 / 1001])
@pytest.mark.parametrize('short', ['clamp', 'loop'])
def test_seconds_and_frames_agree_at_a_constant_rate(fps, short):
  for T, stride in ((1, 1), (5, 1), (5, 3), (8, 7)):
    by_frame = Clip(frames=T, stride=stride, short=short)
    by_time = Clip(frames=T, stride=stride / fps, short=short, unit='second')
    for n in range(1, T * stride + 6):
      times = stamps(n, fps)
      count = dense.starts(times, by_frame)
      assert dense.starts(times, by_time) == count
      for start in range(count):
        a = dense.frames(times, by_frame, start)
        assert a.tolist() == dense.frames(times, by_time, start).tolist()


def test_a_short_clip_in_seconds_loops_many_times_without_drifting():
  for n, fps in itertools.product((2, 3, 4, 7), (30, 24, 30000 / 1001)):
    clip = Clip(frames=200, stride=1 / fps, unit='second', short='loop')
    index_T = dense.frames(stamps(n, fps), clip, 0)
    assert index_T.tolist() == [k % n for k in range(200)]


def test_at_a_varying_rate_a_frame_is_the_one_on_show_at_its_time():
  times = np.array([0, 100_000, 150_000, 400_000, 900_000, 1_000_000])
  clip = Clip(frames=4, stride=0.15, unit='second')  # 0, .15, .3, .45 s on
  assert dense.starts(times, clip) == 4  # the clip from 0.4 s ends at 0.85 s
  assert dense.frames(times, clip, 0).tolist() == [0, 2, 2, 3]
  assert dense.frames(times, clip, 1).tolist() == [1, 2, 3, 3]
  assert dense.frames(times, clip, 3).tolist() == [3, 3, 3, 3]
  random = rng()
  starts = {train_indices(times, clip, random)[0] for _ in range(200)}
  assert starts == {0, 1, 2, 3}


def test_random_rates_agree_with_the_definition_by_brute_force():
  random = rng(5)
  for _ in range(50):
    gaps = random.integers(1000, 200_000, size=random.integers(1, 30))
    times = np.concatenate([[0], np.cumsum(gaps)])
    clip = Clip(frames=5, stride=0.07, unit='second')
    fits = [t + 280_000 <= times[-1] for t in times]
    count = dense.starts(times, clip)
    assert count == max(1, sum(fits))
    for start in range(count):
      wanted = [
        max(i for i, t in enumerate(times) if t <= times[start] + k * 70_000)
        for k in range(5)
      ]
      assert dense.frames(times, clip, start).tolist() == wanted


def test_where_the_clock_starts_does_not_matter():
  for clip in EVERY_RULE:
    for n in (1, 5, 40):
      ours = sampling_rules.view_indices(stamps(n), clip, 1, 3)
      later = sampling_rules.view_indices(stamps(n) + 7_654_321, clip, 1, 3)
      assert ours.tolist() == later.tolist()


def test_segment_draws_come_from_segments_that_part_the_video():
  clip, random = Clip(frames=4, sampling='segment'), rng()
  drawn = np.array(
    [train_indices(stamps(10), clip, random) for _ in range(4000)]
  )
  found = [sorted(set(column)) for column in drawn.T]
  assert found == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]
  for column, segment in zip(drawn.T, found, strict=True):
    count = np.bincount(column)[segment]
    assert abs(count - 4000 / len(segment)).max() < 160
  # Each segment draws on its own.
  assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.08


def test_segment_views_take_quantiles_of_each_segment():
  clip = Clip(frames=4, sampling='segment')
  assert views(16, clip, 1) == [[2, 6, 10, 14]]
  assert views(20, clip, 1) == [[2, 7, 12, 17]]
  assert views(20, clip, 2) == [[1, 6, 11, 16], [3, 8, 13, 18]]
  assert views(10, clip, 1) == [[1, 3, 6, 8]]
  five = views(20, clip, 5)
  assert [v[0] for v in five] == [0, 1, 2, 3, 4]


def test_segments_of_a_short_video_repeat_frames_in_order():
  clip = Clip(frames=4, sampling='segment')
  for n, wanted in ((1, [0] * 4), (2, [0, 0, 1, 1]), (3, [0, 0, 1, 2])):
    assert views(n, clip, 3) == [wanted] * 3
    assert train_indices(stamps(n), clip, rng()).tolist() == wanted


@pytest.mark.parametrize('clip', EVERY_RULE, ids=str)
def test_every_rule_gives_t_frames_of_the_video_for_every_length(clip):
  for n in [*range(1, clip.frames * int(clip.stride + 0.5) + 6), 100]:
    random, times = rng(n), stamps(n)
    draws = [train_indices(times, clip, random) for _ in range(8)]
    draws += [sampling_rules.view_indices(times, clip, k, 3) for k in range(3)]
    draws += [sampling_rules.view_indices(times, clip, 0, 1)]
    for index_T in draws:
      assert index_T.dtype == np.int64
      assert index_T.shape == (clip.frames,)
      assert index_T.min() >= 0
      assert index_T.max() < n
      short = sampling_rules.find(clip.sampling).SHORT
      if short == 'loop':
        steps = np.diff(index_T) % n
        assert (steps == clip.stride % n).all()
      elif clip.short == 'clamp' and not rounds_up(clip):
        assert (np.diff(index_T) >= 0).all()


@pytest.mark.parametrize('clip', EVERY_RULE, ids=str)
@pytest.mark.fast_every(4)
def test_views_are_distinct_when_the_video_is_long_enough(clip):
  seen = set()
  for n in range(1, 120):
    most = most_views(n, clip)
    for count in (2, 3, 4, 10):
      if most >= count:
        found = {tuple(view) for view in views(n, clip, count)}
        assert len(found) == count
        seen.add(count)
  most = getattr(sampling_rules.find(clip.sampling), 'MOST_VIEWS', 10)
  wanted = {count for count in (2, 3, 4, 10) if count <= most}
  assert seen == wanted


def test_dense_views_reach_from_the_first_frame_to_the_last():
  for n, count in itertools.product(range(1, 50), (2, 3, 10)):
    found = views(n, Clip(frames=4, stride=3), count)
    assert found[0][0] == 0
    assert found[-1][-1] == n - 1
    assert found == sorted(found)


def test_the_same_generator_gives_the_same_clip():
  for clip in EVERY_RULE:
    a = train_indices(stamps(50), clip, rng(3))
    assert a.tolist() == train_indices(stamps(50), clip, rng(3)).tolist()


@pytest.mark.parametrize(
  ('times', 'said'),
  [
    ([-1, -1, -1], 'no time stamps'),
    ([0, 50_000, 40_000], 'do not rise'),
    ([0, 0, 0], 'do not rise'),
  ],
)
def test_times_that_cannot_be_sampled_by_the_second_are_refused(times, said):
  clip = Clip(frames=2, stride=0.1, unit='second')
  for sample in (
    lambda c: train_indices(np.array(times), c, rng()),
    lambda c: sampling_rules.view_indices(np.array(times), c, 0, 1),
  ):
    with pytest.raises(InputError, match=said):
      sample(clip)
    # Frames need no times.
    assert len(sample(Clip(frames=2))) == 2
    assert len(sample(Clip(frames=2, sampling='segment'))) == 2


def test_a_video_without_frames_has_no_view():
  """A record without frames is refused where it is read."""
  with pytest.raises(InputError, match='0 frames'):
    sampling_rules.view_indices(np.array([], np.int64), Clip(), 0, 1)


@pytest.mark.parametrize('view', [-1, 3])
def test_a_view_that_does_not_exist_is_refused(view):
  with pytest.raises(ValueError, match='from 0 to 2'):
    sampling_rules.view_indices(stamps(9), Clip(), view, 3)
