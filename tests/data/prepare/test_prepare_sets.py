"""prepare and check of data sets: many clips a file, reports, limits."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import videos

from vidmodels.cli import main
from vidmodels.data.datasets import registry
from vidmodels.data.datasets.dataset import Dataset
from vidmodels.data.listing.rows import Listing, VideoRow
from vidmodels.data.listing.video_files import VideoFiles
from vidmodels.data.prepare import (
  check_videos,
  clip_reader,
  encode,
  prepare_records,
  shard_job,
)
from vidmodels.data.records import record_set, video_record
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.data.records.task import Task
from vidmodels.data.video import decode
from vidmodels.typing import InputError

CLASSES = ClassList(('open', 'close', 'left cup', 'right cup', 'pan'))
TASK = Task('single', (('verb', 2), ('noun', 3)))


def read(dataset, request):
  """`clip,video,verb,noun,start,end` on each line; twice the same: once."""
  files, rows, twice = VideoFiles(request.videos), {}, []
  for line in request.annotations.read_text().split():
    clip, video, verb, noun, start, end = line.split(',')
    labels = () if request.split == 'test' else (int(verb), 2 + int(noun))
    row = VideoRow(
      path=files.find(video), video=clip, labels=labels,
      start_s=float(start), end_s=float(end),
    )  # fmt: skip
    if clip in rows:
      twice.append(clip)
    rows[clip] = row
  return Listing(
    rows=tuple(rows.values()),
    classes=request.classes or CLASSES,
    task=dataset.task,
    flip=dataset.flip,
    labelled=request.split != 'test',
    expected=dataset.splits[request.split],
    duplicates=tuple(twice),
    outside=files.unused(),
    subsets={'unseen': ('c0', 'c3')},
    class_subsets={'tail': (1, 4)},
    notes=('a word of the reader',),
  )


KITCHEN = Dataset(
  name='kitchen',
  title='Kitchen',
  splits={'train': 30, 'val': 0, 'test': 25},
  metric='action_top1',
  flip=FlipPolicy('free'),
  mirror=(('2', '3'),),
  task=TASK,
  read=read,
  aliases=('kitch',),
)


@pytest.fixture(autouse=True)
def known(monkeypatch):
  monkeypatch.setattr(registry, 'all_datasets', lambda: {'kitchen': KITCHEN})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Three long videos and some that are not as they should be."""
  folder = tmp_path_factory.mktemp('kitchen') / 'videos'
  folder.mkdir()
  for k, name in enumerate(('P1', 'P2', 'P3')):
    options = {'g': '10', 'bf': '2', 'qp': '10'}
    video_THWC = videos.moving(100, level=40 + 50 * k)
    videos.write(folder / f'{name}.mp4', video_THWC, options=options)
  (folder / 'broken.mp4').write_bytes(b'<html>')
  videos.write(folder / 'other.mp4', videos.moving(3))
  return folder


LINES = [
  # clips overlap, lie in any order, and share their frames
  *(f'c{i},P{1 + i % 3},{i % 2},{i % 3},{i * 0.4},{i * 0.4 + 1.1}'
    for i in range(18)),
  'late,P1,0,0,9.55,12.0',
  'gone,P4,1,1,0,1',
  'broken,broken,1,2,0,1',
  'after,P2,0,0,50,51',
  'c3,P1,1,0,1.2,2.3',
]  # fmt: skip


@pytest.fixture(scope='module')
def official(folder):
  path = folder.parent / 'official.csv'
  path.write_text('\n'.join(LINES))
  return path


def make(official, folder, out, **more):
  return prepare_records.prepare(
    'kitchen', out, annotations=official, videos=folder, **more
  )


def content(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def records_of(out, split='train'):
  found = record_set.RecordSet.open(out, split)
  return [found.record(i) for i in range(len(found))]


def test_the_manifest_says_what_the_data_set_is(official, folder, tmp_path):
  make(official, folder, tmp_path, workers=1)
  manifest = record_set.RecordSet.open(tmp_path, 'train').manifest
  assert manifest.task == TASK
  assert manifest.flip == KITCHEN.flip
  assert manifest.labelled
  assert manifest.expected == 30
  assert (manifest.listed, manifest.count) == (22, 19)
  assert manifest.subsets == {'unseen': ('c0', 'c3')}
  assert manifest.class_subsets == {'tail': (1, 4)}
  assert manifest.options['source'] == 'kitchen'
  # c3 came twice and was kept once, so verb 1 has one clip of P1 less.
  assert sum(manifest.labels) == 2 * 19
  for record in records_of(tmp_path):
    verb, noun = record.labels
    assert record.label_texts == (CLASSES.names[verb], CLASSES.names[noun])
  raw = record_set.RecordSet.open(tmp_path, 'train')[0]
  assert b'clip/label/verb/index' in raw
  assert b'clip/label/noun/index' in raw


def test_the_report_counts_every_clip_and_says_why(official, folder, tmp_path):
  make(official, folder, tmp_path, workers=1)
  report = json.loads((tmp_path / 'train.report.json').read_text())
  assert {
    key: report[key] for key in ('expected', 'listed', 'found', 'ok')
  } == {
    'expected': 30,
    'listed': 22,
    'found': 21,
    'ok': 19,
  }
  assert report['missing'] == ['gone']
  assert report['broken'] == [
    ['broken', 'a web page, not a video'],
    ['after', 'no frame from 50 to 51 s'],
  ]
  assert report['duplicated'] == ['c3']
  assert report['outside'] == ['other.mp4']
  assert report['coverage_percent'] == 63.33
  assert report['reasons'] == {
    'a web page, not a video': 1,
    'no frame from 50 to 51 s': 1,
    'no such file': 1,
  }
  assert report['empty_classes'] == []
  assert report['notes'] == ['a word of the reader']


def test_classes_without_a_clip_are_named(official, folder, tmp_path):
  few = tmp_path / 'few.csv'
  few.write_text('a,P1,0,1,0,1\nb,gone,1,2,0,1\n')
  make(few, folder, tmp_path / 'out', workers=1)
  report = json.loads((tmp_path / 'out' / 'train.report.json').read_text())
  assert report['empty_classes'] == ['close', 'left cup', 'pan']


def test_unpublished_labels_are_no_labels(official, folder, tmp_path):
  make(official, folder, tmp_path, split='test', workers=1)
  found = record_set.RecordSet.open(tmp_path, 'test')
  assert not found.manifest.labelled
  assert found.manifest.labels == (0,) * 5
  assert found.record(0).labels == ()
  report = json.loads((tmp_path / 'test.report.json').read_text())
  assert report['empty_classes'] == []


def test_every_clip_is_as_if_it_were_the_only_one(official, folder, tmp_path):
  make(official, folder, tmp_path / 'all', workers=1, shards=2)
  made = {record.video: record for record in records_of(tmp_path / 'all')}
  lines = {line.split(',')[0]: line for line in LINES}
  assert len(made) == 19
  for clip, record in made.items():
    (tmp_path / 'one.csv').write_text(lines[clip])
    out = tmp_path / clip
    make(tmp_path / 'one.csv', folder, out, workers=1)
    (alone,) = records_of(out)
    assert alone.frames == record.frames
    assert alone.timestamps_us.tolist() == record.timestamps_us.tolist()
    assert record.timestamps_us[0] == 0
    assert (alone.start_us, alone.end_us) == (record.start_us, record.end_us)
  assert len(made['c2'].frames) == 11
  assert len(made['late'].frames) == 4  # 9.6 to 9.9, the file's end


@pytest.mark.parametrize('fps', [0.0, 4.0])
def test_workers_and_kills_change_no_byte(official, folder, tmp_path, fps):
  class Killed(BaseException):
    pass

  def kill(done, total, note):
    if done == 13:
      raise Killed

  options = dict(shards=3, fps=fps, short_side=24)
  make(official, folder, tmp_path / 'one', workers=1, **options)
  if fps:
    make(official, folder, tmp_path / 'two', workers=2, **options)
    assert content(tmp_path / 'one') == content(tmp_path / 'two')
  with pytest.raises(Killed):
    make(
      official, folder, tmp_path / 'out', workers=1, progress=kill, **options
    )
  make(official, folder, tmp_path / 'out', workers=1, **options)
  assert content(tmp_path / 'one') == content(tmp_path / 'out')


def test_a_file_is_decoded_once_and_its_shared_frames_encoded_once(
  folder, tmp_path, monkeypatch
):
  """Ten clips that lie over each other: 20 frames, not 110."""
  lines = [f'c{i},P1,0,0,{0.1 * i},{0.1 * i + 1.1}' for i in range(10)]
  (tmp_path / 'a.csv').write_text('\n'.join(lines))
  opened, encoded = [], []
  reader, jpeg = clip_reader.FrameReader, decode.encode_jpeg
  monkeypatch.setattr(
    clip_reader,
    'FrameReader',
    lambda *a, **k: opened.append(1) or reader(*a, **k),
  )
  monkeypatch.setattr(
    decode, 'encode_jpeg', lambda *a: encoded.append(1) or jpeg(*a)
  )
  make(tmp_path / 'a.csv', folder, tmp_path / 'out', workers=1, shards=4)
  assert len(opened) == 1
  assert len(encoded) == 20
  assert sum(len(r.frames) for r in records_of(tmp_path / 'out')) == 110


def test_clips_of_a_file_lie_in_one_shard_and_come_by_their_end(
  official, folder, tmp_path
):
  make(official, folder, tmp_path, workers=1, shards=5)
  found = record_set.RecordSet.open(tmp_path, 'train')
  shard_of = {}
  for shard in found.manifest.shards:
    for clip in shard.videos:
      video = next(x for x in LINES if x.startswith(f'{clip},')).split(',')[1]
      assert shard_of.setdefault(video, shard.name) == shard.name
  for shard in found.manifest.shards:
    ends = [records.end_us for records in records_of(tmp_path)
            if records.video in shard.videos]  # fmt: skip
    assert ends == sorted(ends)
  assert len(found.manifest.shards) == 5


def rows(counts):
  """A row each clip of files that have so many."""
  return [
    VideoRow(path=pathlib.Path(f'{k}'), video=f'{k}-{i}', labels=())
    for k, count in enumerate(counts)
    for i in range(count)
  ]


@pytest.mark.parametrize('seed', range(5))
def test_no_shard_has_much_more_than_its_share(seed):
  rng = np.random.default_rng(seed)
  listed = rows(rng.integers(1, 30, 200))
  rng.shuffle(listed)
  groups = shard_job.group_by_file(listed)
  assert len(groups) == 200
  dealt = shard_job.deal_files(groups, 12)
  sizes = [sum(map(len, shard)) for shard in dealt]
  assert sum(sizes) == len(listed)
  assert max(sizes) - min(sizes) <= max(map(len, groups))
  numbers = [i for shard in dealt for group in shard for i, _ in group]
  assert sorted(numbers) == list(range(len(listed)))
  assert all(
    len({row.path for _, row in group}) == 1
    and [i for i, _ in group] == sorted(i for i, _ in group)
    for group in groups
  )


def test_there_are_no_more_shards_than_files(folder, tmp_path):
  lines = [f'c{i},P1,0,0,{i * 0.1},{i * 0.1 + 0.2}' for i in range(30)]
  (tmp_path / 'a.csv').write_text('\n'.join(lines))
  out = tmp_path / 'out'
  manifest = make(tmp_path / 'a.csv', folder, out, workers=1, shards=7)
  assert [shard.count for shard in manifest.shards] == [30]


def test_a_limit_takes_the_first_and_is_not_taken_for_all(
  official, folder, tmp_path
):
  manifest = make(official, folder, tmp_path, workers=1, limit=5)
  assert sorted(r.video for r in records_of(tmp_path)) == [
    f'c{i}' for i in range(5)
  ]
  assert manifest.options['limit'] == 5
  assert (manifest.listed, manifest.expected) == (5, 30)
  report = json.loads((tmp_path / 'train.report.json').read_text())
  assert (report['limit'], report['coverage_percent']) == (5, 16.66)
  with pytest.raises(InputError, match=r'limit \(then 5, now 0\)'):
    make(official, folder, tmp_path, workers=1)
  assert make(official, folder, tmp_path, workers=1, overwrite=True).count == 19


def test_no_resume_refuses_a_part_written_split(official, folder, tmp_path):
  def kill(done, total, note):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    make(official, folder, tmp_path, workers=1, shards=3, progress=kill)
  with pytest.raises(InputError, match='leave --no-resume out'):
    make(official, folder, tmp_path, workers=1, shards=3, resume=False)
  make(official, folder, tmp_path, workers=1, shards=3)
  # What is complete is no part.
  make(official, folder, tmp_path, workers=1, shards=3, resume=False)


ALONE = "split 'train' was complete; its records were left alone"


def test_a_complete_split_takes_the_subsets_that_came_later(
  official, folder, tmp_path, monkeypatch
):
  def without(dataset, request):
    listing = read(dataset, request)
    return dataclasses.replace(
      listing, expected=0, subsets={'old': ('c1',)}, class_subsets={}
    )

  def notes():
    return json.loads((tmp_path / 'train.report.json').read_text())['notes']

  few = dataclasses.replace(KITCHEN, read=without)
  monkeypatch.setattr(registry, 'all_datasets', lambda: {'kitchen': few})
  first = make(official, folder, tmp_path, workers=1)
  assert notes() == ['a word of the reader']
  assert make(official, folder, tmp_path, workers=1) == first
  assert notes() == ['a word of the reader', ALONE]
  monkeypatch.setattr(registry, 'all_datasets', lambda: {'kitchen': KITCHEN})
  files = {k: v for k, v in content(tmp_path).items() if 'tfrecord' in k}
  make(official, folder, tmp_path, workers=1)
  assert notes()[1:] == [
    f'{ALONE}, its manifest has new expected, subsets, class_subsets'
  ]
  then = record_set.RecordSet.open(tmp_path, 'train').manifest
  assert then.subsets == {'old': ('c1',), 'unseen': ('c0', 'c3')}
  assert then.class_subsets == {'tail': (1, 4)}
  assert then.expected == 30
  assert then.fingerprint == first.fingerprint
  assert files.items() <= content(tmp_path).items()
  # Files that are not given again take nothing away.
  monkeypatch.setattr(registry, 'all_datasets', lambda: {'kitchen': few})
  assert make(official, folder, tmp_path, workers=1) == then
  assert notes()[1:] == [ALONE]


def test_the_command_says_that_a_complete_split_was_left_alone(
  official, folder, tmp_path, capsys
):
  flags = ['--annotations', official, '--videos', folder, '--out', tmp_path]
  argv = ['prepare', 'kitchen', *flags, '--workers', 1]
  assert 'left alone' not in run(argv, capsys)[1]
  assert f'note: {ALONE}\n' in run(argv, capsys)[1]
  _, out, _ = run([*argv, '--flip', 'swap'], capsys)
  assert f'note: {ALONE}, its manifest has new flip\n' in out


@pytest.mark.parametrize('more', [[], ['--dry-run']])
def test_a_wrong_option_leaves_no_trace(
  official, folder, tmp_path, capsys, more
):
  out = tmp_path / 'out'
  flags = ['--annotations', official, '--videos', folder, '--out', out, *more]
  for wrong in (
    ('--workers', -1),
    ('--shards', -1),
    ('--max-lost', 2),
    ('--quality', 0),
    ('--fps', 'inf'),
    ('--fps', -1),
    ('--short-side', -1),
    ('--flip', 'swap:a=b'),
    ('--limit', -1),
    ('--engine=beam', '--workers=2'),
  ):
    code, _, err = run(['prepare', 'kitchen', *flags, *wrong], capsys)
    assert (code, err.count('\n')) == (2, 1), err
    assert not out.exists(), wrong


@pytest.mark.parametrize('decode', [True, False])
@pytest.mark.parametrize('workers', [1, 2])
def test_check_says_before_what_prepare_says_after(
  official, folder, tmp_path, decode, workers
):
  found = check_videos.check(
    'kitchen',
    annotations=official,
    videos=folder,
    decode=decode,
    workers=workers if decode else 1,
    out=tmp_path / 'bad.txt',
  )
  make(official, folder, tmp_path, workers=1)
  after = json.loads((tmp_path / 'train.report.json').read_text())
  before = json.loads(json.dumps(found.as_json()))
  if not decode:
    # A page and a cut past the end are only seen by who decodes them.
    assert before['broken'] == []
    assert (before['ok'], before['missing']) == (21, ['gone'])
    return
  assert before.pop('frames') == sum(
    len(record.frames) for record in records_of(tmp_path)
  )
  after.pop('frames')
  assert before == after
  assert (tmp_path / 'bad.txt').read_text().splitlines() == [
    'gone\tno such file',
    'broken\ta web page, not a video',
    'after\tno frame from 50 to 51 s',
  ]


def run(argv, capsys):
  code = main([str(a) for a in argv])
  out, err = capsys.readouterr()
  return code, out, err


def test_the_commands_speak_of_data_sets(official, folder, tmp_path, capsys):
  flags = ['--annotations', official, '--videos', folder, '--workers', 1]
  code, out, _ = run(['check', 'kitch', *flags, '--json'], capsys)
  assert code == 1
  assert json.loads(out)['coverage_percent'] == 63.33
  code, out, _ = run(['check', 'kitchen', *flags, '--fast'], capsys)
  assert code == 1
  assert '21 of 30 clips of the split are there, not decoded: 70.00 %' in out
  assert 'missing  gone' in out
  out_flags = ['--out', tmp_path / 'out', '--flip', 'swap']
  code, out, err = run(['prepare', 'kitchen', *flags, *out_flags], capsys)
  assert code == 0
  assert 'lost gone: no such file' in err
  for line in (
    'train: 30 expected, 22 listed, 21 found, 1 missing, 2 broken, 0 damaged, '
    '1 duplicated, 1 outside the list',
    '19 of 30 clips of the split are fine: 63.33 %',
    '1 lost: a web page, not a video',
    'listed more than once: c3',
    'outside the list: other.mp4',
    'note: a word of the reader',
  ):
    assert line in out
  manifest = record_set.RecordSet.open(tmp_path / 'out', 'train').manifest
  assert manifest.flip == FlipPolicy('swap', KITCHEN.mirror)


@pytest.mark.parametrize(
  ('argv', 'says'),
  [
    (['kitchen'], 'try --annotations FILE_OR_DIR and --videos DIR'),
    (['kitchen', '--annotations', '{a}'], 'without --videos'),
    (['kitchen', '--videos', '{v}'], 'without --annotations'),
    (['kitchn', '--annotations', '{a}', '--videos', '{v}'], 'kitchen?'),
    (['kitchen', '--annotations', '/no', '--videos', '{v}'], '/no does not'),
    (['{v}', '--annotations', '{a}', '--videos', '{v}'], 'no data set'),
    (['kitchen', '{av}', '--root', '/x'], '--root /x with kitchen'),
    (['kitchen', '{av}', '--labels', 'multi'], '--labels multi with kitchen'),
    (['kitchen', '{av}', '--split', 'dev'], "no split 'dev'"),
    (['kitchen', '{av}', '--limit', '-1'], '--limit -1'),
    (['kitchen', '{av}', '--flip', 'swap:a=b'], "'a'"),
    (['tfds:x', '--annotations', '{a}'], '--annotations'),
    (['tfds:x', '--labels', 'multi'], '--labels multi'),
    (['nowhere'], 'nowhere does not exist'),
  ],
)
def test_a_wrong_source_is_said(official, folder, tmp_path, capsys, argv, says):
  both = ['--annotations', str(official), '--videos', str(folder)]
  argv = [
    part.format(a=official, v=folder) if part != '{av}' else part
    for part in argv
  ]
  at = argv.index('{av}') if '{av}' in argv else None
  if at is not None:
    argv[at : at + 1] = both
  argv = ['prepare', *argv, '--out', tmp_path / 'out']
  code, _, err = run(argv, capsys)
  assert code == 2
  assert says in err
  assert 'Traceback' not in err
  assert not (tmp_path / 'out').exists()


def test_a_name_that_is_a_path_is_a_path_without_the_flags(
  official, folder, tmp_path, monkeypatch, capsys
):
  own = tmp_path / 'kitchen' / 'cook'
  own.mkdir(parents=True)
  videos.write(own / 'a.mp4', videos.moving(3))
  monkeypatch.chdir(tmp_path)
  assert prepare_records.prepare('kitchen', 'own', workers=1).listed == 1
  assert make(official, folder, 'set', workers=1).listed == 22


def test_own_pairs_need_pairs(tmp_path):
  own = tmp_path / 'in' / 'cook'
  own.mkdir(parents=True)
  videos.write(own / 'a.mp4', videos.moving(3))
  with pytest.raises(InputError, match='swap:left=right'):
    prepare_records.prepare(
      tmp_path / 'in', tmp_path / 'out', flip='swap', workers=1
    )


@pytest.mark.parametrize('text', ['swap:open=pan', 'swap:close=2'])
def test_a_pair_of_a_verb_and_a_noun_is_refused(
  official, folder, tmp_path, text
):
  with pytest.raises(InputError, match=r"of the heads \{'verb': 2, 'noun': 3"):
    make(official, folder, tmp_path / 'out', flip=text, workers=1)
  assert not (tmp_path / 'out').exists()
  FlipPolicy.parse('swap:open=close,left cup=right cup').check(CLASSES, TASK)


def dry(argv, capsys):
  code, out, err = run(['prepare', *argv, '--dry-run'], capsys)
  assert code == 0, err
  return out


def test_a_dry_run_needs_no_videos(official, tmp_path, capsys):
  argv = ['kitchen', '--annotations', official]
  found = json.loads(dry([*argv, '--json', '--workers', 1], capsys))
  assert (found['rows'], found['classes'], found['videos']) == (22, 5, 5)
  assert (found['expected'], found['timed']) == (30, 22)
  assert found['duration_s'] == [1.0, 1.1, 2.45]
  assert found['seconds'] == pytest.approx(18 * 1.1 + 2.45 + 3, abs=0.01)
  assert found['frames'] == round(found['seconds'] * 30)
  assert found['bytes'] == pytest.approx(
    found['frames'] * 340 * 256 * 0.308, 0.01
  )
  assert 'assumption' in found['basis']
  assert found['flip'] == 'free'
  out = dry(argv, capsys)
  assert '22 clips of 30 expected, 5 of 5 classes seen, 5 videos' in out
  assert list(tmp_path.iterdir()) == []
  found = json.loads(dry([*argv, '--json', '--limit', 3], capsys))
  assert (found['rows'], found['limit']) == (3, 3)


def test_a_dry_run_with_videos_measures_some(
  official, folder, tmp_path, capsys
):
  argv = ['kitchen', '--annotations', official, '--videos', folder]
  found = json.loads(dry([*argv, '--json', '--workers', 1], capsys))
  assert 'of the videos, on this machine' in found['basis']
  manifest = make(official, folder, tmp_path / 'out', workers=1)
  frames = sum(len(record.frames) for record in records_of(tmp_path / 'out'))
  made = sum(shard.bytes for shard in manifest.shards)
  # Three of the clips are lost, and few were looked at.
  assert frames == pytest.approx(found['frames'], rel=0.25)
  assert made == pytest.approx(found['bytes'], rel=0.35)
  small = json.loads(dry([*argv, '--json', '--fps', 5], capsys))
  assert small['frames'] == pytest.approx(found['frames'] / 2, rel=0.1)
  assert small['bytes'] == pytest.approx(found['bytes'] / 2, rel=0.2)


def test_a_dry_run_of_ones_own_folder_takes_the_headers_lengths(
  tmp_path, capsys
):
  for i in range(4):
    path = tmp_path / 'in' / 'ab'[i % 2] / f'{i}.mp4'
    path.parent.mkdir(parents=True, exist_ok=True)
    videos.write(path, videos.moving(30))
  (tmp_path / 'in' / 'a' / 'bad.mp4').write_bytes(b'x')
  found = json.loads(dry([tmp_path / 'in', '--json'], capsys))
  assert (found['rows'], found['classes'], found['videos']) == (5, 2, 5)
  assert found['seconds'] == pytest.approx(15, abs=0.1)  # 3 s each
  assert found['frames'] == pytest.approx(150, abs=2)
  assert found['timed'] == 0


@pytest.mark.parametrize(
  ('flags', 'says'),
  [
    (['--shards', -4], '-4 shards'),
    (['--max-lost', 7], 'a share of 7'),
    (['--quality', 0], 'quality 0'),
    (['--workers', -2], '-2 workers'),
    (['--out', '{file}'], 'is no folder'),
    (['--overwrite'], 'got --overwrite with --dry-run'),
    (['--no-resume'], 'got --no-resume with --dry-run'),
    (['--engine=beam'], 'got --engine=beam with --dry-run'),
    (['--beam-runner=DirectRunner'], 'got --beam-runner with --dry-run'),
    (['--beam-options=--x=1'], 'got --beam-options with --dry-run'),
  ],
)
def test_a_dry_run_refuses_what_a_run_would_and_what_it_would_ignore(
  official, capsys, flags, says
):
  flags = [official if flag == '{file}' else flag for flag in flags]
  argv = ['prepare', 'kitchen', '--annotations', official, '--dry-run', *flags]
  code, _, err = run(argv, capsys)
  assert code == 2
  assert says in err


def whole(dataset, request):
  """Three clips of two videos: of a said length, cut, and unknown."""
  row = lambda video, **more: VideoRow(
    path=pathlib.Path(video[0]), video=video, labels=(0, 2), **more
  )
  rows = row('a', seconds=70.0), row('a2', start_s=1.0, end_s=3.0), row('b')
  return Listing(rows=rows, classes=CLASSES, task=dataset.task)


def test_lengths_are_what_the_annotations_say_else_the_usual_of_the_set(
  official, monkeypatch, capsys
):
  long = dataclasses.replace(KITCHEN, read=whole, usual_s=400.0)
  monkeypatch.setattr(registry, 'all_datasets', lambda: {'kitchen': long})
  argv = ['kitchen', '--annotations', official]
  found = json.loads(dry([*argv, '--json'], capsys))
  assert (found['rows'], found['videos'], found['timed']) == (3, 2, 2)
  assert found['duration_s'] == [2, 36, 70]
  assert found['seconds'] == 472
  assert '400 s where no length is known' in found['basis']
  out = dry([*argv, '--limit', 1, '--workers', 1], capsys)
  assert 'train: 1 clip, ' in out
  assert ' 1 video, flip' in out
  assert 'the length of 1 clip is known: 70.0 to 70.0 s' in out
  assert 'with 1 worker\n' in out


def test_of_the_known_sets_only_long_tasks_are_long(monkeypatch):
  monkeypatch.undo()
  found = {name: d.usual_s for name, d in registry.all_datasets().items()}
  assert {name for name, s in found.items() if s != 10} == {'howto100m'}
  assert found['howto100m'] == 400


def test_clips_of_one_kinetics_video_are_one_source_video(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.undo()
  rows = [('a_b-c_d-e_f', 0), ('a_b-c_d-e_f', 100), ('---QUuC4vJs', 84)]
  lines = [f'zumba,{name},{at},{at + 8},validate' for name, at in rows]
  header = 'label,youtube_id,time_start,time_end,split'
  (tmp_path / 'val.csv').write_text('\n'.join([header, *lines]))
  argv = ['k400', '--split', 'val', '--annotations', tmp_path, '--json']
  found = json.loads(dry(argv, capsys))
  assert (found['rows'], found['videos'], found['timed']) == (3, 2, 3)
  assert found['seconds'] == 24


def test_without_a_place_to_write_nothing_is_written(tmp_path, capsys):
  code, _, err = run(['prepare', str(tmp_path)], capsys)
  assert code == 2
  assert '--out DIR' in err


def test_a_dry_run_of_a_list_needs_no_file_either(tmp_path, capsys):
  (tmp_path / 'list.txt').write_text('a.mp4 run\nb.mp4 sit\n')
  found = json.loads(dry([tmp_path / 'list.txt', '--json'], capsys))
  assert (found['rows'], found['classes'], found['videos']) == (2, 2, 2)
  assert found['seconds'] == 20
  argv = ['prepare', tmp_path / 'list.txt', '--out', tmp_path / 'out']
  code, _, err = run(argv, capsys)
  assert code == 2
  assert 'none of the 2 files' in err


def test_a_clip_that_is_too_large_for_a_record_is_lost(
  official, folder, tmp_path, monkeypatch
):
  """A message of over 2 GiB cannot be written; here the bound is lower."""
  monkeypatch.setattr(encode, '_MOST_BYTES', 6000)
  manifest = make(official, folder, tmp_path, workers=1)
  assert 1 <= manifest.count < 19
  large = [why for _, why in manifest.lost if 'over 2 GB' in why]
  assert len(large) == 19 - manifest.count
  for record in records_of(tmp_path):
    assert len(video_record.encode(record, TASK)) < 6000
