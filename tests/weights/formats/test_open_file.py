"""Weight files: every container, and what a hostile or broken one does."""

import collections
import io
import json
import os
import pathlib
import pickle
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from vidmodels.typing import InputError
from vidmodels.weights.formats import pth
from vidmodels.weights.formats.open_file import open_file

ARRAYS = {
  'a.weight': np.arange(12, dtype=np.float32).reshape(3, 4),
  'a.bias': np.array(2.5, np.float32),
  'b': np.arange(6, dtype=np.int64)[::-1].copy(),
  'half': np.array([1, -2.5], np.float16),
  'bf': np.array([1, -3], ml_dtypes.bfloat16),
  'none': np.zeros((0, 3), np.float32),
}


def same(tensors, arrays=ARRAYS) -> None:
  assert set(tensors) == set(arrays)
  for key, array in arrays.items():
    assert tensors.specs[key] == (array.shape, array.dtype), key
    np.testing.assert_array_equal(tensors[key], array, err_msg=key)
    assert tensors[key].dtype == array.dtype


@pytest.fixture
def torch():
  return pytest.importorskip('torch', reason='torch is not installed')


@pytest.fixture
def state(torch):
  """ARRAYS as torch tensors."""
  bfloat16 = ml_dtypes.bfloat16
  return collections.OrderedDict(
    (key, torch.tensor(array.astype(np.float32)).bfloat16())
    if array.dtype == bfloat16
    else (key, torch.tensor(array))
    for key, array in ARRAYS.items()
  )


def write_safetensors(path: pathlib.Path, arrays=ARRAYS, **entry):
  names = {'float32': 'F32', 'int64': 'I64', 'float16': 'F16'}
  header, data = {'__metadata__': {'format': 'pt'}}, b''
  for key, array in arrays.items():
    start, data = len(data), data + array.tobytes()
    header[key] = {
      'dtype': names.get(str(array.dtype), 'BF16'),
      'shape': array.shape,
      'data_offsets': [start, len(data)],
      **entry,
    }
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + data)
  return path


def test_npz_also_of_bfloat16_that_numpy_stores_as_void(tmp_path):
  for save in (np.savez, np.savez_compressed):
    save(tmp_path / 'w.npz', **ARRAYS)
    file = open_file(tmp_path / 'w.npz')
    assert file.container == 'npz'
    same(file.tensors)


def test_safetensors_with_their_notes(tmp_path):
  file = open_file(write_safetensors(tmp_path / 'w.bin'))
  assert (file.container, file.others) == ('safetensors', {'format': 'pt'})
  same(file.tensors)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
  ('wrap', 'under'),
  [
    (lambda s: s, ()),
    (lambda s: {'model': s, 'epoch': 3}, ('model',)),
    (
      lambda s: {'model': {'state_dict': s}, 'epoch': 3},
      ('model', 'state_dict'),
    ),
    (lambda s: {'model_state': dict(s), 'epoch': 3}, ('model_state',)),
  ],
)
def test_pth_is_what_torch_wrote(torch, state, tmp_path, legacy, wrap, under):
  path = tmp_path / 'w.pth'
  torch.save(wrap(state), path, _use_new_zipfile_serialization=not legacy)
  file = open_file(path)
  assert file.container == ('pth (legacy)' if legacy else 'pth')
  assert file.under == under
  assert file.others == ({'epoch': 3} if under else {})
  same(file.tensors)


@pytest.mark.parametrize('legacy', [False, True])
def test_pth_with_views_shared_storages_and_parameters(torch, tmp_path, legacy):
  whole = torch.arange(24.0).reshape(4, 6)
  tensors = {
    'whole': whole,
    'turned': whole.T,
    'part': whole[1:3, ::2],
    'again': whole,
    'parameter': torch.nn.Parameter(whole[2]),
    'buffer': torch.nn.Buffer(whole[3]),
  }
  path = tmp_path / 'w.pth'
  torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
  found = open_file(path).tensors
  for key, tensor in tensors.items():
    np.testing.assert_array_equal(found[key], tensor.detach().numpy())
  assert not found['whole'].flags.writeable


def test_a_module_s_state_an_optimiser_and_a_config_open_without_their_classes(
  torch, tmp_path, monkeypatch
):
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / 'gone_module.py').write_text(
    'class CfgNode(dict):\n  def __init__(self, d=()):\n'
    '    super().__init__(d); self.frozen = True\n'
  )
  import gone_module

  layer = torch.nn.BatchNorm1d(3)
  optimizer = torch.optim.AdamW(layer.parameters())
  layer(torch.randn(4, 3)).sum().backward()
  optimizer.step()
  path = tmp_path / 'run.pth'
  everything = {
    'model': layer.state_dict(),
    'optimizer': optimizer.state_dict(),
    'config': gone_module.CfgNode({'a': gone_module.CfgNode({'b': 1})}),
    'best': np.float64(0.5),
    'path': pathlib.PurePosixPath('x'),
    'cfg': 'TRAIN:\n  x: 1',
  }
  torch.save(everything, path)
  monkeypatch.delitem(__import__('sys').modules, 'gone_module')
  (tmp_path / 'gone_module.py').unlink()
  file = open_file(path)
  assert set(file.tensors) == set(layer.state_dict())
  np.testing.assert_array_equal(
    file.tensors['running_var'], layer.running_var.numpy()
  )
  assert file.others['config'] == 'object of gone_module.CfgNode'
  assert file.others['cfg'] == 'TRAIN:\n  x: 1'
  assert file.others['optimizer'] == 'dict of 2'


class Bomb:
  """Pickles into a call of any function."""

  def __init__(self, call, *args):
    self.call, self.args = call, args

  def __reduce__(self):
    return self.call, self.args


def zipped(path: pathlib.Path, pkl: bytes, **members: bytes) -> pathlib.Path:
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('w/data.pkl', pkl)
    for name, data in members.items():
      archive.writestr(f'w/data/{name}', data)
  return path


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
  'call',
  [
    lambda flag: Bomb(os.system, f'touch {flag}'),
    lambda flag: Bomb(eval, f'open({str(flag)!r}, "w")'),
    lambda flag: Bomb(open, str(flag), 'w'),
    lambda flag: Bomb(getattr, Bomb(eval, '__import__("os")'), 'system'),
  ],
)
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, call, legacy):
  flag = tmp_path / 'ran'
  pkl = pickle.dumps({'state_dict': {}, 'x': call(flag)}, protocol=2)
  if legacy:
    first = b''.join(pickle.dumps(v, 2) for v in (pth_magic(), 1001, {}))
    path = tmp_path / 'w.pth'
    path.write_bytes(first + pkl + pickle.dumps([], 2))
  else:
    path = zipped(tmp_path / 'w.pth', pkl)
  with pytest.raises(InputError, match='no tensors'):
    open_file(path)
  assert not flag.exists()


def pth_magic() -> int:
  return pickle.load(io.BytesIO(pth.LEGACY))


def test_what_a_pickle_uses_it_cannot_change(tmp_path):
  # BUILD would set attributes of the very function that rebuilds tensors.
  pkl = (
    b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x06\x00\x00\x00originX'
    b'\x03\x00\x00\x00badsb.'
  )
  with pytest.raises(InputError):
    open_file(zipped(tmp_path / 'w.pth', pkl))
  assert not hasattr(pth.KNOWN['torch._utils', '_rebuild_tensor_v2'], 'origin')


def of_storage(torch, tmp_path, change) -> pathlib.Path:
  """A good file with its members changed."""
  good, bad = tmp_path / 'good.pth', tmp_path / 'bad.pth'
  torch.save({'w': torch.arange(8.0)}, good)
  with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, 'w') as new:
    for info in old.infolist():
      change(new, info, old.read(info))
  return bad


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (
      lambda new, info, data: new.writestr(
        info.filename, data[:-4] if '/data/' in info.filename else data
      ),
      'has 28 bytes of 32',
    ),
    (
      lambda new, info, data: (
        '/data/' in info.filename or new.writestr(info.filename, data)
      ),
      'data/0 is missing',
    ),
    (
      lambda new, info, data: new.writestr(
        info.filename, data, zipfile.ZIP_DEFLATED
      ),
      'is compressed',
    ),
    (
      lambda new, info, data: new.writestr(
        info.filename, data[:20] if 'data.pkl' in info.filename else data
      ),
      'cut short',
    ),
    (
      lambda new, info, data: new.writestr(
        info.filename, b'big' if 'byteorder' in info.filename else data
      ),
      'big-endian',
    ),
  ],
)
def test_a_torch_file_with_broken_members_is_refused(
  torch, tmp_path, change, says
):
  with pytest.raises(InputError, match=says):
    open_file(of_storage(torch, tmp_path, change)).tensors['w']


@pytest.mark.parametrize('legacy', [False, True])
def test_a_file_that_is_cut_short_anywhere_is_refused(
  torch, state, tmp_path, legacy
):
  path = tmp_path / 'w.pth'
  torch.save(state, path, _use_new_zipfile_serialization=not legacy)
  whole = path.read_bytes()
  for size in range(0, len(whole) - 1, len(whole) // 23):
    path.write_bytes(whole[:size])
    with pytest.raises(InputError):
      same(open_file(path).tensors)


def test_a_memo_place_of_gigabytes_is_refused(tmp_path):
  pkl = b'\x80\x02}r\xff\xff\xff\x7f.'
  with pytest.raises(InputError, match='memo place'):
    open_file(zipped(tmp_path / 'w.pth', pkl))


@pytest.mark.parametrize(
  ('content', 'says'),
  [
    (b'', 'is empty'),
    (b'<!DOCTYPE html><html>', 'web page'),
    (b'\x89HDF\r\n\x1a\n', 'HDF5'),
    (b'version https://git-lfs', 'Git LFS'),
    (pickle.dumps({'a': 1}), 'plain pickle'),
    (b'PK\x03\x04 and then nothing', 'cut short or damaged'),
    (b'something else entirely', 'no weight file'),
    (struct.pack('<Q', 9) + b'{"a": 1}!', 'not a safetensors header'),
    (struct.pack('<Q', 2) + b'{}', 'holds no tensors'),
  ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, says):
  path = tmp_path / 'w.pth'
  path.write_bytes(content)
  with pytest.raises(InputError, match=says):
    open_file(path)


def test_safetensors_outside_their_file_are_refused(tmp_path):
  path = write_safetensors(tmp_path / 'w.safetensors')
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(InputError, match=r'cut short'):
    open_file(path)
  one = {'w': np.zeros(4, np.float32)}
  for entry in (
    {'shape': [1 << 40]},
    {'data_offsets': [-16, 0]},
    {'shape': [-4]},
    {'dtype': 'F128'},
  ):
    with pytest.raises(InputError):
      open_file(write_safetensors(path, one, **entry))


def test_npz_of_objects_or_of_another_size_is_refused_by_name(tmp_path):
  path = tmp_path / 'w.npz'
  np.savez(path, a=np.array([{}], object))
  with pytest.raises(InputError, match='could run code'):
    open_file(path)
  good = io.BytesIO()
  np.lib.format.write_array(good, np.zeros(4))
  for data in (good.getvalue()[:-8], good.getvalue() + b'x', b'no array'):
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('deep/kernel.npy', data)
    with pytest.raises(InputError, match=r'deep/kernel\.npy'):
      open_file(path)


def npy(header: bytes, data: bytes = b'', version: bytes = b'\1\0') -> bytes:
  length = struct.pack('<H' if version == b'\1\0' else '<I', len(header))
  return b'\x93NUMPY' + version + length + header + data


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': "


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
  path = tmp_path / 'w.npz'
  one = npy(f'{FLOATS}(17500000,)}}'.encode(), bytes(70_000_000))
  many = npy(f'{FLOATS}(1000000,)}}'.encode(), bytes(4_000_000))
  long = npy(b' ' * 100_000_000, version=b'\2\0')
  for members, says in (
    ({'bomb': one}, 'would unpack from'),
    ({f'part{k}': many for k in range(18)}, 'would unpack from'),
    ({'long': long[:1_000_000]}, 'its header claims 100,000,000 bytes'),
  ):
    with zipfile.ZipFile(
      path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1
    ) as archive:
      for name, data in members.items():
        archive.writestr(f'{name}.npy', data)
    assert path.stat().st_size < 1 << 19
    tracemalloc.start()
    with pytest.raises(InputError, match=says) as error:
      open_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22, says
    assert 'allow_pickle' not in str(error.value)


@pytest.mark.parametrize('length', [1 << 25, 9 << 30, 99 << 30])
def test_a_header_of_gigabytes_of_nothing_is_not_read(tmp_path, length):
  path = tmp_path / 'w.safetensors'
  with open(path, 'wb') as file:  # sparse: it takes no disk
    file.write(struct.pack('<Q', length) + b'{')
    file.truncate(10 << 30)
  tracemalloc.start()
  with pytest.raises(InputError, match=f'header of {length:,}? bytes|expected'):
    open_file(path)
  assert tracemalloc.get_traced_memory()[1] < 1 << 22
  tracemalloc.stop()


def test_a_pickle_that_claims_gigabytes_is_not_read(tmp_path):
  path = tmp_path / 'w.pth'
  for code, form, size in ((b'B', '<I', 1 << 31), (b'\x8e', '<Q', 1 << 62)):
    with open(path, 'wb') as file:
      file.write(pth.LEGACY + code + struct.pack(form, size))
      file.truncate(10 << 30)
    tracemalloc.start()
    with pytest.raises(InputError, match='damaged'):
      open_file(path)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


def test_the_hash_is_of_the_whole_file(tmp_path):
  import hashlib

  path = write_safetensors(tmp_path / 'w.safetensors')
  wanted = hashlib.sha256(path.read_bytes()).hexdigest()
  assert open_file(path).sha256() == wanted


# --- Averaged weights beside the plain ones


@pytest.mark.parametrize(
  ('plain', 'averaged'),
  [('state_dict', 'state_dict_ema'), ('model', 'model_ema')],
)
@pytest.mark.parametrize('legacy', [False, True])
def test_averaged_weights_are_read_when_asked_for_and_else_said_to_be_there(
  torch, tmp_path, plain, averaged, legacy
):
  both = {
    averaged: {'w': torch.full((3,), 2.0)},
    plain: {'w': torch.full((3,), 1.0)},
    'epoch': 7,
  }
  path = tmp_path / 'w.pth'
  torch.save(both, path, _use_new_zipfile_serialization=not legacy)
  file = open_file(path)
  assert (file.under, file.tensors['w'][0]) == ((plain,), 1)
  (note,) = file.notes
  assert f'{path}#{averaged}' in note
  asked = open_file(f'{path}#{averaged}')
  assert (asked.under, asked.tensors['w'][0]) == ((averaged,), 2)
  assert asked.notes == (f'averaged weights were read: {averaged}',)
  assert (asked.path, asked.others[plain]) == (path, 'dict of 1')
  with pytest.raises(InputError, match=f"under 'ema'; its names: .*{averaged}"):
    open_file(f'{path}#ema')


def test_averaged_weights_alone_are_read(torch, tmp_path):
  path = tmp_path / 'w.pth'
  torch.save({'model_ema': {'module': {'w': torch.ones(2)}}}, path)
  file = open_file(path)
  assert file.under == ('model_ema', 'module')
  assert file.notes == ('averaged weights were read: model_ema',)


def test_a_file_with_a_hash_in_its_name_is_itself(tmp_path):
  path = tmp_path / 'w.npz#1'
  with open(path, 'wb') as file:
    np.savez(file, w=np.ones(2))
  assert open_file(path).tensors['w'].shape == (2,)
  assert open_file(path).notes == ()
  with pytest.raises(InputError, match="no tensors under '2'"):
    open_file(f'{path}#2')
  with pytest.raises(InputError, match='is no file'):
    open_file(tmp_path / 'none#2')
