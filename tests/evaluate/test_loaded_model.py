"""`vidmodels.load`: the answers of `vidmodels predict`, for Python."""

import json
import pathlib

import fake
import jax
import jax.numpy as jnp
import made_run
import numpy as np
import pytest

import vidmodels
from vidmodels.cli import main
from vidmodels.data.video import decode
from vidmodels.evaluate import loaded_model
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> pathlib.Path:
  return made_run.write(tmp_path_factory.mktemp('run'), dtype='float32')


@pytest.fixture(scope='module')
def model(run):
  return vidmodels.load(run)


@pytest.fixture(scope='module')
def clip(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp('video') / 'clip.mp4'
  return pathlib.Path(fake.video(path, frames=25))


def frames_of(path) -> np.ndarray:
  with decode.VideoReader(path) as reading:
    return np.stack([frame.copy() for frame, _ in reading])


def test_a_file_is_classified_as_the_command_does(capsys, run, model, clip):
  argv = ['predict', str(clip), '--workdir', str(run), '--top', '2', '--json']
  assert main(argv) == 0
  (wanted,) = json.loads(capsys.readouterr().out)['answers']
  found = model.predict(clip, top_k=2)
  assert json.loads(json.dumps(found.as_json())) == wanted
  assert set(found.classes) <= set(model.classes)
  argv = [*argv, '--window', '1']
  assert main(argv) == 0
  wanted = json.loads(capsys.readouterr().out)['answers']
  windows = model.predict_windows(clip, window_s=1.0, top_k=2)
  assert json.loads(json.dumps([w.as_json() for w in windows])) == wanted


def test_the_frames_of_a_file_have_the_answer_of_the_file(model, clip):
  whole = model.predict(clip)
  array = model.predict(frames_of(clip), fps=10.0)
  assert array.probabilities == whole.probabilities
  assert (array.frames, array.views) == (whole.frames, whole.views)
  np.testing.assert_array_equal(
    model.features(jnp.asarray(frames_of(clip)), fps=10.0),
    model.features(clip),
  )


def test_preprocessed_clips_are_what_the_module_sees(model, clip):
  clips_VTHWC = model.preprocess(clip)
  config = model.config
  size = config.clip.size
  assert clips_VTHWC.shape[1:] == (config.clip.frames, size, size, 3)
  assert clips_VTHWC.dtype == np.float32
  apply = jax.jit(model.module.apply, static_argnames='method')
  logits_VK = apply(model.variables, clips_VTHWC)
  assert logits_VK.shape == (len(clips_VTHWC), len(model.classes))
  features_VD = model.features(clip)
  np.testing.assert_allclose(
    apply(model.variables, clips_VTHWC, method='features'),
    features_VD,
    atol=1e-5,
  )
  mean_K = jax.nn.softmax(jnp.asarray(logits_VK).mean(0))
  best = model.predict(clip, top_k=1)
  assert best.probabilities[0] == pytest.approx(float(mean_K.max()), abs=1e-5)
  assert best.classes[0] == model.classes[int(mean_K.argmax())]


FRAMES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
  ('video', 'says'),
  [
    (
      FRAMES.transpose(0, 3, 1, 2),
      r'last axis is 8;.*moveaxis\(video, 1, -1\)',
    ),
    (FRAMES.transpose(3, 0, 1, 2), r'moveaxis\(video, 0, -1\)'),
    (FRAMES[..., :1], r'last axis is 1;.*RGB'),
    (np.zeros((4, 8, 8, 4), np.uint8), 'last axis is 4'),
    (FRAMES[0], r'shape \(8, 8, 3\);.*video\[None\]'),
    (FRAMES[None], 'one video at a time'),
    (FRAMES[:0], r'shape \(0, 8, 8, 3\)'),
    (FRAMES + np.float32(0.5), r'float32 frames from 0\.5.*255 \* video'),
    (FRAMES + np.float64(200), r'float64 .*video\.round\(\)'),
    (FRAMES - np.float32(2), 'normalised already'),
    (FRAMES.astype(np.int64) + 300, '8 bits'),
  ],
)
def test_arrays_that_are_no_frames_are_refused_with_what_to_try(video, says):
  with pytest.raises(InputError, match=says):
    loaded_model.check_frames(video)


def test_a_frame_rate_is_asked_for_where_clips_depend_on_time(model, clip):
  for fps in (0.0, -1.0, float('nan'), 1e9):
    with pytest.raises(InputError, match=r'got fps=.*try fps=25'):
      model.predict(FRAMES, fps=fps)
  with pytest.raises(InputError, match='has its own'):
    model.predict(clip, fps=25.0)
  with pytest.raises(InputError, match='top_k=0'):
    model.predict(clip, top_k=0)


def test_a_model_call_refuses_channels_that_are_not_last(model):
  video = jnp.zeros((1, 4, 3, 16, 16))
  with pytest.raises(InputError, match=r'last axis has 16 .*moveaxis'):
    model.module.apply(model.variables, video)
  with pytest.raises(InputError, match='expected 3'):
    jax.eval_shape(model.module.init, jax.random.key(0), video)


def test_what_is_no_model_is_refused(tmp_path):
  with pytest.raises(InputError, match='does not exist'):
    vidmodels.load(tmp_path / 'none')
  with pytest.raises(InputError, match='checkpoints of a training run'):
    vidmodels.load(tmp_path)
