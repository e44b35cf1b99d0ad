"""What importing a file costs in memory, beside the size of the file."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from vidmodels import models
from vidmodels.weights import export
from vidmodels.weights.mapping import apply, identify

LARGE = dict(layers=24, width=1024, heads=16)
MEASURED = r"""
import json, re, sys
import jax
from vidmodels.weights import load_weights

def peak():  # ru_maxrss would be the parent's if that is larger
  text = open('/proc/self/status').read()
  return int(re.search(r'VmHWM:\s+(\d+) kB', text)[1]) * 1024

jax.numpy.zeros(1).block_until_ready()
before = peak()
fields = json.loads(sys.argv[3]) or None
imported = load_weights.load_path(*sys.argv[1:3], model=fields)
variables = imported.complete(jax.random.key(0))
print(json.dumps({'before': before, 'peak': peak()}))
"""


def write(path: pathlib.Path, *, name: str, to: str, **fields) -> int:
  """A file of a ViT with random weights; returns its bytes."""
  position = name != 'big_vision'
  model = models.build('vit', classes=1000, class_position=position, **fields)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.random(x.shape, np.float32),
    dict(apply.variable_shapes(model, (1, 224, 224, 3))),
  )
  chosen = next(n for n in identify.list_namings('vit') if n.name == name)
  export.write(
    path, apply.save_variables(chosen.rules(model), variables), to=to
  )
  return path.stat().st_size


def peak_of(path: pathlib.Path, family: str, **fields) -> tuple[int, int]:
  """Peak bytes of a process that imports: before it does, and in all."""
  if not pathlib.Path('/proc/self/status').exists():
    pytest.skip('only Linux says how much memory a process has had')
  given = json.dumps(fields)
  command = [sys.executable, '-c', MEASURED, str(path), family, given]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  said = json.loads(done.stdout.splitlines()[-1])
  return said['before'], said['peak']


LAYOUTS = [
  ('google', 'npz'),
  ('big_vision', 'npz'),
  ('timm', 'safetensors'),
  ('hf', 'safetensors'),
]


@pytest.mark.slow
@pytest.mark.slow_every(2)
@pytest.mark.parametrize(('name', 'to'), LAYOUTS)
def test_a_vit_l_takes_less_than_two_and_a_half_times_its_file(
  tmp_path, name, to
):
  path = tmp_path / f'large.{to}'
  size = write(path, name=name, to=to, **LARGE)
  try:
    assert size > 1.2e9
    for family, fields in (('vit', {}), ('timesformer', LARGE)):
      _, peak = peak_of(path, family, **fields)
      assert peak < 2.5 * size, family
  finally:
    path.unlink()


@pytest.mark.parametrize(
  ('name', 'to'), [('google', 'npz'), ('hf', 'safetensors')]
)
@pytest.mark.slow
def test_a_small_file_is_not_copied_more_often(tmp_path, name, to):
  path = tmp_path / f'small.{to}'
  size = write(path, name=name, to=to, layers=4, width=1024, heads=16)
  assert size > 2e8
  before, peak = peak_of(path, 'vit', layers=4, width=1024, heads=16)
  # What tracing takes does not grow with the file.
  assert peak - before < 2 * size + 1e8
