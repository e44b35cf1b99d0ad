"""Every published file at its full size, into every model it is for.

Names and shapes are the files', numbers are zeros that take no memory. The fast
lane takes each file into its own family; here also into the video models that
start from it, and the time of all of them is said. A quarter of the files, or
(long) all of them.
"""

import math
import time

import manifests
import numpy as np
import pytest

from vidmodels import models
from vidmodels.weights import load_weights
from vidmodels.weights.mapping import apply, identify

FRAMES = 32  # of the video models that images start
# Lists of names and not of tensors.
NAMES = ('timesformer_key_pairs_original_to_hf', 'README')


def families(found: identify.Match) -> dict[str, dict]:
  """The models that a file is for: their fields by family, its own first."""
  own, told = found.naming.family, found.guess.model
  wanted = {own: None}
  for family in models.families():
    if own in identify.image_sources(family):
      fields = models.fields(family)
      wanted[family] = {k: v for k, v in told.items() if k in fields}
  return wanted


@pytest.mark.slow
@pytest.mark.parametrize(
  'every', [4, pytest.param(1, marks=pytest.mark.long)], ids=['some', 'all']
)
def test_published_files_enter_every_model_they_are_for(shared, capsys, every):
  folder = shared / 'manifests'
  if not folder.is_dir():
    pytest.skip(f'no lists of published files at {folder}')
  files = sorted(p for p in folder.glob('*.json') if p.stem not in NAMES)
  files = files[::every]
  assert files
  numbers = imports = 0
  started, busy = time.perf_counter(), time.process_time()
  for path in files:
    file = manifests.file(path)
    found = identify.identify(file.tensors)
    assert found, f'no naming fits {path.stem}'
    for family, fields in families(found[0]).items():
      clip = fields and (FRAMES, *found[0].guess.clip[1:3])
      made = load_weights.load_file(file, family, model=fields, clip=clip)
      said = f'{path.stem} into {family}'
      report, target = made.report, apply.flatten_variables(made.target)
      assert {*report.used, *report.dropped} == set(file.tensors), said
      ours = apply.flatten_variables(made.variables)
      assert {*ours, *report.random} == set(target), said
      assert not {*ours} & {*report.random}, said
      for name, array in ours.items():
        assert array.shape == target[name].shape, (said, name)
        assert array.dtype == np.float32, (said, name)
      numbers += sum(math.prod(array.shape) for array in ours.values())
      imports += 1
  seconds = time.perf_counter() - started
  busy = time.process_time() - busy
  assert imports > len(files)  # images start video models too
  with capsys.disabled():
    print(
      f'\n{imports} imports of {len(files)} files, {numbers / 1e9:.1f} billion '
      f'numbers, in {seconds:.0f} s ({busy:.0f} s of CPU)'
    )
