"""Something-Something V2: the template is the class, the label a caption."""

import json
import re

import pytest

from vidmodels.data.datasets import registry
from vidmodels.data.records.class_list import ClassList
from vidmodels.data.records.flip_policy import FlipPolicy
from vidmodels.typing import InputError

# id, template, what stands for [something]
CLIPS = (
  ('78687', 'Holding [something] next to [something]', ['a potato', 'a jar']),
  (
    '42326',
    'Laying [something] on the table on its side, not upright',
    ['a bottle'],
  ),
  ('8', 'Pulling [something] from left to right', ['a pen']),
  ('9', 'Pulling [something] from right to left', ['a pen']),
  (
    '10',
    'Putting [something similar to other things that are already on the table]',
    ['a cup'],
  ),
)
LABELS = ((19,), (21,), (86,), (87,), (114,))


def entry(name, template, things):
  caption = template.lower()
  for thing in things:
    caption = re.sub(r'\[[^]]*\]', thing, caption, count=1)
  return {
    'id': name,
    'label': caption,
    'template': template,
    'placeholders': things,
  }


def official(folder, clips=CLIPS, split='validation'):
  """The json files as published; of the test split only the ids."""
  entries = [entry(*clip) for clip in clips]
  path = folder / f'something-something-v2-{split}.json'
  path.write_text(json.dumps(entries, indent=1))
  numbers = {name: str(i) for i, name in enumerate(names())}
  labels = folder / 'something-something-v2-labels.json'
  labels.write_text(json.dumps(numbers))
  (folder / 'something-something-v2-test.json').write_text(
    json.dumps([{'id': str(i)} for i in (1420, 3, 77)])
  )
  return path


def names():
  return registry.find('ssv2').classes().names


def read(place, split='validation', films=None, **more):
  return registry.read(
    'ssv2', annotations=place, videos=films, split=split, **more
  )


def touch(folder, *files):
  for file in files:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize('split', ['validation', 'val'])
def test_the_class_is_the_template_without_its_brackets(tmp_path, split):
  official(tmp_path)
  listing = read(tmp_path, split)
  assert [row.video for row in listing.rows] == [clip[0] for clip in CLIPS]
  assert tuple(row.labels for row in listing.rows) == LABELS
  assert listing.expected == 24_777
  assert listing.labelled
  # The caption of the first is no class; its template is.
  assert names()[19] == 'Holding something next to something'


def test_the_files_of_the_later_download_have_shorter_names(tmp_path):
  (tmp_path / 'labels').mkdir()
  for path in (official(tmp_path), *tmp_path.glob('something*')):
    if path.exists():
      short = path.name.removeprefix('something-something-v2-')
      path.rename(tmp_path / 'labels' / short)
  assert tuple(row.labels for row in read(tmp_path).rows) == LABELS


def test_an_id_is_a_text_or_a_number(tmp_path):
  path = official(tmp_path)
  path.write_text(path.read_text().replace('"78687"', '78687'))
  assert read(path).rows[0].video == '78687'


def test_videos_are_webm_or_what_they_were_turned_into(tmp_path):
  path, films = official(tmp_path), tmp_path / 'films'
  touch(films, '8.webm', '20bn/9.mp4', '1420.webm', '5.webm', '78.webm')
  listing = read(path, films=films)
  assert [row.path.relative_to(films).as_posix() for row in listing.rows] == [
    '78687.webm',  # missing: 78.webm is another
    '42326.webm',
    '8.webm',
    '20bn/9.mp4',
    '10.webm',
  ]
  # 1420 is of the test split, whose list lies beside.
  assert listing.outside == ('5.webm', '78.webm')


def test_nobody_published_the_labels_of_the_test_split(tmp_path):
  official(tmp_path)
  listing = read(tmp_path, 'test')
  assert not listing.labelled
  assert [(row.video, row.labels) for row in listing.rows] == [
    ('1420', ()),
    ('3', ()),
    ('77', ()),
  ]
  assert listing.expected == 27_157


def test_a_template_in_some_entries_only_is_no_split_of_anything(tmp_path):
  official(tmp_path)
  path = tmp_path / 'something-something-v2-test.json'
  path.write_text(json.dumps([{'id': '1'}, entry(*CLIPS[0])]))
  with pytest.raises(InputError, match='no template in entry 1'):
    read(tmp_path, 'test')


def test_the_answers_to_the_test_split_count_if_they_lie_beside(tmp_path):
  official(tmp_path)
  answers = tmp_path / 'something-something-v2-test-answers.csv'
  answers.write_text(
    f'3;{names()[21]}\n1420;{names()[0]}\r\n77;{names()[86]}\n'
  )
  listing = read(tmp_path, 'test')
  assert listing.labelled
  assert [row.labels for row in listing.rows] == [(0,), (21,), (86,)]
  assert f'labels are from {answers.name}' in listing.notes
  for text, says in (
    (f'3;{names()[21]}\n', 'no answer for 2 videos .* as 1420'),
    ('3;Holding\n', 'line 1: got label'),
    ('3,Holding\n', 'line 1: .*expected `id;class`'),
    (f'3;{names()[0]}\n3;{names()[1]}\n', 'line 2: got a second answer for 3'),
  ):
    answers.write_text(text)
    with pytest.raises(InputError, match=says):
      read(tmp_path, 'test')


def test_a_mirror_swaps_three_pairs_and_leaves_the_right_in_pulling_out():
  dataset = registry.find('ssv2')
  assert dataset.flip == FlipPolicy('forbid')
  policy = FlipPolicy.parse('swap', dataset.mirror)
  swapped = policy.label_map(dataset.classes()).tolist()
  moved = [i for i, label in enumerate(swapped) if label != i]
  assert moved == [86, 87, 93, 94, 166, 167]
  for i in moved:
    name, other = names()[i], names()[swapped[i]]
    turn = {'left': 'right', 'right': 'left'}
    turned = [turn.get(word, word) for word in name.split()]
    assert ' '.join(turned) == other
  # All classes with a direction are in a pair; 'pulling it right out' is none.
  sided = [i for i, n in enumerate(names()) if {'left', 'right'} & {*n.split()}]
  assert sided == [50, *moved]
  with pytest.raises(InputError, match='0 pairs'):
    FlipPolicy.parse('swap')
  given = FlipPolicy.parse('swap:1=2', dataset.mirror)
  assert given.pairs == (('1', '2'),)


def test_labels_json_must_number_the_classes_as_published_models_do(tmp_path):
  official(tmp_path)
  path = tmp_path / 'something-something-v2-labels.json'
  whole = json.loads(path.read_text())
  swapped = whole | {names()[3]: '4', names()[4]: '3'}
  for value, says in (
    (swapped, 'class 3 is .* here and'),
    (dict(list(whole.items())[:-1]), '173 classes here and 174'),
    (whole | {names()[173]: '180'}, 'the last class is number 180'),
    (whole | {names()[5]: 'x'}, "got 'x'; expected a whole number"),
    ([1, 2], 'does not number the classes'),
    ({}, 'does not number the classes'),
  ):
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=says):
      read(tmp_path)
  # With a class list of one's own it says nothing.
  classes = ClassList(names())
  assert tuple(r.labels for r in read(tmp_path, classes=classes).rows) == LABELS
  path.write_text(json.dumps(dict(reversed(whole.items()))))
  assert tuple(row.labels for row in read(tmp_path).rows) == LABELS


@pytest.mark.parametrize(
  ('old', 'new', 'says'),
  [
    ('"template": "Holding', '"template": "Hold', 'entry 1: .*did you mean'),
    ('"template": "Holding', '"templat": "', 'no template in entry 1'),
    ('"template": "Pulling', '"templat": "', "entry 3: got template 'None'"),
    ('"id": "8"', '"id": "8.0"', r"entry 3: got id '8\.0'"),
    ('"id": "8"', '"id": true', "entry 3: got id 'True'"),
    ('"id": "8"', '"id": -8', "entry 3: got id '-8'"),
    ('"id": "8"', '"id": "../8"', 'entry 3: got id'),
    ('"id": "8"', '"ix": "8"', "entry 3 has no 'id'"),
    ('"id": "8"', '"id": "8", "id": "9"', "holds 'id' twice in an object"),
    (
      ' {\n  "id": "8"',
      ' 8, {\n  "id": "8"',
      "entry 3 is '8'; expected an obj",
    ),
    (']\n }\n]', ']\n }\n', 'is not JSON'),
  ],
)
def test_a_damaged_json_is_refused_where_it_is_damaged(
  tmp_path, old, new, says
):
  path = official(tmp_path)
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(InputError, match=says):
    read(path)


@pytest.mark.parametrize(
  ('text', 'says'),
  [
    ('[{"id": "1"}]', 'without labels'),
    ('{"1": {"id": "1"}}', 'an object with the keys 1'),
    ('{"Approaching": "0"}', 'the label numbers of'),
    ('[]', 'a list of 0'),
    ('[{"vid_name": "a", "label": 1}]', 'a Diving48 list'),
    ('78687;Holding something', 'the test answers'),
    ('original_vido_id video_id frame_id path labels\n', 'extracted frames'),
  ],
)
def test_another_file_is_described_by_its_look(tmp_path, text, says):
  path = tmp_path / 'train.json'
  path.write_text(text)
  with pytest.raises(InputError, match=says):
    read(path, 'train')


def test_extracted_frames_are_not_read(tmp_path):
  path, films = official(tmp_path), tmp_path / 'frames'
  touch(films, '78687/78687_000001.jpg', '78687/78687_000002.jpg')
  command = r'ffmpeg .* -i 78687/78687_%06d\.jpg -c copy 78687\.mkv'
  with pytest.raises(InputError, match=f'frames are not read.*{command}'):
    read(path, films=films)


def test_counts_and_commas():
  dataset = registry.find('ssv2')
  assert dict(dataset.splits) == {
    'train': 168_913,
    'validation': 24_777,
    'val': 24_777,
    'test': 27_157,
  }
  assert sum(',' in name for name in names()) == 12
