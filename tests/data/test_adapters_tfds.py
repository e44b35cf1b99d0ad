"""TFDS's video sets: found by type, read frame for frame, nothing guessed."""

import builtins
import pathlib
import pickle

import numpy as np
import pytest

from vidmodels.data.adapters import tfds as adapter
from vidmodels.data.task import SINGLE, Task
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def tfds():
  return pytest.importorskip('tensorflow_datasets')


def frames(i, channels=3):
  """Video i: its number in every pixel, the frame's number in one."""
  video_THWC = np.full((3 + i % 3, 8, 12, channels), 10 * i, np.uint8)
  video_THWC[:, 0, 0] = np.arange(len(video_THWC))[:, None]
  return video_THWC


def build(
  tfds,
  folder,
  *,
  label=None,
  labels=(0, 2, 1, 1, 0, 2, 2),
  args=(),
  metadata=None,
  channels=3,
  more=None,
  values=None,
):
  """Prepares a set `motions` in a folder as `tfds build` would."""
  kinds = tfds.features
  label = label or kinds.ClassLabel(names=['sit', 'run', 'walk'])

  class Motions(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')
    name = 'motions'
    pkg_dir_path = pathlib.Path(folder)

    def _info(self):
      features = {
        'clip': kinds.Video((None, 8, 12, channels), ffmpeg_extra_args=args),
        'action': label,
      }
      return tfds.core.DatasetInfo(
        builder=self,
        features=kinds.FeaturesDict(features | (more or {})),
        metadata=tfds.core.MetadataDict(metadata) if metadata else None,
      )

    def _split_generators(self, dl_manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for i, action in enumerate(labels):
        given = {'clip': frames(i, channels), 'action': action}
        yield i, given | {k: v[i] for k, v in (values or {}).items()}

  try:
    Motions(data_dir=folder).download_and_prepare()
  finally:
    # TFDS keeps a register of classes; the next test has its own.
    from tensorflow_datasets.core import registered

    registered._DATASET_REGISTRY.pop('motions', None)
  return str(folder)


def opened(folder, split='train', name='tfds:motions'):
  return adapter.open_split(name, split, folder)


def numbers(videos):
  return [int(v.frames_THWC[0, 4, 4, 0]) // 10 for v in videos]


def test_videos_labels_and_names_come_as_they_were_put_in(tfds, tmp_path):
  split = opened(build(tfds, tmp_path))
  assert split.classes.names == ('sit', 'run', 'walk')
  assert (split.task, split.count, split.fps) == (SINGLE, 7, 0)
  assert 'does not say' in split.notes[0]
  videos = list(split.videos())
  assert sorted(numbers(videos)) == list(range(7))
  for i, video in zip(numbers(videos), videos, strict=True):
    assert np.array_equal(video.frames_THWC, frames(i))
    assert video.labels == ((0, 2, 1, 1, 0, 2, 2)[i],)
    assert video.fps == 0
  assert len({video.video for video in videos}) == 7
