"""check: decodes every file and names the broken ones, with any workers."""

import pytest
import videos

from vidmodels.data.prepare import check_videos
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.video import decode
from vidmodels.data.video.container import BadVideo
from vidmodels.typing import InputError


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('source')
  for i in range(40):
    path = folder / 'ab'[i % 2] / f'{i:02d}.mp4'
    path.parent.mkdir(exist_ok=True)
    videos.write(path, videos.moving(3))
  (folder / 'a' / '04.mp4').write_bytes(b'')
  (folder / 'b' / '33.mp4').write_bytes(b'<html>')
  return folder


@pytest.mark.parametrize('workers', [1, 2])
def test_the_report_is_complete_and_in_order(source, tmp_path, workers):
  events = []
  report = check_videos.check(
    source,
    workers=workers,
    out=tmp_path / 'bad.txt',
    progress=lambda *event: events.append(event),
  )
  assert (report.listed, report.ok, report.frames) == (40, 38, 38 * 3)
  assert report.broken == (
    ('a/04.mp4', 'empty file'),
    ('b/33.mp4', 'a web page, not a video'),
  )
  assert report.bad == report.broken
  assert report.missing == report.damaged == ()
  assert (tmp_path / 'bad.txt').read_text() == (
    'a/04.mp4\tempty file\nb/33.mp4\ta web page, not a video\n'
  )
  assert events[-1][:2] == (40, 40)
  assert [done for done, _, _ in events] == sorted({d for d, _, _ in events})
  if workers == 1:
    assert (3, 40, 'bad a/04.mp4: empty file') in events


def test_a_clean_source_leaves_an_empty_list(tmp_path):
  (tmp_path / 'in' / 'a').mkdir(parents=True)
  videos.write(tmp_path / 'in' / 'a' / 'x.mp4', videos.moving(2))
  report = check_videos.check(
    tmp_path / 'in', workers=1, out=tmp_path / 'bad.txt'
  )
  assert (report.ok, report.broken, report.missing) == (1, (), ())
  assert (tmp_path / 'bad.txt').read_text() == ''


def test_labels_of_a_list_are_checked_before_any_decoding(tmp_path):
  videos.write(tmp_path / 'x.mp4', videos.moving(2))
  (tmp_path / 'list.txt').write_text('x.mp4 5\n')
  with pytest.raises(InputError, match='0 to 1'):
    check_videos.check(
      tmp_path / 'list.txt', classes=ClassList(('a', 'b')), workers=1
    )


def test_frames_that_cannot_become_rgb_are_bad_here_too(tmp_path, monkeypatch):
  (tmp_path / 'a').mkdir()
  videos.write(tmp_path / 'a' / 'x.mp4', videos.moving(2))

  def fails(self, size):
    raise BadVideo('p010 frames cannot become RGB')

  monkeypatch.setattr(decode.Picture, 'rgb', fails)
  report = check_videos.check(tmp_path, workers=1)
  assert report.bad == (('a/x.mp4', 'p010 frames cannot become RGB'),)
