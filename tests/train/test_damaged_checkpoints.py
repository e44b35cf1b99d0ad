"""A damaged checkpoint is never restored as if it were whole."""

import json
import pathlib
import shutil

import fake
import jax
import jax.numpy as jnp
import json_edits
import numpy as np
import pytest
import tiny
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidmodels.cli import main
from vidmodels.train import checksums, loop, restore
from vidmodels.train.checkpoint import Checkpoints, DamagedCheckpoint
from vidmodels.typing import InputError

CHANGES = dict(model__layers=1, checkpoint__keep=3)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp('records')
  fake.write(folder, 'test', videos=4)
  return fake.write(folder)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, records):
  """A run with the checkpoints 2, 4 and 6."""
  workdir = tmp_path_factory.mktemp('unbroken')
  loop.train(tiny.config(records, **CHANGES), workdir)
  return workdir


def content(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files that hold the numbers or the text of an item."""
  return sorted([*folder.rglob('d/*'), *folder.glob('metadata')])


def flip_a_bit(path: pathlib.Path, place: float = 0.5, bit: int = 0) -> None:
  data = bytearray(path.read_bytes())
  data[int(place * len(data))] ^= 1 << bit
  path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def digest(workdir: pathlib.Path) -> dict[str, int]:
  return Checkpoints(workdir).read_json(6, 'checksums')


@pytest.mark.parametrize('harm', [flip_a_bit, cut, pathlib.Path.unlink])
@pytest.mark.parametrize('item', ['params', 'opt', 'data', 'meta'])
@pytest.mark.fast_every(4)
def test_training_goes_on_from_the_newest_whole_one(
  tmp_path, records, unbroken, item, harm
):
  workdir = tmp_path / 'run'
  shutil.copytree(unbroken, workdir)
  if item in ('data', 'meta') and harm is flip_a_bit:
    harm = cut  # a flipped bit of a text may leave it a text
  for path in content(workdir / 'checkpoints' / '6' / item):
    harm(path)
  lines = []
  config = tiny.config(records, **CHANGES)
  loop.train(config, workdir, progress=lambda *line: lines.append(line[2]))
  (said,) = (line for line in lines if 'damaged' in line)
  assert said.startswith('checkpoint 6 is damaged (')
  assert item in said
  assert f'moved to {workdir / "damaged" / "6"}' in said
  assert 'resumed from checkpoint 4' in lines
  assert (workdir / 'damaged' / '6').is_dir()
  # The steps that were lost were made again, with the same bits.
  assert digest(workdir) == digest(unbroken)


def test_a_damaged_one_before_the_newest_is_not_called_whole(
  tmp_path, records, unbroken
):
  workdir = tmp_path / 'run'
  shutil.copytree(unbroken, workdir)
  for step in ('6', '4'):
    for path in content(workdir / 'checkpoints' / step / 'params'):
      flip_a_bit(path)
  with pytest.raises(DamagedCheckpoint, match='whole one before it is 2;'):
    restore.load(workdir, weights='params')


def test_the_only_checkpoint_is_an_error_and_stays(
  tmp_path, records, unbroken, capsys
):
  workdir = tmp_path / 'run'
  shutil.copytree(unbroken, workdir)
  for step in ('2', '4'):
    shutil.rmtree(workdir / 'checkpoints' / step)
  for path in content(workdir / 'checkpoints/6/params'):
    flip_a_bit(path)
  with pytest.raises(DamagedCheckpoint, match='no older one is whole'):
    loop.train(tiny.config(records, **CHANGES), workdir)
  assert (workdir / 'checkpoints/6').is_dir()
  argv = ['evaluate', '--workdir', str(workdir), '--weights', 'params']
  assert main(argv) == 2
  error = capsys.readouterr().err
  assert 'which is damaged' in error
  assert 'Traceback' not in error


@pytest.mark.parametrize(
  ('flips', 'wanted'), [(20, 20), pytest.param(500, 4, marks=pytest.mark.slow)]
)
def test_no_flipped_bit_is_restored_in_silence(
  tmp_path, unbroken, flips, wanted
):
  """Orbax finds damage of its own records; the numbers have checksums alone.

  Flips until `wanted` were found by their checksum, at most `flips` times. Most
  bytes are not read, and how many are differs from save to save: of 80 flips
  checksums found 1 to 13.
  """
  workdir, rng = tmp_path / 'run', np.random.default_rng(2)
  # Alone, since every refusal looks whether an older one is whole.
  shutil.copytree(unbroken / 'checkpoints/6', workdir / 'checkpoints/6')
  whole = jax.tree.leaves(restore.load(workdir, weights='params').params)
  files, found = content(workdir / 'checkpoints/6/params'), {}
  for _ in range(flips):
    path = files[rng.integers(len(files))]
    before = path.read_bytes()
    flip_a_bit(path, rng.random(), int(rng.integers(8)))
    try:
      tree = restore.load(workdir, weights='params').params
    except DamagedCheckpoint as error:
      by = 'checksum' if 'its checksum' in str(error) else 'orbax'
    else:
      by = 'not read'
      for ours, theirs in zip(jax.tree.leaves(tree), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found[by] = found.get(by, 0) + 1
    path.write_bytes(before)
    if found.get('checksum') == wanted:
      break
  assert found.get('checksum') == wanted or flips == 20, found


def test_checkpoints_without_checksums_are_read(tmp_path, records, unbroken):
  workdir = tmp_path / 'run'
  shutil.copytree(unbroken, workdir)
  for step in ('2', '4', '6'):
    shutil.rmtree(workdir / 'checkpoints' / step / 'checksums')
  assert restore.load(workdir).step == 6


def test_every_flipped_bit_changes_the_checksum():
  rng = np.random.default_rng(0)
  for dtype in ('float32', 'bfloat16', 'int32', 'uint8', 'bool'):
    array = np.asarray(jnp.asarray(rng.integers(0, 2, 37), dtype))
    before = checksums.checksum(array)
    for _ in range(200):
      bytes_ = bytearray(array.tobytes())
      bit = int(rng.integers(1 if dtype == 'bool' else 8))
      place = int(rng.integers(len(bytes_)))
      bytes_[place] ^= 1 << bit
      flipped = np.frombuffer(bytes(bytes_), array.dtype)
      assert checksums.checksum(flipped) != before, dtype


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'uint32', 'bool'])
def test_the_checksum_does_not_depend_on_the_mesh(dtype):
  rng = np.random.default_rng(1)
  array = jnp.asarray(rng.integers(0, 2, (8, 6, 5)) * 3, dtype)
  whole = checksums.checksum(array)
  assert int(checksums._device_checksum(array)) == whole
  mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ('a', 'b'))
  for spec in (PartitionSpec('a'), PartitionSpec('b', None), PartitionSpec()):
    split = jax.device_put(array, NamedSharding(mesh, spec))
    assert int(checksums._device_checksum(split)) == whole
    assert checksums.checksum(split) == whole
  assert checksums.checksum(array[::-1]) != whole


def test_blocks_are_one_sum(monkeypatch):
  array = np.arange(1000, dtype=np.float32)
  whole = checksums.checksum(array)
  monkeypatch.setattr(checksums, '_BLOCK', 7)
  assert checksums.checksum(array) == whole


def test_a_folder_of_imported_weights_is_no_run(tmp_path, records, unbroken):
  folder = tmp_path / 'imported'
  shutil.copytree(unbroken / 'checkpoints/6', folder / 'checkpoints/0')
  for item in ('data', 'opt'):
    shutil.rmtree(folder / 'checkpoints/0' / item)
  path = folder / 'checkpoints/0/meta/metadata'
  path.write_text(json.dumps({**json.loads(path.read_text()), 'source': {}}))
  with pytest.raises(InputError, match='weights import` made'):
    loop.train(tiny.config(records, **CHANGES), folder)


@pytest.mark.parametrize('item', ['meta', 'data', 'checksums'])
def test_metadata_of_a_stranger_is_read_or_refused_in_one_message(
  tmp_path, unbroken, item
):
  checkpoint = tmp_path / 'run/checkpoints/6'
  # Alone, since every refusal looks whether an older one is whole.
  shutil.copytree(unbroken / 'checkpoints/6', checkpoint)
  path, read = checkpoint / item / 'metadata', 0
  saved = Checkpoints(tmp_path / 'run')
  for place, text in json_edits.sample(json.loads(path.read_text()), 350):
    path.write_text(text)
    with json_edits.one_message(place):
      value = saved.read_json(6, item)
      if item == 'meta':
        restore.check_meta(value, checkpoint)
      read += 1
  assert 10 < read < 200, 'some edits change nothing that is read, not most'


@pytest.mark.parametrize(
  ('field', 'value', 'says'),
  [
    ('classes', [1, 2, 3], 'expected a str'),
    ('fps', '25', "got str '25' for fps of meta"),
    ('fps', 1e9, 'expected from 0 to 1000'),
    ('task', {'kind': 'single', 'heads': [['verb', 10**9]]}, 'heads'),
    ('task', 'single', 'expected a dict'),
    ('config', {'model': {'layers': 10**9}}, 'expected at most 1,000'),
    ('config', {'model': {'heads': 10**9}}, 'expected at most 65,536'),
    ('config', {'model': {'mlp_ratio': 1e-9}}, 'expected at least 0.01'),
    ('config', {'clip': {'frames': 10**9}}, 'at most 8192'),
  ],
)  # fmt: skip
def test_a_workdir_of_a_stranger_ends_in_code_2(
  tmp_path, unbroken, capsys, field, value, says
):
  shutil.copytree(unbroken / 'checkpoints/6', tmp_path / 'checkpoints/6')
  path = tmp_path / 'checkpoints/6/meta/metadata'
  meta = json.loads(path.read_text())
  if field == 'config':
    meta['config'] |= {'model': {}} | value
    value = meta['config']
  path.write_text(json.dumps({**meta, field: value}))
  assert main(['predict', 'a.mp4', '--workdir', str(tmp_path)]) == 2
  error = capsys.readouterr().err
  assert says in error
  assert len(error.splitlines()) == 1
