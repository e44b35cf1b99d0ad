"""Motion clips: the direction is in the order of frames and nowhere else."""

import dataclasses

import numpy as np
import pytest

from vidmodels.data.synthetic import scenes
from vidmodels.data.synthetic.scenes import AXES, CLASSES, Motion
from vidmodels.typing import InputError

SMALL = Motion(short_side=(16, 24), frames=(8, 12))
PAIRS = sorted(AXES.values())


def scene(number, motion=SMALL):
  return scenes.draw_scene(scenes.clip_rng(0, 0, number), motion)


def centre_of_light(video_THWC):
  """Where the light of each frame lies on the circle of columns, in turns."""
  light_TW = video_THWC.astype(float).mean((1, 3))
  light_TW = light_TW - light_TW.min(1, keepdims=True)
  W = light_TW.shape[1]
  angle_W = 2 * np.pi * np.arange(W) / W
  return np.angle((light_TW * np.exp(1j * angle_W)).sum(1)) / (2 * np.pi)


@pytest.mark.parametrize(('forward', 'backward'), PAIRS)
def test_a_backward_clip_is_a_forward_clip_played_backwards(forward, backward):
  for number in range(4):
    clip = scene(number)
    video_THWC = scenes.render(clip, forward)
    assert np.array_equal(scenes.render(clip, backward), video_THWC[::-1])
    assert not np.array_equal(video_THWC, video_THWC[::-1])


@pytest.mark.parametrize('axis', AXES)
def test_a_frame_depends_on_time_through_its_phase_alone(axis):
  """With uniform first phases, all frames then have one distribution."""
  clip = scene(3)
  for t in (1, 4):
    later = scenes.frame_at(clip, axis, t)
    moved = dataclasses.replace(clip, phase=(clip.phase + t * clip.speed) % 1)
    assert np.allclose(scenes.frame_at(moved, axis, 0), later, atol=1e-5)
    whole = dataclasses.replace(moved, phase=moved.phase + 1)
    assert np.allclose(scenes.frame_at(whole, axis, 0), later, atol=1e-5)


def test_first_phases_are_uniform_and_the_same_for_both_directions():
  phases = np.sort([scene(number).phase for number in range(800)])
  # Kolmogorov-Smirnov: 1.95 / sqrt(n) is passed once in a thousand times.
  grid = (np.arange(800) + 0.5) / 800
  assert abs(phases - grid).max() < 1.95 / np.sqrt(800)


@pytest.mark.parametrize(('forward', 'backward'), PAIRS)
@pytest.mark.parametrize('at', ['first', 'middle', 'last'])
@pytest.mark.fast_every(4)
def test_no_single_frame_shows_the_direction(forward, backward, at):
  """No statistic of a frame has means that differ between the directions."""
  motion = Motion(short_side=(16, 16), frames=(8, 8))
  rows = []
  for number in range(240):
    label = (forward, backward)[number % 2]
    video_THWC = scenes.render(scene(number, motion), label)
    frame_HWC = video_THWC[{'first': 0, 'middle': 4, 'last': -1}[at]]
    light_HW = frame_HWC.mean(-1) / 255
    H, W = light_HW.shape
    half = [light_HW[: H // 2], light_HW[H // 2 :]]
    half += [light_HW[:, : W // 2], light_HW[:, W // 2 :]]
    histogram = np.histogram(light_HW, 4, (0, 1))[0] / light_HW.size
    rows.append([*(h.mean() for h in half), light_HW.std(), *histogram])
  one, other = np.array(rows[::2]), np.array(rows[1::2])
  error = np.sqrt(one.var(0) / len(one) + other.var(0) / len(other))
  z = abs(one.mean(0) - other.mean(0)) / np.maximum(error, 1e-9)
  # 9 statistics, 12 tests: above 4.5 once in 1,000 runs if nothing is there.
  assert z.max() < 4.5


def test_the_order_of_the_frames_shows_the_direction():
  motion = Motion(short_side=(32, 32), frames=(12, 12))
  for number in range(20):
    clip = scene(number, motion)
    if clip.width != clip.height:
      continue
    for label, sign in (('right', 1), ('left', -1)):
      moves = np.diff(centre_of_light(scenes.render(clip, label)))
      moves = (moves + 0.5) % 1 - 0.5
      assert np.sign(np.median(moves)) == sign, (number, label)


def test_names_mean_what_a_viewer_sees():
  """One clip of each kind, its first frames compared with a known motion."""
  clip = dataclasses.replace(
    scene(5, Motion(short_side=(48, 48), noise=0.0)), phase=0.3, speed=0.05
  )
  frames = {
    axis: [scenes.frame_at(clip, axis, t) for t in (0, 1)] for axis in AXES
  }
  short = min(clip.height, clip.width)
  tile = {
    axis: [f[:short, :short] for f in pair] for axis, pair in frames.items()
  }
  shift = 0.05 * short
  for axis, (y, x) in {'horizontal': (0, 1), 'vertical': (1, 0)}.items():
    before, after = tile[axis]
    best = min(
      range(-5, 6),
      key=lambda s: abs(np.roll(before, (s * y, s * x), (0, 1)) - after).sum(),
    )
    assert abs(best - shift) <= 1  # rows grow downwards, columns to the right
  small, large = tile['depth']
  ground = clip.back_HWC[0, 0]
  covered = [(abs(f - ground).sum(-1) > 0.1).sum() for f in (small, large)]
  assert covered[1] > covered[0]


def test_turns_are_clockwise_for_a_viewer():
  shape_HWC = np.zeros((64, 64, 4), np.float32)
  shape_HWC[28:36, 32:62] = 1  # an arm to the right
  quarter = scenes._draw_tile(shape_HWC, 32, 0.0, 0.0, 0.25, 1.0)
  rows, _ = np.nonzero(quarter[..., 3] > 0.5)
  assert rows.mean() > 20  # a quarter turn clockwise: it points down


def test_classes_and_flips_go_together():
  assert list(CLASSES.names) == sorted(CLASSES.names)
  swapped = scenes.FLIP.label_map(CLASSES)
  for name, mirror in (
    ('left', 'right'),
    ('clockwise', 'anticlockwise'),
    ('up', 'up'),
    ('receding', 'receding'),
  ):
    assert swapped[CLASSES.index(name)] == CLASSES.index(mirror)


def test_clips_vary_in_length_rate_and_shape():
  drawn = [scene(number, Motion()) for number in range(200)]
  assert len({s.frames for s in drawn}) > 20
  assert {s.fps for s in drawn} == set(Motion().fps)
  assert any(s.height > s.width for s in drawn)
  assert any(s.height < s.width for s in drawn)
  assert all(s.height % 2 == 0 == s.width % 2 for s in drawn)
  assert {min(s.height, s.width) for s in drawn} == set(range(36, 65, 2))


@pytest.mark.parametrize(
  'motion',
  [
    Motion(background='textured', short_side=(16, 16)),
    Motion(contrast='any', short_side=(16, 16)),
  ],
)
def test_difficulty_changes_the_pictures_but_not_the_motion(motion):
  hard, plain = scene(1, motion), scene(1, Motion(short_side=(16, 16)))
  assert (hard.phase, hard.speed, hard.frames) == (
    plain.phase,
    plain.speed,
    plain.frames,
  )
  one, other = (scenes.render(s, 'left') for s in (hard, plain))
  assert abs(one.astype(int) - other).mean() > 5


def test_unknown_kinds_are_refused():
  with pytest.raises(InputError, match='stripes'):
    scene(0, Motion(background='stripes'))
  with pytest.raises(InputError, match='some'):
    scene(0, Motion(contrast='some'))
  with pytest.raises(InputError, match='lefft'):
    scenes.render(scene(0), 'lefft')
