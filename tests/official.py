"""Copies of the official files of every data set, with a few tiny videos.

Columns, keys, quoting, names and folders are those of the published files. Each
copy has some of their traps: ids that begin with `-`, names with commas, rows
that must be left out. `MAKERS` has a function for each data set, by its name.
"""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable

import videos

# Videos of a split that must become records.
TRAIN, TEST = 4, 2


@dataclasses.dataclass(frozen=True)
class OfficialCopy:
  """A small copy of a data set.

  Attributes:
    annotations: what `--annotations` takes.
    videos: what `--videos` takes.
    splits: official names of a split to train on and of one to test on.
    classes: number of classes of the set.
    labels: of the clips of the second split, by clip name.
    listed: number of rows of the official file of the second split.
  """

  annotations: pathlib.Path
  videos: pathlib.Path
  splits: tuple[str, str]
  classes: int
  labels: dict[str, tuple[int, ...]]
  listed: int = TEST


def write_video(path: pathlib.Path, *, frames: int = 12, **more) -> None:
  """Writes a tiny video with a moving square, ten frames a second."""
  path.parent.mkdir(parents=True, exist_ok=True)
  codec = 'libvpx-vp9' if path.suffix == '.webm' else 'mpeg4'
  pixels = videos.moving(frames, 16, 24)
  videos.write(path, pixels, **{'codec': codec, 'options': {}, **more})


def write_csv(path: pathlib.Path, rows: list[list], **options) -> None:
  """Writes a csv file, quoted as Python's writer does."""
  text = io.StringIO()
  csv.writer(text, lineterminator='\n', **options).writerows(rows)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text.getvalue(), encoding='utf-8')


def kinetics(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Two classes; files as the crawler names them, one id begins with '-'."""
  header = ['label', 'youtube_id', 'time_start', 'time_end', 'split', 'is_cc']
  header = header[: 6 if name == 'k400' else 5]
  clips = {
    'train': [
      ('abseiling', '-abcdefghij', 3),
      ('abseiling', 'abc_efghij-', 13),
      ('zumba', 'abcdefghijk', 417),
      ('zumba', '_bcdefghij0', 0),
    ],
    'validate': [
      ('abseiling', '-zyxwvutsrq', 11),
      ('zumba', 'zyxwvutsrq_', 99),
    ],
  }
  count = {'k400': 400, 'k600': 600}.get(name, 700)
  for split, rows in clips.items():
    lines = [
      [label, id, start, start + 10, split, 0][: len(header)]
      for label, id, start in rows
    ]
    file = {'validate': 'val'}.get(split, split)
    quoting = csv.QUOTE_NONNUMERIC if name == 'k400' else csv.QUOTE_MINIMAL
    write_csv(folder / f'{file}.csv', [header, *lines], quoting=quoting)
    for label, id, start in rows:
      write_video(
        folder / 'videos' / label / f'{id}_{start:06d}_{start + 10:06d}.mp4'
      )
  return OfficialCopy(
    folder,
    folder / 'videos',
    ('train', 'val'),
    count,
    {
      '-zyxwvutsrq_000011_000021': (0,),
      'zyxwvutsrq__000099_000109': (count - 1,),
    },
  )


def ssv2(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Templates with brackets, a comma in a class, captions that are none."""
  template = 'Laying [something] on the table on its side, not upright'
  clips = {
    'train': [(i, template) for i in (78687, 1, 2, 3)],
    'validation': [
      (10, template),
      (11, 'Pulling [something] from left to right'),
    ],
  }
  for split, rows in clips.items():
    entries = [
      {
        'id': str(id),
        'label': 'laying a pen on the table on its side, not upright',
        'template': text,
        'placeholders': ['a pen'],
      }
      for id, text in rows
    ]
    path = folder / f'something-something-v2-{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    for id, _ in rows:
      write_video(folder / 'videos' / f'{id}.webm')
  return OfficialCopy(
    folder,
    folder / 'videos',
    ('train', 'validation'),
    174,
    {'10': (21,), '11': (86,)},
  )


def diving48(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Names that begin with '_' and '-'; numbers for labels."""
  clips = {
    'train': [('_8Vy3dlHg2w_00000', 0), ('-8Vy3dlHg2w_00001', 47)]
    + [(f'8Vy3dlHg2w0_{i:05d}', 3) for i in (2, 3)],
    'test': [('_0Vy3dlHg2w_00000', 12), ('00y3dlHg2w-_00001', 40)],
  }
  for split, rows in clips.items():
    entries = [
      {'vid_name': id, 'label': label, 'start_frame': 0, 'end_frame': 12}
      for id, label in rows
    ]
    path = folder / f'Diving48_V2_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    for id, _ in rows:
      write_video(folder / 'videos' / f'{id}.mp4')
  labels = {id: (label,) for id, label in clips['test']}
  return OfficialCopy(folder, folder / 'videos', ('train', 'test'), 48, labels)


def ucf101(folder: pathlib.Path, name: str) -> OfficialCopy:
  """CRLF lines, numbers from 1, no label in the list to test on."""
  train = [
    ('ApplyEyeMakeup', 'v_ApplyEyeMakeup_g08_c01', 1),
    ('Hammering', 'v_Hammering_g08_c01', 35),
    ('HammerThrow', 'v_HammerThrow_g08_c01', 36),
    ('HandstandPushups', 'v_HandStandPushups_g08_c01', 37),
  ]
  test = [
    ('HammerThrow', 'v_HammerThrow_g01_c01'),
    ('YoYo', 'v_YoYo_g01_c02'),
  ]
  folder.mkdir(parents=True, exist_ok=True)
  lines = [f'{label}/{file}.avi {number}' for label, file, number in train]
  (folder / 'trainlist01.txt').write_text('\r\n'.join(lines) + '\r\n')
  lines = [f'{label}/{file}.avi' for label, file in test]
  (folder / 'testlist01.txt').write_text('\r\n'.join(lines) + '\r\n')
  for label, file, *_ in (*train, *test):
    write_video(folder / 'videos' / label / f'{file}.avi')
  return OfficialCopy(
    folder,
    folder / 'videos',
    ('train1', 'test1'),
    101,
    {
      'HammerThrow/v_HammerThrow_g01_c01.avi': (35,),
      'YoYo/v_YoYo_g01_c02.avi': (100,),
    },
  )


def hmdb51(folder: pathlib.Path, name: str) -> OfficialCopy:
  """A file a class; rows of 0 are nobody's; names that shells dislike."""
  from vidmodels.data.datasets import registry

  classes = registry.find('hmdb51').classes().names
  rows = {
    'brush_hair': [
      ('a#1_brush_hair_u_nm_np1_ba_goo_0.avi', 1),
      ('b&c;!(d)_brush_hair_u_cm_np1_fr_med_0.avi', 1),
      ('unused_brush_hair_u_cm_np1_fr_med_1.avi', 0),
      ('e_brush_hair_u_nm_np1_ba_goo_1.avi', 2),
    ],
    'wave': [
      ('f_wave_u_nm_np1_ba_goo_0.avi', 1),
      ('g_wave_u_nm_np1_ba_goo_0.avi', 1),
      ('h_wave_u_nm_np1_ba_goo_0.avi', 2),
    ],
  }
  folder.mkdir(parents=True, exist_ok=True)
  for label in classes:
    clips = rows.get(label, [(f'none_{label}_u_nm_np1_ba_goo_0.avi', 0)])
    text = ''.join(f'{file} {flag} \n' for file, flag in clips)
    (folder / f'{label}_test_split1.txt').write_text(text)
    for file, _ in rows.get(label, []):
      write_video(folder / 'videos' / label / file)
  return OfficialCopy(
    folder,
    folder / 'videos',
    ('train1', 'test1'),
    51,
    {
      'brush_hair/e_brush_hair_u_nm_np1_ba_goo_1.avi': (0,),
      'wave/h_wave_u_nm_np1_ba_goo_0.avi': (50,),
    },
  )


def _words(text: str) -> list[str]:
  return text.split()


def charades(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Commas, quotes and semicolons in the script; a video without an action."""
  header = [
    'id',
    'subject',
    'scene',
    'quality',
    'relevance',
    'verified',
    'script',
    'objects',
    'descriptions',
    'actions',
    'length',
  ]
  script = 'She says "no; thanks", and leaves, slowly.'
  clips = {
    'train': [
      ('AAAA1', 'c092 11.90 21.20;c147 0.00 12.60'),
      ('AAAA2', ''),
      ('AAAA3', 'c000 0.00 40.00'),
      ('AAAA4', 'c156 50.00 60.00;c156 0.10 0.20'),
    ],
    'test': [('BBBB1', 'c003 0.0 1.0;c001 0.5 1.0'), ('BBBB2', '')],
  }
  for split, rows in clips.items():
    lines = [
      [
        *(id, 'P1', 'Kitchen', '6', '7', 'Yes', script, 'cup;box', script),
        *(actions, '31.33'),
      ]
      for id, actions in rows
    ]
    write_csv(folder / f'Charades_v1_{split}.csv', [header, *lines])
    for id, _ in rows:
      write_video(folder / 'videos' / f'{id}.mp4')
  names = [f'c{i:03d} Doing number {i}\n' for i in range(157)]
  (folder / 'Charades_v1_classes.txt').write_text(''.join(names))
  labels = {'BBBB1': (1, 3), 'BBBB2': ()}
  return OfficialCopy(folder, folder / 'videos', ('train', 'test'), 157, labels)


def epic100(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Fifteen columns, seconds that the frame columns contradict."""
  header = _words(
    'narration_id participant_id video_id narration_timestamp start_timestamp '
    'stop_timestamp start_frame stop_frame narration verb verb_class noun '
    'noun_class all_nouns all_noun_classes'
  )

  def row(video: str, i: int, start: float, verb: int, nouns: list[int]):
    names = [f"pan's {n}" for n in nouns]
    return [
      *(f'{video}_{i}', video.split('_')[0], video, '' if i else '00:00:00.10'),
      *(f'00:00:{start:05.2f}', f'00:00:{start + 0.5:05.2f}', '600', '900'),
      *('open, wide', 'open', str(verb), names[0], str(nouns[0])),
      *(str(names), str(nouns)),
    ]

  clips = {
    'train': [row('P01_01', i, 0.3 * i, i, [i, 5]) for i in range(TRAIN)],
    'validation': [
      row('P01_102', 0, 0.2, 3, [0]),
      row('P01_102', 1, 0.4, 96, [299, 7]),
    ],
  }
  for split, rows in clips.items():
    write_csv(folder / f'EPIC_100_{split}.csv', [header, *rows])
  write_video(folder / 'videos/P01/videos/P01_01.MP4', frames=20, format='mp4')
  write_video(folder / 'videos/P01/videos/P01_102.MP4', frames=20, format='mp4')
  return OfficialCopy(
    folder,
    folder / 'videos',
    ('train', 'validation'),
    397,
    {'P01_102_0': (3, 97), 'P01_102_1': (96, 97 + 299)},
  )


def activitynet(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Two segments of one video, of two classes; an order that is not sorted."""

  def entry(subset: str, *segments):
    return {
      'duration': 1.2,
      'subset': subset,
      'resolution': '24x16',
      'url': 'https://www.youtube.com/watch?v=x',
      'annotations': [
        {'segment': list(times), 'label': label} for label, *times in segments
      ],
    }

  database = {
    f'-{i}aaaaaaaaa': entry('training', ('Mooping floor', 0.0, 0.9))
    for i in range(TRAIN)
  }
  whole = name.endswith('untrimmed')
  others = [('Braiding hair', 0.5, 5.0)] if whole else []
  database |= {
    'bbbbbbbbbb_': entry('validation', ('BMX', 0.2, 1.0), *others),
    'ccccccccccc': entry('validation', ('Playing ten pins', 0.0, 0.6)),
    'ddddddddddd': entry('testing'),
  }
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / 'activity_net.v1-3.min.json'
  nodes = [
    {'nodeName': 'Root', 'nodeId': 0, 'parentName': None, 'parentId': None}
  ]
  path.write_text(
    json.dumps(
      {'version': 'VERSION 1.3', 'taxonomy': nodes, 'database': database}
    )
  )
  for id in database:
    write_video(folder / 'videos' / f'v_{id}.mp4')
  names = class_names('activitynet')
  labels = {
    'bbbbbbbbbb_': ('BMX', *(label for label, *_ in others)),
    'ccccccccccc': ('Playing ten pins',),
  }
  numbers = {
    id if whole else f'{id}_000': tuple(sorted(map(names.index, texts)))
    for id, texts in labels.items()
  }
  return OfficialCopy(
    folder, folder / 'videos', ('training', 'validation'), 200, numbers
  )


def class_names(name: str) -> tuple[str, ...]:
  """The class names of a data set."""
  from vidmodels.data.datasets import registry

  return registry.find(name).classes().names


def howto100m(folder: pathlib.Path, name: str) -> OfficialCopy:
  """Two tasks with a hundred videos and one with fewer; split files."""
  header = ['video_id', 'category_1', 'category_2', 'rank', 'task_id']
  rows = [
    [f'{task:04d}video{i:02d}', 'Food', '', i + 1, task]
    for task, count in ((101, 100), (77, 100), (5, 3))
    for i in range(count)
  ]
  write_csv(folder / 'HowTo100M_v1.csv', [header, *rows])
  (folder / 'task_ids.csv').write_text(
    '101\tMake a Cake\n77\tFix a, Bike\n5\tFly\n'
  )
  ids = {task: [r[0] for r in rows if r[4] == task] for task in (101, 77)}
  splits = {
    'train': [*ids[101][:2], *ids[77][:2]],
    'test': [ids[101][2], ids[77][2]],
  }
  for split, chosen in splits.items():
    (folder / f'{split}.txt').write_text('\n'.join(chosen) + '\n')
    for id in chosen:
      write_video(folder / 'videos' / f'{id}.mp4')
  labels = {splits['test'][0]: (1,), splits['test'][1]: (0,)}
  return OfficialCopy(folder, folder / 'videos', ('train', 'test'), 2, labels)


MAKERS: dict[str, Callable[[pathlib.Path, str], OfficialCopy]] = {
  **dict.fromkeys(('k400', 'k600', 'k700', 'k700_2020'), kinetics),
  **dict.fromkeys(('activitynet', 'activitynet_untrimmed'), activitynet),
  'ssv2': ssv2,
  'diving48': diving48,
  'ucf101': ucf101,
  'hmdb51': hmdb51,
  'charades': charades,
  'epic100': epic100,
  'howto100m': howto100m,
}
