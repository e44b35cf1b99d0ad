"""Files made to hang, crash or mislead the reader end in an `InputError`."""

import io
import json
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from vidmodels.typing import InputError
from vidmodels.weights.formats import pth
from vidmodels.weights.formats.open_file import open_file


def text(said: str) -> bytes:
  return b'X' + struct.pack('<I', len(said)) + said.encode()


def tensor(
  kind: str = 'FloatStorage', length: bytes = b'K\x04', rest: bytes = b''
) -> bytes:
  """Opcodes of a tensor of 4 numbers; `rest` is start, shape, strides."""
  return (
    b'ctorch._utils\n_rebuild_tensor_v2\n(('
    + text('storage')
    + f'ctorch\n{kind}\n'.encode()
    + text('0')
    + text('cpu')
    + length
    + b'tQ'
    + (rest or b'K\x00K\x04\x85K\x01\x85')
    + b'\x89}tR'
  )


def long(number: int) -> bytes:
  return pickle.dumps(number, 2)[2:-1]


GOOD = b'\x80\x02}' + text('w') + tensor() + b's.'
TWICE = b')' + b'2\x86' * 60  # a tuple of the one before twice, sixty times


def zipped(path: pathlib.Path, pkl: bytes, method: int = 0) -> pathlib.Path:
  with zipfile.ZipFile(path, 'w', method) as archive:
    archive.writestr('w/data.pkl', pkl)
    archive.writestr('w/data/0', bytes(16))
  return path


def legacy(path: pathlib.Path, pkl: bytes) -> pathlib.Path:
  head = pth.LEGACY + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
  path.write_bytes(
    head + pkl + pickle.dumps(['0'], 2) + struct.pack('<Q', 4) + bytes(16)
  )
  return path


@pytest.mark.parametrize('write', [zipped, legacy])
def test_the_good_file_of_these_tests_is_read(tmp_path, write):
  file = open_file(write(tmp_path / 'w', GOOD))
  np.testing.assert_array_equal(file.tensors['w'], np.zeros(4, np.float32))


@pytest.mark.parametrize('write', [zipped, legacy])
@pytest.mark.parametrize(
  ('pkl', 'says'),
  [
    (b'\x80\x02}' + TWICE + b'K\x01s.', 'more than 10,000,000 parts'),
    (b'\x80\x02' + TWICE + b'Q.', 'more than 10,000,000 parts'),
    (b'\x80\x02})' + b'\x85' * 10**5 + b'K\x01s.', 'in each other'),
    (b'\x80\x02}q\x00' + text('model') + b'h\x00s.', 'no tensors|0 is missing'),
    (b'\x80\x0200.', 'nothing left'),
    (GOOD.replace(b'K\x04tQ', b'J\xfc\xff\xff\xfftQ'), 'of -16'),
    (GOOD.replace(b'K\x04tQ', b'K\x05tQ'), '16 bytes of 20'),
    (GOOD.replace(b'K\x04tQ', text('4') + b'tQ'), 'without a name or a'),
    (
      b'\x80\x02}'
      + text('w')
      + tensor(rest=b'K\x00K\x04\x85J\xff\xff\xff\xff\x85')
      + b's.',
      'a tensor of size -1',
    ),
    (
      b'\x80\x02}'
      + text('w')
      + tensor(rest=b'K\x00' + text('4') + b'K\x01\x85')
      + b's.',
      "a tensor of size '4'",
    ),
    (
      b'\x80\x02}'
      + text('w')
      + tensor()
      + b's'
      + text('v')
      + tensor('IntStorage')
      + b's.',
      'two things',
    ),
    (b'\x80\x02}' + text('a\x1b[31m') + tensor() + b's.', 'printable'),
    (b'\x80\x02}X\x03\x00\x00\x00\xed\xa0\x80' + tensor() + b's.', 'printable'),
    (b'\x80\x02}K\x01' + tensor() + b's.', 'printable'),
  ],
)
def test_a_pickle_that_would_hang_crash_or_lie_is_refused(
  tmp_path, write, pkl, says
):
  with pytest.raises(InputError, match=says):
    open_file(write(tmp_path / 'w', pkl))


@pytest.mark.parametrize(
  'rest',
  [
    # A tensor of 2^124 numbers that are all one; a stride of 2^70.
    b'K\x00' + long(1 << 62) * 2 + b'\x86K\x00K\x00\x86',
    b'K\x00' + long(1 << 40) + b'\x85K\x00\x85',
    b'K\x00K\x01\x85' + long(1 << 70) + b'\x85',
    b'K\x00(' + b'K\x01' * 70 + b't(' + b'K\x01' * 70 + b't',
  ],
)
def test_a_tensor_of_impossible_sizes_is_refused(tmp_path, rest):
  pkl = b'\x80\x02}' + text('w') + tensor(rest=rest) + b's.'
  with pytest.raises(InputError, match='does not lie'):
    open_file(zipped(tmp_path / 'w.pth', pkl)).tensors['w']


def test_what_lies_beside_the_tensors_can_be_written_as_json(tmp_path):
  more = {('a', 1): 2, 'best': float('nan'), 'said': 'a\x1b[31m\n', 3: 4}
  pkl = pickle.dumps(more, 2)[:-1] + text('w') + tensor() + b's.'
  found = open_file(zipped(tmp_path / 'w.pth', pkl)).others
  assert json.loads(json.dumps(found, allow_nan=False)) == {
    "('a', 1)": 2,
    'best': 'nan',
    'said': 'a\\x1b[31m\n',
    '3': 4,
  }


def test_a_deep_list_is_no_reason_to_crash(tmp_path):
  pkl = b'\x80\x02' + b']' * 10**5 + b'a' * (10**5 - 1) + b'.'
  with pytest.raises(InputError, match='in each other'):
    open_file(zipped(tmp_path / 'w.pth', pkl))


def array() -> bytes:
  made = io.BytesIO()
  np.lib.format.write_array(made, np.arange(4.0))
  return made.getvalue()


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize(
  ('members', 'says'),
  [
    ([('w/data.pkl', GOOD), ('w/data.pkl', GOOD)], 'twice'),
    ([('w/data.pkl', GOOD), ('v/data.pkl', GOOD)], 'expected one object'),
    ([('a.npy', array()), ('a.npy', array())], 'twice'),
  ],
)
def test_an_archive_of_two_meanings_is_refused(tmp_path, members, says):
  with zipfile.ZipFile(tmp_path / 'w', 'w') as archive:
    for name, data in members:
      archive.writestr(name, data)
  with pytest.raises(InputError, match=says):
    open_file(tmp_path / 'w')


@pytest.mark.parametrize('pickled', [False, True])
@pytest.mark.parametrize(('flag', 'method'), [(1, 0), (32, 0), (0, 99), (0, 8)])
def test_an_archive_encrypted_or_packed_oddly_is_refused(
  tmp_path, pickled, flag, method
):
  path = tmp_path / 'w'
  if pickled:
    zipped(path, GOOD)
  else:
    np.savez(path.with_suffix('.npz'), a=np.arange(4.0))
    path = path.with_suffix('.npz')
  raw = bytearray(path.read_bytes())
  entry = raw.find(b'PK\x01\x02')
  for at in (6, entry + 8):
    raw[at] |= flag
  for at in (8, entry + 10):
    raw[at] = method
  path.write_bytes(raw)
  if pickled and flag == 32:  # says nothing of bytes that are stored
    return
  with pytest.raises(InputError):
    open_file(path)


def test_a_packed_pickle_is_not_unpacked(tmp_path):
  # A few kilobytes of zip would be gigabytes of pickle.
  pkl = b'\x80\x02' + b'N0' * 10**6 + GOOD[2:]
  with pytest.raises(InputError, match=r'data\.pkl .*compressed'):
    open_file(zipped(tmp_path / 'w.pth', pkl, zipfile.ZIP_DEFLATED))


def test_a_file_of_torch_without_checksums_is_read(tmp_path):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  torch.serialization.set_crc32_options(False)
  try:
    torch.save({'w': torch.arange(3.0)}, tmp_path / 'w.pth')
  finally:
    torch.serialization.set_crc32_options(True)
  found = open_file(tmp_path / 'w.pth').tensors['w']
  np.testing.assert_array_equal(found, [0, 1, 2])


def test_npz_names_with_and_without_ending_are_two_arrays(tmp_path):
  with zipfile.ZipFile(tmp_path / 'w.npz', 'w') as archive:
    archive.writestr('a', b'no array')
    archive.writestr('a.npy', array())
  found = open_file(tmp_path / 'w.npz').tensors
  np.testing.assert_array_equal(found['a'], np.arange(4.0))


@pytest.mark.parametrize(
  'odd', [np.array(['a']), np.zeros(2, 'V3'), np.zeros(2, [('x', 'f4')])]
)
def test_npz_of_what_are_no_numbers_is_refused(tmp_path, odd):
  np.savez(tmp_path / 'w.npz', odd=odd)
  with pytest.raises(InputError, match='only arrays of numbers'):
    open_file(tmp_path / 'w.npz')


def test_an_array_that_unpacks_from_nothing_is_not_unpacked(
  tmp_path, monkeypatch
):
  from vidmodels.weights.formats import npz

  monkeypatch.setattr(npz, 'BOMB', 1 << 16)
  np.savez_compressed(tmp_path / 'w.npz', bomb=np.zeros(1 << 20))
  np.savez_compressed(tmp_path / 'x.npz', fine=np.arange(1e5) ** 2)
  with pytest.raises(InputError, match=r'would unpack .*bomb'):
    open_file(tmp_path / 'w.npz')
  assert open_file(tmp_path / 'x.npz').tensors['fine'].size == 10**5


def plain(**change) -> dict:
  return {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16], **change}


@pytest.mark.parametrize(
  ('header', 'says'),
  [
    ({'a': plain(), 'b': plain()}, 'invalid offset'),
    ({'a': plain(shape=[2], data_offsets=[0, 8])}, 'not fully covered'),
    ({'a': plain(shape=[2], data_offsets=[8, 16])}, 'invalid offset'),
    ('{"a": 1, "a": 2}', 'not a safetensors header'),
    ('{"a":' + '[' * 10**5 + ']' * 10**5 + '}', 'not a safetensors header'),
    ({'a': plain(shape=[float('inf')])}, 'not a safetensors header'),
    ({'a': plain(shape=[4.0])}, 'not a safetensors header'),
    ({'a': plain(shape='4')}, 'not a safetensors header'),
    ({'a': plain(data_offsets=[0, 16, 20])}, 'not a safetensors header'),
    ({'a': plain(data_offsets=[16])}, 'not a safetensors header'),
    ({'a': plain(shape=[-2, -2])}, 'not a safetensors header'),
    ({'__metadata__': [1], 'a': plain()}, 'not a safetensors header'),
    ({'a\ud800': plain()}, 'not a safetensors header|printable'),
  ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, says):
  raw = (header if isinstance(header, str) else json.dumps(header)).encode()
  path = tmp_path / 'w.safetensors'
  path.write_bytes(struct.pack('<Q', len(raw)) + raw + bytes(16))
  with pytest.raises(InputError, match=says):
    open_file(path)


ENTRY = json.dumps(plain())


@pytest.mark.parametrize(
  ('header', 'key'),
  [
    (f'{{"a": {ENTRY}, "a": {ENTRY}}}', 'a'),
    (f'{{"a": {ENTRY}, "\\u0061": {ENTRY}}}', 'a'),
    (f'{{"a": {ENTRY[:-1]}, "shape": [4]}}}}', 'shape'),
    (f'{{"a": {ENTRY}, "__metadata__": {{"b": "1", "b": "1"}}}}', 'b'),
  ],
)
def test_a_header_with_a_key_twice_is_refused(tmp_path, header, key):
  path = tmp_path / 'w.safetensors'
  raw = header.encode()
  path.write_bytes(struct.pack('<Q', len(raw)) + raw + bytes(16))
  message = rf"not a safetensors header \(it holds '{key}' twice in an object\)"
  with pytest.raises(InputError, match=message):
    open_file(path)


def test_a_header_longer_than_the_file_is_said_to_be(tmp_path):
  path = tmp_path / 'w.safetensors'
  path.write_bytes(struct.pack('<Q', 1 << 62) + b'{}')
  with pytest.raises(InputError, match='header of 4611686018427387904 bytes'):
    open_file(path)


@pytest.mark.parametrize(
  ('content', 'says'),
  [
    (b'\n <HTML>', 'web page'),
    (b'<?xml version="1.0"?>', 'web page'),
    (b'\x1f\x8b\x08', 'unpack it first'),
    (b'PK\x05\x06' + bytes(18), 'of nothing'),
  ],
)
def test_more_that_is_no_weight_file(tmp_path, content, says):
  (tmp_path / 'w').write_bytes(content)
  with pytest.raises(InputError, match=says):
    open_file(tmp_path / 'w')
