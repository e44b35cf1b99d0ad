"""Made-up sets as files: bytes, folders, resuming, options."""

import collections

import numpy as np
import pytest

from vidmodels.data.listing.read_source import read_source
from vidmodels.data.synthetic import scenes, video_sets
from vidmodels.data.synthetic.scenes import ClipOptions, Motion
from vidmodels.data.synthetic.textures import Mixed
from vidmodels.data.video import decode
from vidmodels.typing import InputError

SMALL = Motion(short_side=(16, 24), frames=(8, 12))


def test_the_files_are_h264_and_show_the_frames(tmp_path):
  rng = scenes.clip_rng(0, 0, 2)
  clip = scenes.draw_scene(rng, Motion(short_side=(32, 32)))
  video_THWC = scenes.render(clip, 'up')
  path = tmp_path / 'a.mp4'
  video_sets.write_clip(path, video_THWC, fps=clip.fps)
  info = decode.probe(path)
  assert (info.codec, info.pix_fmt) == ('h264', 'yuv420p')
  assert (info.width, info.height) == (clip.width, clip.height)
  assert info.fps == pytest.approx(clip.fps)
  frames, times_us = zip(*decode.VideoReader(path), strict=True)
  assert len(frames) == clip.frames
  assert abs(np.stack(frames).astype(int) - video_THWC).mean() < 8
  want_us = np.arange(clip.frames) * 1e6 / clip.fps
  assert np.allclose(times_us, want_us, atol=1)


def test_a_frame_is_coded_without_its_neighbours(tmp_path):
  """A trail that one frame leaves in the next would tell the direction."""
  rng = scenes.clip_rng(0, 0, 2)
  clip = scenes.draw_scene(rng, Motion(short_side=(32, 32)))
  video_THWC = scenes.render(clip, 'left')
  decoded = {}
  for name, shown in (('on', video_THWC), ('back', video_THWC[::-1])):
    video_sets.write_clip(tmp_path / 'a.mp4', shown, fps=25)
    frames = [f for f, _ in decode.VideoReader(tmp_path / 'a.mp4')]
    decoded[name] = np.stack(frames)
  assert np.array_equal(decoded['on'], decoded['back'][::-1])


def test_a_set_does_not_depend_on_workers_or_other_clips(tmp_path):
  counts = {'train': 40, 'test': 9}
  made = {}
  for name, workers in (('one', 1), ('two', 2)):
    video_sets.make_videos(
      tmp_path / name, splits=counts, options=SMALL, workers=workers
    )
    for split, count in counts.items():
      assert len([*(tmp_path / name / split).rglob('*.mp4')]) == count
    made[name] = {
      path.relative_to(tmp_path / name): path.read_bytes()
      for path in (tmp_path / name).rglob('*.mp4')
    }
  assert made['one'] == made['two']
  assert len(set(made['one'].values())) == 49  # no clip twice, in no split
  small = tmp_path / 'small'
  video_sets.make_videos(
    small, splits={'test': 9, 'train': 8}, options=SMALL, workers=1
  )
  for path in small.rglob('*.mp4'):
    assert path.read_bytes() == made['one'][path.relative_to(small)]


@pytest.mark.parametrize('name', video_sets.SETS)
def test_a_set_is_a_balanced_source_for_prepare(tmp_path, name):
  small = {'short_side': (16, 24), 'frames': (8, 12)}
  made = video_sets.SETS[name]
  options = type(made.options)(**small)
  video_sets.make_videos(
    tmp_path / 'm', name, splits={'train': 16}, options=options, workers=1
  )
  found = read_source(tmp_path / 'm' / 'train')
  assert found.classes == made.classes
  assert made.flip.label_map(made.classes).size == 8
  counts = collections.Counter(row.labels[0] for row in found.rows)
  assert counts == dict.fromkeys(range(8), 2)


def test_a_killed_run_continues_and_other_options_are_refused(tmp_path):
  make = lambda **more: video_sets.make_videos(
    tmp_path / 'm', splits={'train': 8}, workers=1, **{'options': SMALL, **more}
  )
  make()
  paths = sorted((tmp_path / 'm').rglob('*.mp4'))
  before = {path: path.read_bytes() for path in paths}
  paths[3].unlink()
  stamps = {path: path.stat().st_mtime_ns for path in paths if path.exists()}
  events = []
  make(progress=lambda done, total, note: events.append((done, total)))
  assert {path: path.read_bytes() for path in paths} == before
  assert all(path.stat().st_mtime_ns == ns for path, ns in stamps.items())
  assert events[-1] == (8, 8)
  with pytest.raises(InputError, match='other options'):
    make(seed=1)
  with pytest.raises(InputError, match='other options'):
    make(options=Motion())
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full' / 'thesis.txt').touch()
  with pytest.raises(InputError, match='other files'):
    video_sets.make_videos(tmp_path / 'full', workers=1)


def test_sets_do_not_share_draws_or_folders(tmp_path):
  make = lambda name, **more: video_sets.make_videos(
    tmp_path / 'v', name, splits={'train': 1}, workers=1, **more
  )
  make('mixed', options=Mixed(frames=(8, 8)))
  with pytest.raises(InputError, match='other files'):
    make('textures')
  with pytest.raises(InputError, match="try 'mixed'"):
    make('mixt')
  with pytest.raises(TypeError, match='Motion'):
    make('motion', options=ClipOptions())
  first = {
    scenes.clip_rng(0, 0, 0, stream=made.stream).bytes(8)
    for made in video_sets.SETS.values()
  }
  assert len(first) == len(video_sets.SETS)
