"""Textures: the label is in space and nowhere else; mixed clips show both."""

import collections

import numpy as np
import pytest

from vidmodels.data.synthetic import scenes, textures
from vidmodels.data.synthetic.scenes import ClipOptions
from vidmodels.data.synthetic.textures import NAMED, OTHERS, PATTERNS, WAYS

SMALL = {'short_side': (36, 36), 'frames': (8, 8)}


def rng(number):
  return scenes.clip_rng(0, 0, number, stream=9)


def mixed_scene(monkeypatch, number, label):
  """The texture and the motion that a clip of the mixed set shows."""
  shown = []

  def draw(rng, _, pattern):
    shown.append(pattern)
    return scenes.draw_scene(rng, scenes.Motion(**SMALL))

  monkeypatch.setattr(textures, 'draw_texture_scene', draw)
  monkeypatch.setattr(textures, 'render', lambda _, way: shown.append(way))
  textures.mixed_clip(rng(number), label, textures.Mixed())
  return tuple(shown)


def spectrum(frame_HWC):
  """How strong each wave is in a frame, whatever its phase and its colours."""
  light_HW = frame_HWC[:36, :36].astype(float).mean(-1)
  light_HW = (light_HW - light_HW.mean()) / light_HW.std()
  return np.log(abs(np.fft.fft2(light_HW))[:9, :].ravel() + 1)


def nearest_mean(rows, labels, train):
  """The share of rows from `train` on whose nearest class mean is right."""
  rows, labels = np.array(rows), np.array(labels)
  classes = np.unique(labels)
  means = np.stack([rows[:train][labels[:train] == k].mean(0) for k in classes])
  apart = ((rows[train:, None] - means) ** 2).sum(-1)
  return (classes[apart.argmin(1)] == labels[train:]).mean()


def test_one_frame_shows_the_texture_and_its_colours_do_not():
  waves, colours, labels = [], [], []
  names = list(PATTERNS)
  for number in range(480):
    label = names[number % 8]
    video_THWC, _ = textures.texture_clip(
      rng(number), label, ClipOptions(**SMALL)
    )
    frame_HWC = video_THWC[number % 8]
    waves.append(spectrum(frame_HWC))
    histograms = [np.histogram(frame_HWC[..., c], 32, (0, 256)) for c in (0, 1)]
    colours.append(np.concatenate([h / frame_HWC.size for h, _ in histograms]))
    labels.append(number % 8)
  assert nearest_mean(waves, labels, 240) > 0.8
  # Chance is 1/8; five sigma of 240 draws are 0.107.
  assert nearest_mean(colours, labels, 240) < 0.125 + 0.107


def test_every_pattern_has_exactly_the_same_colours():
  """From one state of the generator; only places differ, so means agree."""
  drawn = {}
  for name in PATTERNS:
    textures_rng = np.random.default_rng(3)
    pattern = PATTERNS[name]
    try:
      # Draws of a pattern differ in number: take them away for the colours.
      PATTERNS[name] = lambda _, y_HW, x_HW, p=pattern: p(
        np.random.default_rng(5), y_HW, x_HW
      )
      drawn[name] = textures.draw_texture(textures_rng, name, 36, 48)
    finally:
      PATTERNS[name] = pattern
  one = np.sort(drawn['bands'].reshape(-1, 3), axis=0)
  for name, frame_HWC in drawn.items():
    assert np.array_equal(np.sort(frame_HWC.reshape(-1, 3), axis=0), one), name
  assert not np.array_equal(drawn['bands'], drawn['bars'])


def test_the_order_of_frames_says_nothing_about_a_texture():
  """Frames differ by noise alone, which each draws at a place of its own."""
  options = ClipOptions(**SMALL, noise=0.0)
  still_THWC, _ = textures.texture_clip(rng(1), 'rings', options)
  assert (still_THWC == still_THWC[0]).all()
  noisy_THWC, _ = textures.texture_clip(
    rng(1), 'rings', ClipOptions(**{**SMALL, 'frames': (40, 40)})
  )
  rest_THWC = noisy_THWC.astype(float) - noisy_THWC.mean(0)
  flat_TN = rest_THWC.reshape(40, -1)
  flat_TN /= np.linalg.norm(flat_TN, axis=1, keepdims=True)
  likeness_TT = flat_TN @ flat_TN.T
  near, far = (np.diagonal(likeness_TT, k).mean() for k in (1, 20))
  assert abs(near - far) < 0.1  # neighbours are no more alike than others


def test_a_mirror_makes_the_pattern_that_the_policy_says():
  """Rising stripes become falling ones; the other patterns stay themselves."""
  mirror = textures.TEXTURE_FLIP.label_map(textures.TEXTURE_CLASSES)
  names = textures.TEXTURE_CLASSES.names
  known = {
    name: np.mean(
      [
        spectrum(textures.draw_texture(rng(i), name, 36, 36)) for i in range(40)
      ],
      axis=0,
    )
    for name in names
  }
  for k, name in enumerate(names):
    seen = np.mean(
      [
        spectrum(textures.draw_texture(rng(100 + i), name, 36, 36)[:, ::-1])
        for i in range(40)
      ],
      axis=0,
    )
    apart = [((seen - known[other]) ** 2).sum() for other in names]
    assert np.argmin(apart) == mirror[k], name


def test_every_mixed_clip_shows_a_motion_and_a_texture(monkeypatch):
  """Motions have one distribution in both halves; textures tell the halves."""
  seen = collections.defaultdict(collections.Counter)
  for number in range(320):
    label = textures.MIXED_CLASSES.names[number % 8]
    texture, way = mixed_scene(monkeypatch, number, label)
    assert label in (texture, way)
    assert (texture in NAMED) == (label in NAMED)
    seen[label][way if label in NAMED else texture] += 1
  for label, counts in seen.items():
    assert set(counts) == set(WAYS if label in NAMED else OTHERS)


@pytest.mark.parametrize('pair', [('left', 'right'), ('up', 'down')])
def test_a_mixed_motion_backwards_is_the_opposite_motion(pair):
  options = textures.Mixed(**SMALL)
  for number in (4, 5):
    one, fps = textures.mixed_clip(rng(number), pair[0], options)
    other, _ = textures.mixed_clip(rng(number), pair[1], options)
    assert fps > 0
    assert np.array_equal(one, other[::-1])
    assert not np.array_equal(one, other)
