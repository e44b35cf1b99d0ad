"""mmaction2's, VidTr's and DMVR's rules against literal index lists.

The lists were computed by the releases' own arithmetic. PySlowFast's are in
`test_pyslowfast.py`; what all rules promise is in `test_rules.py`.
"""

import numpy as np
import pytest
from sampling import drawn, stamps, starts, train_indices, views

from vidmodels.config import Clip


@pytest.mark.parametrize(
  ('n', 'T', 'stride', 'wanted'),
  [
    (300, 32, 2, [29, 88, 148, 207]),  # DualFormer on Kinetics, 237 starts
    (250, 32, 4, [15, 46, 76, 107]),
    (67, 32, 2, [0, 1, 2, 3]),  # four starts
    (64, 32, 2, [0, 0, 0, 0]),  # one
    (40, 32, 2, [0, 0, 0, 0]),  # none
  ],
)
def test_mmaction_starts_in_the_middle_of_each_part(n, T, stride, wanted):
  clip = Clip(frames=T, stride=stride, sampling='mmaction')
  found = views(n, clip, 4)
  assert [view[0] for view in found] == wanted
  for view in found:
    assert view == [(view[0] + k * stride) % n for k in range(T)]


def test_mmaction_goes_round_a_short_video():
  clip = Clip(frames=4, stride=2, sampling='mmaction')
  assert views(5, clip, 1) == [[0, 2, 4, 1]]
  assert views(3, clip, 2) == [[0, 2, 1, 0]] * 2
  assert views(7, clip, 1) == [[0, 2, 4, 6]]  # fits, but counts for short
  assert views(12, clip, 3)[2] == [4, 6, 8, 10]


def test_mmaction_draws_every_start_with_room_for_the_whole_stride():
  clip = Clip(frames=32, stride=2, sampling='mmaction')
  index, ranges = drawn(300, clip, 1.0)
  assert ranges == [(0, 236)]
  assert index == list(range(236, 300, 2))
  assert drawn(64, clip, 1.0)[1] == [(0, 0)]
  assert drawn(40, clip, 1.0)[0] == [k * 2 % 40 for k in range(32)]


@pytest.mark.parametrize(
  ('n', 'wanted'),
  [
    (300, [18, 55, 92, 129, 167, 204, 241, 278]),
    (251, [15, 46, 77, 108, 139, 170, 201, 232]),
    (36, [2, 6, 10, 14, 18, 22, 26, 30]),
    (11, [0, 1, 2, 3, 4, 5, 6, 7]),
    (9, [0, 1, 1, 2, 3, 4, 4, 5]),
    (8, [0, 0, 1, 2, 2, 3, 4, 4]),
    (5, [0, 0, 0, 0, 1, 1, 1, 1]),
    (3, [0] * 8),
    (1, [0] * 8),
  ],
)
def test_mmaction_segments_take_the_middles(n, wanted):
  clip = Clip(frames=8, stride=4, sampling='mmaction_segment')
  assert views(n, clip, 1) == [wanted]


@pytest.mark.parametrize('stride', [1, 4])
def test_mmaction_segments_spread_several_views_over_whole_parts(stride):
  clip = Clip(frames=8, stride=stride, sampling='mmaction_segment')
  # Parts of 32 frames, the three at the end too, and 4 frames are lost.
  parts = np.arange(8) * 32
  assert views(260, clip, 4) == [
    (parts + place).tolist() for place in (4, 12, 20, 28)
  ]
  # Parts of 37 at 4.6, 13.9, 23.1 and 32.4.
  assert [view[7] for view in views(300, clip, 4)] == [263, 272, 282, 291]
  # Parts of 3 at .4, 1.1, 1.9 and 2.6, up to the last of 24 frames.
  assert [view[7] for view in views(24, clip, 4)] == [21, 22, 22, 23]


@pytest.mark.parametrize(
  ('n', 'wanted'),
  [
    (15, [0, 1, 2, 3, 4, 5, 6, 7]),  # parts of one frame
    (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    # Rounded steps of n / 8, halves to the even number, modulo n.
    (7, [0, 1, 2, 3, 4, 4, 5, 6]),
    (6, [0, 1, 2, 2, 3, 4, 4, 5]),
    (4, [0, 0, 1, 2, 2, 2, 3, 0]),
    (2, [0, 0, 0, 1, 1, 1, 0, 0]),
    (1, [0] * 8),
  ],
)
def test_several_views_see_a_short_video_to_its_end(n, wanted):
  clip = Clip(frames=8, stride=4, sampling='mmaction_segment')
  assert views(n, clip, 4) == [wanted] * 4
  assert views(n, clip, 2) == [wanted] * 2


def test_mmaction_segments_draw_from_parts_of_whole_length():
  clip = Clip(frames=8, stride=4, sampling='mmaction_segment')
  index, ranges = drawn(300, clip, 1.0)
  assert ranges == [(0, 36)]  # floor(297 / 8) = 37, and a frame is lost
  assert index == [36, 73, 110, 147, 184, 221, 258, 295]
  # Nine frames have parts of no length, and six starts.
  assert drawn(9, clip, 1.0) == ([5] * 8, [(0, 5)])
  rng = np.random.default_rng(0)
  for _ in range(20):
    index_T = train_indices(stamps(10), clip, rng)
    assert (np.diff(index_T) >= 0).all()
    assert index_T.max() <= 6
  # Eight have five starts: round(k * 5 / 8), 2.5 to the even number.
  assert drawn(8, clip, 0.5) == ([0, 1, 1, 2, 2, 3, 4, 4], [])
  assert drawn(3, clip, 0.5) == drawn(1, clip, 0.5) == ([0] * 8, [])
  # Every frame is a start: round(7 * 4 / 8) is 4, and goes round.
  every = Clip(frames=8, stride=1, sampling='mmaction_segment')
  assert drawn(4, every, 0.5) == ([0, 0, 1, 2, 2, 2, 3, 0], [])


@pytest.mark.parametrize(
  ('n', 'T', 'stride', 'wanted'),
  [
    (300, 8, 8, [0, 23, 47, 71, 94, 118, 142, 165, 189, 213]),  # 237 starts
    (250, 16, 4, [0, 18, 37, 56, 74, 93, 112, 130, 149, 168]),
    (64, 8, 8, [0] * 10),
    (63, 8, 8, [0] * 10),
  ],
)
def test_vidtr_tests_at_the_stride_from_even_starts(n, T, stride, wanted):
  clip = Clip(frames=T, stride=stride, sampling='vidtr')
  found = views(n, clip, 10)
  assert [view[0] for view in found] == wanted
  assert all(set(np.diff(view)) == {stride} for view in found)


def test_vidtr_holds_the_last_frame_that_the_stride_reaches():
  clip = Clip(frames=8, stride=8, sampling='vidtr')
  assert views(20, clip, 2) == [[0, 8, 16, 16, 16, 16, 16, 16]] * 2
  assert views(5, clip, 1) == [[0] * 8]
  assert views(57, clip, 1) == [[0, 8, 16, 24, 32, 40, 48, 56]]


def test_vidtr_trains_on_a_window_spread_from_end_to_end():
  clip = Clip(frames=8, stride=8, sampling='vidtr')
  first, ranges = drawn(300, clip, 0.0)
  assert ranges == [(64, 299)]
  assert first == [0, 9, 18, 27, 36, 45, 54, 63]  # 64 held at 63
  last = [235, 244, 253, 262, 271, 280, 289, 298]  # never the 299
  assert drawn(300, clip, 1.0)[0] == last
  assert drawn(65, clip, 1.0) == (first, [(64, 64)])
  sixteen = Clip(frames=16, stride=4, sampling='vidtr')
  assert drawn(101, sixteen, 1.0)[0] == [
    *(36, 40, 44, 48, 53, 57, 61, 65, 70, 74, 78, 82, 87, 91, 95, 99)
  ]


@pytest.mark.parametrize(
  ('n', 'T', 'stride', 'wanted'),
  [
    (64, 8, 8, [0, 9, 18, 27, 36, 45, 54, 63]),
    (63, 8, 8, [0, 10, 21, 31, 42, 52, 62, 62]),
    (20, 8, 8, [0, 19, 19, 19, 19, 19, 19, 19]),
    (8, 8, 8, [0, 7, 7, 7, 7, 7, 7, 7]),
    (7, 8, 8, [6] * 8),
    (30, 16, 4, [0, 5, 10, 15, 20, 25, *[29] * 10]),
  ],
)
def test_vidtr_trains_on_short_videos_by_a_rule_of_their_own(
  n, T, stride, wanted
):
  clip = Clip(frames=T, stride=stride, sampling='vidtr')
  assert drawn(n, clip, 0.5) == (wanted, [])


def test_dmvr_middle_counts_the_whole_stride():
  clip = Clip(frames=4, stride=4, sampling='dmvr')
  assert views(20, clip, 1) == [[2, 6, 10, 14]]  # the exact middle is 3
  assert views(17, clip, 1) == [[0, 4, 8, 12]]
  assert views(10, clip, 1) == [[0, 4, 8, 2]]


def test_dmvr_windows_are_cut_to_whole_frames():
  clip = Clip(frames=32, stride=2, sampling='dmvr')
  assert starts(300, clip, 4) == [0, 78, 157, 236]
  assert starts(250, clip, 3) == [0, 93, 186]
  assert starts(64, clip, 4) == starts(9, clip, 4) == [0, 0, 0, 0]
  assert starts(66, clip, 4) == [0, 0, 1, 2]
  # 62 / 14 * 7 is 31, and 30.999999 in single precision.
  assert starts(126, clip, 15) == [
    *(0, 4, 8, 13, 17, 22, 26, 30, 35, 39, 44, 48, 53, 57, 62)
  ]


def test_dmvr_draws_every_start_at_which_the_clip_fits():
  clip = Clip(frames=4, stride=4, sampling='dmvr')
  index, ranges = drawn(20, clip, 1.0)
  assert ranges == [(0, 7)]
  assert index == [7, 11, 15, 19]
  assert drawn(13, clip, 1.0)[1] == [(0, 0)]
  assert drawn(5, clip, 1.0) == ([0, 4, 3, 2], [(0, 0)])
