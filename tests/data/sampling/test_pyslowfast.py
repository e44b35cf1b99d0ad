"""PySlowFast's rules and uniform clips against literal index lists.

The lists were computed by the releases' own arithmetic.
"""

import itertools

import chance
import numpy as np
import pytest
from sampling import (
  drawn,
  pyslowfast,
  stamps,
  starts,
  train_indices,
  views,
)

from vidmodels.config import Clip
from vidmodels.data.sampling import rules
from vidmodels.typing import InputError


@pytest.mark.parametrize(
  ('n', 'fps', 'clip', 'view', 'count', 'wanted'),
  [
    # TimeSformer: frames 0 to 255 of 300, and the starts 0, 14.7 and 29.3.
    (300, 30, pyslowfast(8, 32), 0, 1,
     [0, 36, 72, 109, 145, 182, 218, 255]),
    (300, 30, pyslowfast(8, 32), 1, 3,
     [14, 51, 87, 123, 160, 196, 233, 269]),
    (300, 30, pyslowfast(8, 32), 2, 3,
     [29, 65, 102, 138, 175, 211, 247, 284]),
    # X-ViT: 0.6 + 127 / 15 * 3 is 26, and 25.999998 in single precision.
    (131, 30, pyslowfast(16, 8, fps=0), 2, 10,
     [0, 9, 17, 25, 34, 42, 51, 59, 68, 76, 85, 93, 102, 110, 119, 127]),
    # At 25 frames a second a window has 213.3 frames, at 60 it has 512.
    (250, 25, pyslowfast(8, 32), 0, 1,
     [0, 30, 60, 91, 121, 151, 182, 212]),
    (250, 25, pyslowfast(8, 32), 1, 2,
     [18, 48, 79, 109, 139, 170, 200, 230]),
    (600, 60, pyslowfast(8, 32), 1, 2,
     [44, 117, 190, 263, 336, 409, 482, 555]),
    # In the video's own frames, whatever their rate: X-ViT.
    (300, 12, pyslowfast(16, 16, 0.0), 0, 1,
     [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255]),
    (300, 60, pyslowfast(16, 16, 0.0), 1, 2,
     [22, 39, 56, 73, 90, 107, 124, 141, 158, 175, 192, 209, 226, 243, 260,
      277]),
    # Whole points by a rate that comes from whole microseconds.
    (300, 30, pyslowfast(16, 16), 0, 1,
     [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255]),
    # Short: the last frame again, in every view.
    (100, 30, pyslowfast(8, 32), 2, 3, [0, 36, 72, 99, 99, 99, 99, 99]),
    (1, 30, pyslowfast(8, 32), 0, 1, [0] * 8),
  ],
)  # fmt: skip
def test_pyslowfast_spreads_frames_over_a_window(
  n, fps, clip, view, count, wanted
):
  assert views(n, clip, count, fps)[view] == wanted


def test_a_window_has_at_least_one_frame():
  # Of less, the last point would come before the first.
  assert views(9, pyslowfast(4, 0.2, 0.0), 2) == [[0] * 4, [4] * 4]


def test_pyslowfast_draws_a_start_with_a_fraction_from_all_that_fit():
  clip = pyslowfast(8, 32)
  index, ((low, high),) = drawn(300, clip, 0.5)
  assert (low, high) == (0, pytest.approx(44))
  assert index == [22, 58, 94, 131, 167, 204, 240, 277]
  assert drawn(300, clip, 1.0)[0] == [44, 80, 116, 153, 189, 226, 262, 299]
  assert drawn(250, clip, 0.75, fps=25)[0][0] == 27  # of 36.7, 27.5
  assert drawn(100, clip, 0.5) == ([0, 36, 72, 99, 99, 99, 99, 99], [(0, 0)])


def test_pyslowfast_takes_the_mean_rate_where_frames_come_unevenly():
  clip = pyslowfast(4, 5, fps=10.0)
  # 41 frames in 2 s, most of them in the second half: 20 a second on average,
  # so that the window has 40 frames.
  times = np.concatenate([np.arange(0, 10) * 100_000, [1_000_000]])
  times = np.concatenate([times, 1_000_000 + np.arange(1, 31) * 33_333])
  times[-1] = 2_000_000
  assert rules.view_indices(times, clip, 0, 1).tolist() == [0, 13, 26, 39]


@pytest.mark.parametrize('fps', [24000 / 1001, 25, 30000 / 1001, 30, 50, 59.94])
def test_a_window_at_a_rate_is_as_long_in_seconds_at_any(fps):
  clip = pyslowfast(8, 32)
  for seconds in (9, 10, 60, 600):
    n = round(seconds * fps)
    (index,) = views(n, clip, 1, fps)
    assert index[-1] == int(256 * fps / 30 - 1 + 1e-4)


@pytest.mark.parametrize(
  ('n', 'fps', 'view', 'count', 'wanted'),
  [
    # The start is 0: as the other rule.
    (300, 30, 0, 1, [0, 36, 72, 109, 145, 182, 218, 255]),
    # Starts at 44 / 3 = 14.67 and 29.33, so at frames 15 and 30.
    (300, 30, 1, 3, [15, 51, 87, 124, 160, 197, 233, 270]),
    (300, 30, 2, 3, [30, 66, 102, 139, 175, 212, 248, 285]),
    # Of 213.33 frames: 36.67 / 2 = 18.33, and steps of 30.33.
    (250, 25, 1, 2, [19, 49, 79, 110, 140, 170, 201, 231]),
    # A start that is a whole frame stays: 88 / 2 = 44.
    (600, 60, 1, 2, [44, 117, 190, 263, 336, 409, 482, 555]),
    (100, 30, 2, 3, [0, 36, 72, 99, 99, 99, 99, 99]),
    (1, 30, 0, 1, [0] * 8),
  ],
)
def test_pyav_counts_from_the_next_whole_frame(n, fps, view, count, wanted):
  clip = pyslowfast(8, 32, sampling='pyslowfast_pyav')
  assert views(n, clip, count, fps)[view] == wanted


def test_pyav_takes_a_start_within_a_tick_of_a_frame_for_that_frame():
  clip = pyslowfast(8, 32, sampling='pyslowfast_pyav')
  # Starts are shares of 0 .. 44, and a tick is .00195 of a frame.
  for start, first in ((7.0, 7), (7.0015, 7), (7.0025, 8), (7.5, 8), (44, 44)):
    index, ((low, high),) = drawn(300, clip, start / 44)
    assert (low, high) == (0, pytest.approx(44))
    assert index == [first + k for k in (0, 36, 72, 109, 145, 182, 218, 255)]


def test_pyav_draws_first_frames_equally_often_but_for_none_that_is_frame_0():
  clip = pyslowfast(2, 4, 0.0, sampling='pyslowfast_pyav')
  rng = np.random.default_rng(0)
  found = [train_indices(stamps(12), clip, rng) for _ in range(4000)]
  assert {(b - a).item() for a, b in found} == {7}
  first = [int(index[0]) for index in found]
  assert first.count(0) < 10  # .002 of 4
  chance.even([f for f in first if f], [1, 2, 3, 4])


def test_pyslowfast_segments_take_middles_starts_and_ends():
  clip = Clip(frames=8, sampling='pyslowfast_segment')
  # 37 / 8 = 4.6, and 60 / 16 = 3.75, round to the nearest.
  assert views(38, clip, 3) == [
    [2, 7, 11, 16, 20, 25, 30, 34],
    [0, 5, 9, 14, 18, 23, 28, 32],
    [5, 9, 14, 18, 23, 28, 32, 37],
  ]
  # 20 / 8 = 2.5: halves go to the even number, 2, 8, 12 and 18.
  assert views(21, clip, 3) == [
    [1, 3, 6, 9, 11, 13, 16, 19],
    [0, 2, 5, 8, 10, 12, 15, 18],
    [2, 5, 8, 10, 12, 15, 18, 20],
  ]
  assert views(5, clip, 3) == [
    [0, 0, 1, 2, 2, 2, 3, 4],
    [0, 0, 1, 2, 2, 2, 3, 4],
    [0, 1, 2, 2, 2, 3, 4, 4],
  ]
  assert views(1, clip, 3) == [[0] * 8] * 3
  sixteen = Clip(frames=16, sampling='pyslowfast_segment')
  assert views(61, sixteen, 1) == [
    [2, 6, 9, 13, 17, 20, 24, 28, 32, 36, 39, 43, 47, 50, 54, 58]
  ]


def test_pyslowfast_segments_draw_from_both_ends():
  clip = Clip(frames=8, sampling='pyslowfast_segment')
  first, ((lows, lasts),) = drawn(21, clip, 0.0)
  assert first == lows == [0, 2, 5, 8, 10, 12, 15, 18]
  assert drawn(21, clip, 1.0)[0] == lasts == [2, 5, 8, 10, 12, 15, 18, 20]


def test_pyslowfast_segments_have_no_fourth_view():
  clip = Clip(frames=8, sampling='pyslowfast_segment')
  with pytest.raises(InputError, match=r'views.temporal=4 .* at most 3'):
    rules.view_indices(stamps(99), clip, 0, 4)


def test_uniform_clips_go_from_the_beginning_to_the_end():
  clip = pyslowfast(4, 2, 0.0, 'uniform')  # windows of 8 frames
  assert views(32, clip, 4) == [
    [0, 2, 4, 7],
    [8, 10, 12, 15],
    [16, 18, 20, 23],
    [24, 26, 28, 31],
  ]
  assert starts(20, clip, 3) == [0, 6, 12]
  assert starts(20, clip, 1) == [6]
  assert views(5, clip, 2) == [[0, 2, 4, 4]] * 2
  # Eight frames at one in 32 of 30 a second: 48 clips of 8.5 s cover 410 s.
  long = pyslowfast(8, 32, sampling='uniform')
  found = views(410 * 25, long, 48, fps=25)
  assert found[0] == [0, 30, 60, 91, 121, 151, 182, 212]
  assert found[47][-1] == 410 * 25 - 1
  assert drawn(300, long, 0.5)[0] == drawn(300, pyslowfast(8, 32), 0.5)[0]


def test_uniform_clips_cover_a_video_or_do_not_overlap():
  for T, stride, n, count in itertools.product(
    (1, 3, 8), (1, 2.5, 4), (7, 30, 97, 200), (2, 5, 9)
  ):
    window = T * stride
    found = views(n, pyslowfast(T, stride, 0.0, 'uniform'), count)
    gaps = [b[0] - a[-1] for a, b in itertools.pairwise(found)]
    if n >= count * window:
      assert min(gaps) > 0
    if window <= n <= count * window:
      # What lies between two clips is less than what lies inside one.
      assert max(gaps) <= stride + 1
      assert T == 1 or found[-1][-1] == n - 1
