"""Video sets of TFDS: features found by type, read frame for frame."""

import pathlib
import pickle
import sys

import numpy as np
import pytest

from vidmodels.data.prepare import tfds as adapter
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def tfds():
  return pytest.importorskip('tensorflow_datasets')


def frames(i, channels=3):
  """Video i: its number in every pixel, the frame's number in one."""
  video_THWC = np.full((3 + i % 3, 8, 12, channels), 10 * i % 256, np.uint8)
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
  shards=1,
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
    Motions(data_dir=folder).download_and_prepare(
      download_config=tfds.download.DownloadConfig(num_shards=shards)
    )
  finally:
    # TFDS keeps a register of classes; the next test has its own.
    from tensorflow_datasets.core import registered

    registered._DATASET_REGISTRY.pop('motions', None)
  return str(folder)


def opened(folder, split='train', name='tfds:motions'):
  return adapter.open_split(name, split, folder)


def numbers(videos):
  return [int(v.frames_THWC[0, 4, 4, 0]) // 10 for v in videos]


@pytest.mark.slow
def test_videos_labels_and_names_are_those_of_the_set(tfds, tmp_path):
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


@pytest.mark.parametrize(('start', 'stop'), [(0, 3), (3, 7), (6, 99), (5, 5)])
@pytest.mark.fast_every(4)
def test_a_range_has_its_videos(tfds, tmp_path, start, stop):
  split = opened(build(tfds, tmp_path))
  every = [(v.video, n) for v, n in zip(*twice(split.videos()), strict=True)]
  some = split.videos(start, stop)
  assert [(v.video, n) for v, n in zip(*twice(some), strict=True)] == every[
    start:stop
  ]


def test_files_are_read_one_after_the_other(tfds, tmp_path):
  # TFDS would take 16 videos of one file, then 16 of the next.
  folder = build(tfds, tmp_path, labels=(0,) * 40, shards=2)
  split = opened(folder)
  names = [video.video for video in split.videos()]
  places = [(n.split('__')[0], int(n.split('__')[1])) for n in names]
  assert places == sorted(places)
  assert len({file for file, _ in places}) == 2
  assert [v.video for v in split.videos(15, 25)] == names[15:25]


def twice(videos):
  videos = list(videos)
  return videos, numbers(videos)


def test_a_split_can_be_sent_to_another_process(tfds, tmp_path):
  split = pickle.loads(pickle.dumps(opened(build(tfds, tmp_path))))
  assert len(list(split.videos(2))) == 5


def test_a_prepared_folder_is_enough_without_its_code(tfds, tmp_path):
  # `build` took the class out of TFDS's register.
  with pytest.raises(tfds.core.DatasetNotFoundError):
    tfds.builder('motions')
  assert opened(build(tfds, tmp_path)).count == 7


@pytest.mark.parametrize(
  ('more', 'fps'),
  [
    ({'args': ('-vf', 'scale=8x12,fps=10')}, 10),
    ({'args': ('-vf', 'fps=fps=30000/1001')}, 30000 / 1001),
    ({'args': ('-an', '-r', '12.5')}, 12.5),
    ({'args': ('-vf', 'scale=8x12')}, 0),
    ({'metadata': {'fps': 24}}, 24),
    ({'metadata': {'fps': 'unknown'}}, 0),
  ],
)
@pytest.mark.fast_every(6)
def test_the_rate_is_that_of_the_set_or_0(tfds, tmp_path, more, fps):
  split = opened(build(tfds, tmp_path, labels=(0,), **more))
  assert split.fps == pytest.approx(fps)
  assert next(split.videos()).fps == pytest.approx(fps)
  assert bool(split.notes) == (fps == 0)


def test_each_video_may_have_a_rate_of_its_own(tfds, tmp_path):
  rates = [10.0, 12.5, 25.0]
  split = opened(
    build(
      tfds,
      tmp_path,
      labels=(0, 1, 2),
      more={'fps': tfds.features.Scalar(np.float32)},
      values={'fps': np.float32(rates)},
    )
  )
  videos = list(split.videos())
  assert [v.fps for v in videos] == [rates[i] for i in numbers(videos)]
  assert (split.fps, split.notes) == (0, ())


def test_a_split_without_labels_is_unlabelled_and_has_no_class_0(
  tfds, tmp_path
):
  split = opened(build(tfds, tmp_path, labels=(-1, -1)))
  assert not split.labelled
  assert [v.labels for v in split.videos()] == [(), ()]


def test_labels_for_some_videos_only_are_refused(tfds, tmp_path):
  split = opened(build(tfds, tmp_path, labels=(0, -1, 2, 0, -1)))
  with pytest.raises(InputError, match='unlike the first video'):
    list(split.videos())


def test_a_sequence_of_labels_is_a_set_of_them(tfds, tmp_path):
  label = tfds.features.Sequence(
    tfds.features.ClassLabel(names=['sit', 'run', 'walk'])
  )
  wanted = ([2, 0, 2], [], [1])
  split = opened(build(tfds, tmp_path, label=label, labels=wanted))
  assert split.task == Task('multi')
  assert split.labelled
  videos = list(split.videos())
  assert [v.labels for v in videos] == [
    ((2, 0), (), (1,))[i] for i in numbers(videos)
  ]


def test_grey_frames_become_rgb(tfds, tmp_path):
  split = opened(build(tfds, tmp_path, labels=(0, 1), channels=1))
  for video in split.videos():
    i = int(video.frames_THWC[0, 4, 4, 0]) // 10
    assert np.array_equal(
      video.frames_THWC, np.repeat(frames(i, 1), 3, axis=-1)
    )


def test_a_set_without_one_video_and_one_label_is_refused(tfds, tmp_path):
  kinds = tfds.features
  plain = build(tfds, tmp_path / 'a', label=kinds.Scalar(np.int64))
  with pytest.raises(InputError, match=r'0 features that are a class label'):
    opened(plain)
  two = build(
    tfds,
    tmp_path / 'b',
    labels=(0,),
    more={'other': kinds.ClassLabel(names=['x', 'y'])},
    values={'other': [1]},
  )
  with pytest.raises(
    InputError, match=r"a class label .'action', 'other'.*one"
  ):
    opened(two)


def test_a_wrong_name_split_or_folder_is_refused(tfds, tmp_path):
  folder = build(tfds, tmp_path)
  with pytest.raises(
    InputError, match="no split 'test'; expected one of train"
  ):
    opened(folder, 'test')
  with pytest.raises(
    InputError, match='expected a set that TensorFlow Datasets'
  ):
    opened(folder, name='tfds:no_such_set_anywhere')
  with pytest.raises(
    InputError, match='expected a set that TensorFlow Datasets'
  ):
    opened(folder, name='tfds:ucf101/no_such_config')
  with pytest.raises(InputError, match=r'ucf101 is not prepared.*tfds build'):
    opened(folder, name='tfds:ucf101')
  with pytest.raises(
    InputError, match='expected a set that TensorFlow Datasets'
  ):
    opened(folder, name='tfds:')


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  with pytest.raises(InputError, match=r'pip install "vidmodels\[tf\]"'):
    adapter.open_split('tfds:ucf101', 'train')
