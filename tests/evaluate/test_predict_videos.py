"""Prediction on files: windows and their times, errors that name the file."""

import copy
import weakref

import av
import cv2
import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoring
import tiny
from scoring import MULTI, VERB_NOUN

from vidmodels.cli import recipe
from vidmodels.data import augment
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.sampling import views as viewing
from vidmodels.evaluate import predict_videos
from vidmodels.evaluate.predict_videos import top_classes
from vidmodels.train import build, loop, restore
from vidmodels.train.mesh import make_mesh
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
  records = fake.write(tmp_path_factory.mktemp('records'))
  workdir = tmp_path_factory.mktemp('run')
  loop.train(tiny.config(records, **tiny.SHORT), workdir)
  model = restore.load(workdir)
  return predict_videos.Predictor(model, views=model.config.views, top=2)


@pytest.mark.parametrize('resize', ['uint8', 'float'])
@pytest.mark.parametrize('long_side', ['floor', 'floor_double', 'round'])
@pytest.mark.parametrize(
  'how', [dict(), dict(short_side=19), dict(spatial=1, centre_scale=1.3)]
)
def test_views_of_a_file_are_cut_as_those_of_a_record(
  predictor, resize, long_side, how
):
  how |= dict(resize=resize, long_side=long_side)
  predictor = copy.copy(predictor)
  predictor.views = shown = tiny.views(predictor.model.config, **how)
  size = predictor.model.config.clip.size
  times_us = np.arange(9) * 100_000
  for height, width in ((61, 107), (97, 53), (43, 44), (12, 20)):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, height, width, 3), np.uint8)
    wanted = []
    for number in range(viewing.count(shown)):
      when, where = viewing.split(number, shown)
      crop = viewing.view_crop(
        height, width, size=size, view=where, views=shown
      )
      numbers = predictor.choose_frames(times_us)[when]
      wanted.append([augment.cut(frames[i], crop, size) for i in numbers])
    kept = {i: predictor.shrink(frame) for i, frame in enumerate(frames)}
    segment = predict_videos.Segment(0.0, 0.8, times_us, kept)
    np.testing.assert_array_equal(predictor.cut_views(segment), wanted)


def untrained(name):
  """A predictor of a recipe with random weights."""
  sizes = {'model.width': 16, 'model.layers': 1, 'model.heads': 2}
  sizes |= {'model.patch': 8, 'clip.frames': 2, 'clip.size': 16}
  sizes |= {'augment.short_side': (16, 18), 'data.dir': 'none'}
  flags = [f'--config.{key}={value}' for key, value in sizes.items()]
  config = recipe.load(name, flags)
  mesh = make_mesh(config.mesh)
  model = build.make_model(config, classes=3)
  video_BTHWC = jnp.zeros((1, 2, config.clip.size, config.clip.size, 3))
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), video_BTHWC))
  rng = np.random.default_rng(0)
  draw = lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32)
  trained = restore.TrainedModel(
    config=config,
    classes=ClassList(('a', 'b', 'c')),
    step=1,
    weights='params',
    workdir=None,
    model=model,
    params=jax.tree.map(draw, shapes['params']),
    model_state={},
    fps=0.0,
    mesh=mesh,
  )
  return predict_videos.Predictor(trained, views=config.views, top=3)


@pytest.fixture(scope='module')
def images():
  return untrained('vit')


def test_a_picture_is_one_frame_for_a_model_of_images(tmp_path, images):
  """Its answer is that of a film of this picture alone."""
  rng = np.random.default_rng(0)
  frame_HWC = np.kron(
    rng.integers(0, 255, (4, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
  )
  bgr_HWC = frame_HWC[..., ::-1]
  path = tmp_path / 'a picture.PNG'
  path.write_bytes(cv2.imencode('.png', bgr_HWC)[1].tobytes())
  (of_picture,) = images.predict_file(path)
  assert (of_picture.frames, of_picture.end_s) == (1, 0.0)
  assert of_picture.views == images.views.spatial
  with av.open(str(tmp_path / 'a.mkv'), 'w') as film:
    stream = film.add_stream('ffv1', rate=10)
    stream.height, stream.width, stream.pix_fmt = 32, 48, 'bgr0'
    for _ in range(3):
      frame = av.VideoFrame.from_ndarray(frame_HWC, format='rgb24')
      film.mux(stream.encode(frame))
    film.mux(stream.encode())
  (of_film,) = images.predict_file(tmp_path / 'a.mkv')
  assert of_film.classes == of_picture.classes
  assert of_film.probabilities == pytest.approx(
    of_picture.probabilities, abs=1e-5
  )
  # A suffix does not make a picture, nor unmake one.
  path.rename(tmp_path / 'no suffix')
  (again,) = images.predict_file(tmp_path / 'no suffix', window_s=1.0)
  assert again.probabilities == of_picture.probabilities
  jpeg = cv2.imencode('.jpg', bgr_HWC)[1].tobytes()
  path.write_bytes(b'\x89PNG' + jpeg)
  with pytest.raises(InputError, match='a picture that does not decode'):
    list(images.predict_file(path))


def test_a_picture_is_no_video_for_a_model_of_videos(tmp_path, images):
  path = tmp_path / 'a.jpg'
  grey_HWC = np.full((32, 48, 3), 90, np.uint8)
  path.write_bytes(cv2.imencode('.jpg', grey_HWC)[1].tobytes())
  assert len(list(images.predict_file(path))) == 1
  (video_model,) = [untrained('demo')]
  with pytest.raises(
    InputError, match=r'a\.jpg: got a single picture, and timesformer looks'
  ):
    list(video_model.predict_file(path))


def cut(path, **windows):
  found = predict_videos.cut_windows(path, keep=lambda frame: frame, **windows)
  return [(s.start_s, s.end_s, len(s.frames)) for s in found]


def test_a_whole_file_is_one_stretch_of_the_frames_asked_for(tmp_path):
  path = fake.video(tmp_path / 'a.mp4', frames=25)
  asked = []
  stretch = predict_videos.read_whole_file(
    path, choose=lambda t: asked.append(t) or [3, 20], keep=lambda f: f
  )
  assert (stretch.start_s, stretch.end_s) == (0.0, 2.4)
  np.testing.assert_array_equal(asked[0], np.arange(25) * 100_000)
  means = {i: frame.mean() for i, frame in stretch.frames.items()}
  assert means == pytest.approx({3: 6, 20: 40}, abs=3)  # they grow brighter


@pytest.mark.parametrize(
  ('window', 'hop', 'stretches'),
  [
    (1.0, 1.0, [(0.0, 0.9, 10), (1.0, 1.9, 10), (2.0, 2.4, 5)]),
    (1.0, 0.5,
     [(0.0, 0.9, 10), (0.5, 1.4, 10), (1.0, 1.9, 10), (1.5, 2.4, 10)]),
    (0.5, 1.0, [(0.0, 0.4, 5), (1.0, 1.4, 5), (2.0, 2.4, 5)]),
    (9.0, 9.0, [(0.0, 2.4, 25)]),
  ],
)  # fmt: skip
def test_windows_cover_the_file_at_the_times_they_say(
  tmp_path, window, hop, stretches
):
  path = fake.video(tmp_path / 'a.mp4', frames=25)
  found = cut(path, window_s=window, hop_s=hop)
  assert [f[2] for f in found] == [s[2] for s in stretches]
  np.testing.assert_allclose(found, stretches, atol=1e-6)


def test_files_are_brought_to_the_rate_of_the_records(tmp_path):
  path = fake.video(tmp_path / 'a.mp4', frames=25)
  stretch = predict_videos.read_whole_file(
    path, choose=lambda t: [0, 1, 12], keep=lambda f: f, fps=5.0
  )
  np.testing.assert_array_equal(stretch.times_us, np.arange(13) * 200_000)
  means = [stretch.frames[i].mean() for i in (0, 1, 12)]
  assert means == pytest.approx([0, 4, 48], abs=3)  # every second frame
  found = predict_videos.cut_windows(
    path, window_s=1.0, hop_s=1.0, keep=lambda f: f, fps=5.0
  )
  assert [len(s.frames) for s in found] == [5, 5, 3]


@pytest.mark.parametrize('frames', [30, 120])
def test_only_the_frames_that_views_use_are_held(tmp_path, frames):
  """However long the file is, and however long a window."""
  path = fake.video(tmp_path / 'a.mp4', frames=frames)
  alive, most = weakref.WeakSet(), []

  class Frame(np.ndarray):
    __hash__ = object.__hash__

  def keep(frame_HWC):
    frame = frame_HWC.copy().view(Frame)
    alive.add(frame)
    most.append(len(alive))
    return frame

  three = lambda times_us: np.linspace(0, len(times_us) - 1, 3).astype(int)
  (whole,) = [predict_videos.read_whole_file(path, choose=three, keep=keep)]
  assert sorted(whole.frames) == [0, (frames - 1) // 2, frames - 1]
  assert len(most) == 3
  del whole
  for window, hop in ((1.0, 1.0), (2.0, 1.0), (99.0, 99.0)):
    most.clear()
    for segment in predict_videos.cut_windows(
      path, window_s=window, hop_s=hop, keep=keep, choose=three
    ):
      n = len(segment.times_us)
      assert list(segment.frames) == three(segment.times_us).tolist()
      means = [segment.frames[i].mean() for i in (0, n - 1)]
      start = round(segment.start_s * 10)
      want = [2 * start % 250, 2 * (start + n - 1) % 250]  # they grow brighter
      assert means == pytest.approx(want, abs=4)
    assert max(most) <= 3 * 3


def test_answers_name_classes_with_probabilities_best_first(
  tmp_path, predictor
):
  path = fake.video(tmp_path / 'ä b.mkv', frames=25)
  answers = list(predictor.predict_file(path, window_s=1.0))
  assert [a.start_s for a in answers] == [0, 1, 2]
  for answer in answers:
    assert len(set(answer.classes)) == 2
    assert set(answer.classes) < set(fake.CLASSES)
    first, second = answer.probabilities
    assert 1 > first >= second > 0
    assert first + second <= 1


def test_a_file_that_is_no_video_is_named_with_the_reason(tmp_path, predictor):
  path = tmp_path / 'page.mp4'
  path.write_text('<html>404</html>')
  with pytest.raises(InputError, match=r'page.mp4: .*nothing was predicted'):
    list(predictor.predict_file(path))


def test_classes_come_best_first_and_equals_in_the_lists_order():
  prob = np.array([0.1, 0.3, 0.3, 0.2, 0.1])
  found = top_classes(prob, scoring.SINGLE, scoring.names(5), 3)
  assert found.classes == ('c1', 'c2', 'c3')
  assert found.probabilities == (0.3, 0.3, 0.2)
  assert found.heads == {}
  assert len(top_classes(prob, MULTI, scoring.names(5), 99).classes) == 5


def test_heads_are_told_alone_and_by_their_products():
  prob = np.array([0.5, 0.3, 0.2, 0.05, 0.6, 0.15, 0.2])
  found = top_classes(prob, VERB_NOUN, scoring.names(7, VERB_NOUN), 3)
  assert found.classes == ('c0 c1', 'c1 c1', 'c2 c1')
  assert found.probabilities == pytest.approx((0.3, 0.18, 0.12))
  assert found.heads == {
    'verb': (('c0', 0.5), ('c1', 0.3), ('c2', 0.2)),
    'noun': (('c1', 0.6), ('c3', 0.2), ('c2', 0.15)),
  }


def test_no_better_product_is_left_out():
  rng = np.random.default_rng(0)
  for _ in range(50):
    prob = rng.random(7)
    every = np.sort(np.outer(prob[:3], prob[3:]).ravel())[::-1]
    for top in (1, 2, 3, 5, 12):
      found = top_classes(prob, VERB_NOUN, scoring.names(7, VERB_NOUN), top)
      np.testing.assert_allclose(found.probabilities, every[:top])
