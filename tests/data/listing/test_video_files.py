"""Videos are found by name, wherever they are below a folder."""

import os
import shutil
import subprocess

import av
import cv2
import numpy as np
import pytest

from vidmodels.data.listing.video_files import VideoFiles, video_of_frames


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def below(files, *names):
  return files.find(*names).relative_to(files.folder).as_posix()


def test_a_name_is_a_file_s_own_or_the_end_of_its_path(tmp_path):
  touch(tmp_path, 'train/run/a.b.mp4', 'train/run/-c.MKV', 'a.txt', '.x/h.mp4')
  files = VideoFiles(tmp_path)
  assert len(files) == 2
  for name in ('a.b', 'a.b.mp4', 'run/a.b', 'train/run/a.b.mp4'):
    assert below(files, name) == 'train/run/a.b.mp4'
  assert below(files, '-c') == 'train/run/-c.MKV'
  for name in ('b', 'b.mp4', 'un/a.b', 'a', 'a.b.mkv', 'h', 'RUN/a.b'):
    assert not files.has(name)
  assert files.used == 2


def test_the_first_name_that_there_is_counts(tmp_path):
  touch(tmp_path, 'a.mp4', 'b.webm')
  files = VideoFiles(tmp_path)
  assert below(files, 'c', 'b', 'a') == 'b.webm'
  # A missing one has the path of its best name.
  assert files.find('x/c.mp4', 'c') == tmp_path / 'x/c.mp4'
  assert files.unused() == ('a.mp4',)


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path):
  films, other = tmp_path / 'films', tmp_path / 'other'
  touch(films, 'run/deep/a.mp4', 'run/b.mp4', 'run/1.jpg')
  touch(other, 'far/c.mp4')
  for link in ('run/deep/up', 'run/deep/up2', 'run/round', 'again'):
    (films / link).symlink_to(films)
  (films / 'alias').symlink_to(films / 'run')
  (films / 'disk').symlink_to(other)
  (other / 'back').symlink_to(films)
  (films / 'nowhere').symlink_to(tmp_path / 'none')
  files = VideoFiles(films)
  assert files.unused() == ('disk/far/c.mp4', 'run/b.mp4', 'run/deep/a.mp4')
  assert (files.images, files.image) == (1, 'run/1.jpg')
  assert below(files, 'far/c') == 'disk/far/c.mp4'
  assert files.ambiguous == ()


def test_a_whole_path_goes_before_an_end_and_copies_are_reported(tmp_path):
  touch(tmp_path, 'z/a.mp4', 'b/z/a.mp4', 'b/c.mp4', 'a/c.mp4', 'a/c.webm')
  files = VideoFiles(tmp_path)
  assert below(files, 'z/a') == 'z/a.mp4'
  assert files.ambiguous == ()
  assert below(files, 'c') == 'a/c.mp4'
  assert files.ambiguous == ('c',)
  # Copies of what was asked for are not strangers.
  assert files.unused() == ('b/z/a.mp4',)
  files.mark_known('a')
  assert files.unused() == ()
  assert files.used == 2


def test_without_a_folder_every_path_is_a_mere_name():
  files = VideoFiles(None)
  assert str(files.find('run/a.mp4', 'a')) == 'run/a.mp4'
  assert (len(files), files.used, files.unused()) == (0, 0, ())


def test_links_and_odd_names_are_followed(tmp_path):
  touch(tmp_path / 'other', 'a.mp4', 'ü [1] & #2;.avi', 'img.JPG')
  (tmp_path / 'films').mkdir()
  (tmp_path / 'films' / 'link').symlink_to(tmp_path / 'other')
  os.rename(tmp_path / 'other/a.mp4', tmp_path / os.fsdecode(b'other/\xff.mp4'))
  files = VideoFiles(tmp_path / 'films')
  assert files.images == 1
  assert below(files, 'ü [1] & #2;') == 'link/ü [1] & #2;.avi'
  assert files.unused() == ('link/\\xff.mp4',)


@pytest.mark.parametrize(
  ('image', 'says'),
  [
    ('img_00001.jpg', "-i 'a b/img_%05d.jpg' -c copy 'a b.mkv'"),
    ('000087.png', "-start_number 87 -i 'a b/%06d.png'"),
    ('1%_1.jpeg', "-i 'a b/1%%_%01d.jpeg'"),
    ('', "-i 'a b/%05d.jpg'"),
    ('flow_x.jpg', "-i 'a b/%05d.jpg'"),
  ],
)
def test_frames_have_a_command_that_makes_a_video(image, says):
  assert says in video_of_frames('a b', image)


@pytest.mark.skipif(not shutil.which('ffmpeg'), reason='needs ffmpeg')
def test_the_command_keeps_every_frame(tmp_path):
  (tmp_path / 'a b').mkdir()
  for k in range(7, 12):
    picture = np.full((32, 32, 3), 20 * k, np.uint8)
    cv2.imwrite(str(tmp_path / f'a b/img_{k:05d}.jpg'), picture)
  files = VideoFiles(tmp_path)
  folder, image = os.path.split(files.image)
  command = video_of_frames(folder, image).partition(' (')[0]
  subprocess.run(
    command, shell=True, cwd=tmp_path, check=True, capture_output=True
  )
  with av.open(str(tmp_path / 'a b.mkv')) as video:
    shades = [f.to_ndarray(format='gray').mean() for f in video.decode(video=0)]
  np.testing.assert_allclose(shades, [20 * k for k in range(7, 12)], atol=3)
