"""Official files: found by name, read whole, described if they are wrong."""

import tracemalloc

import pytest
from test_video_files import touch

from vidmodels.data.listing import text_files
from vidmodels.typing import InputError


def test_an_official_file_is_found_in_any_case_and_one_folder_deeper(tmp_path):
  touch(tmp_path, 'in/TRAIN.csv', 'in/deep/val.csv', 'in/.hidden/test.csv')
  assert text_files.find_file(tmp_path, ('train.csv',), 'x').name == 'TRAIN.csv'
  for name in ('val.csv', 'test.csv'):
    with pytest.raises(InputError, match='does not hold the list; expected'):
      text_files.find_file(tmp_path, (name,), 'the list')
  touch(tmp_path, 'train.csv')  # nearer
  assert text_files.find_file(tmp_path, ('train.csv',), 'x').parent == tmp_path
  touch(tmp_path, 'x_train.csv', 'y_train.csv')
  with pytest.raises(InputError, match='2 files for the list'):
    text_files.find_file(tmp_path, ('*_train.csv', 'train.csv'), 'the list')
  file = tmp_path / 'whatever'
  assert text_files.find_file(file, ('train.csv',), 'x') == file


@pytest.mark.parametrize(
  ('data', 'says'),
  [
    (b'\x1f\x8b\x08\0', 'a gzip archive; .*unpack it first'),
    (b'PK\x03\x04', 'a zip .*archive; .*unpack it first'),
    (b'Rar!\x1a\x07', 'a rar archive'),
    (b'7z\xbc\xaf\x27', 'a 7z archive'),
    (b'BZh9', 'a bzip2 archive'),
    (b'\xfd7zXZ\0', 'an xz archive'),
    (b'name\0'.ljust(257, b'\0') + b'ustar', 'a tar archive'),
    ('a,b\n'.encode('utf-16'), 'UTF-16; expected UTF-8'),
    (b'a,b\n1,\xe9\n', 'line 2 is not UTF-8'),
    (b'a,b\0\n', 'zero bytes'),
  ],
)
def test_a_file_that_is_not_text_is_refused(tmp_path, data, says):
  path = tmp_path / 'train.csv'
  path.write_bytes(data)
  with pytest.raises(InputError, match=says):
    text_files.read_text(path)
  with pytest.raises(InputError, match='cannot be read'):
    text_files.read_text(tmp_path)


def rows_of(path, text, **more):
  path.write_bytes(text.encode())
  return list(text_files.read_csv(path, ('a', 'b'), 'the list', **more))


def test_a_csv_is_read_by_column_whatever_ends_its_lines(tmp_path):
  path = tmp_path / 'x.csv'
  for end in ('\n', '\r\n', '\r', '\n\n'):
    found = rows_of(path, f'\ufeffB, A ,c{end}1,"x, ""y""",{end}2,z,{end}')
    assert [fields for _, fields in found] == [
      {'b': '1', 'a': 'x, "y"', 'c': ''},
      {'b': '2', 'a': 'z', 'c': ''},
    ]
  assert [line for line, _ in found] == [3, 5]
  assert rows_of(path, 'a\tb\n1\t,\n', delimiter='\t')[0][1]['b'] == ','
  # A line separator of Unicode is not one of csv.
  assert rows_of(path, 'a,b\nx\u2028y,\x0b\n')[0][1]['a'] == 'x\u2028y'
  with pytest.raises(InputError, match='not the list: no column a'):
    rows_of(path, 'b,c\n1,2\n')
  with pytest.raises(InputError, match='column b twice'):
    rows_of(path, 'a,b,b\n1,2,3\n')
  with pytest.raises(InputError, match='an empty file'):
    rows_of(path, ' \n\n')


def test_rows_of_a_csv_are_not_held(tmp_path):
  path = tmp_path / 'x.csv'
  path.write_text('a,b\n' + '12345678901,12345678901\n' * 20_000)
  tracemalloc.start()
  count = sum(1 for _ in text_files.read_csv(path, ('a', 'b'), 'the list'))
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert count == 20_000
  # Bytes and text of 0.5 MB each; rows that were kept took 6 MB, StringIO 2.
  assert peak < 2.5 * path.stat().st_size


def test_a_field_spans_lines_only_where_it_may(tmp_path):
  path, text = tmp_path / 'x.csv', 'a,b\n"one\ntwo",2\n3,4\n'
  found = rows_of(path, text, multiline=True)
  assert [fields['a'] for _, fields in found] == ['one\ntwo', '3']
  assert [line for line, _ in found] == [2, 4]
  with pytest.raises(InputError, match='line 2 has 2 fields on 2 lines'):
    rows_of(path, text)
  for header in ('"a\n",b\n', 'a,b,"c\nd"\n'):
    with pytest.raises(InputError, match=r'line 1 has . fields on 2 lines'):
      rows_of(path, header + '3,4\n', multiline=True)
  for lost in ('a,b\n"one,2\n3,4\n', 'a,b\n"one"x,2\n'):
    with pytest.raises(InputError, match=r'is not csv|on . lines'):
      rows_of(path, lost, multiline=True)
  for short in ('a,b\n1\n', 'a,b\n1,2,3\n', 'a,b\n,,\n'):
    with pytest.raises(InputError, match='line 2 has'):
      rows_of(path, short)


def test_json_loses_no_key(tmp_path):
  path = tmp_path / 'x.json'
  for text, says in (
    ('{"a": 1, "a": 2}', "holds 'a' twice"),
    ('[1, 2', 'cut off or damaged'),
    ('[' * 100_000, 'is not JSON'),
    ('9' * 5000, 'is not JSON'),
    ('', 'an empty file'),
  ):
    path.write_text(text)
    with pytest.raises(InputError, match=says):
      text_files.read_json(path)
  path.write_text('[{"a": {"b": null}}]')
  assert text_files.read_json(path) == [{'a': {'b': None}}]


@pytest.mark.parametrize(
  ('text', 'kind'),
  [
    ('{"database": {}, "version": "VERSION 1.3"}', 'an ActivityNet json'),
    ('[["Back", "15som", "05Twis", "FREE"]]', 'the vocabulary of Diving48'),
    ('{"a": {"start": [], "text": []}}', 'the captions of HowTo100M'),
    ('id,subject,scene,quality,relevance', 'a Charades csv'),
    ('video_id,category_1,category_2,rank,task_id', 'the HowTo100M csv'),
    ('c000 Holding some clothes', 'the class list of Charades'),
    ('a.mp4 3', 'a list of videos and labels'),
    ('video_path,start,end,label', 'a list of clips with a header'),
    ('version https://git-lfs.github.com/spec/v1', 'a Git LFS pointer'),
    ('hello there', "a text that begins with 'hello there'"),
    ('[]', 'a list of 0, the first of them None'),
  ],
)
def test_a_wrong_file_is_described(text, kind):
  assert text_files.describe_text(text).startswith(kind)


@pytest.mark.parametrize('value', [417, '417', '417.0', 417.0, ' 417 '])
def test_whole_numbers_come_in_several_shapes(value):
  assert text_files.parse_int(value, most=417) == 417
  with pytest.raises(InputError, match='got 417; expected 0 to 416'):
    text_files.parse_int(value, most=416)


@pytest.mark.parametrize(
  'value', ['', '4.5', '-1', -1, True, None, 4.5, float('nan'), '1e3', '٣', []]
)
def test_what_is_not_a_whole_number_is_refused(value):
  with pytest.raises(InputError):
    text_files.parse_int(value, most=1000)


@pytest.mark.parametrize('value', ['', ' ', 'a/b', 'a\\b', 'a\nb', '\ud800', 7])
def test_what_is_not_a_name_is_refused(value):
  with pytest.raises(InputError):
    text_files.parse_clip_name(value)
  assert text_files.parse_clip_name(' -ü (1)#&;! ') == '-ü (1)#&;!'
