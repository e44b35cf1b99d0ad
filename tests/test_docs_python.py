"""Every Python block of README and docs runs as it stands."""

import pathlib
import re

import fake
import made_run
import numpy as np
import pytest

from vidmodels import models
from vidmodels.cli import recipe
from vidmodels.train import model_file, restore
from vidmodels.weights import export
from vidmodels.weights.mapping import apply

REPO = pathlib.Path(__file__).resolve().parent.parent
PAGES = [REPO / 'README.md', *sorted((REPO / 'docs').glob('*.md'))]
# What a page's models are cut to; nothing else of a block is changed.
SMALL = [
  '--config.clip.frames=4',
  '--config.clip.size=16',
  '--config.augment.short_side=(16, 18)',
  *('--config.model.width=16', '--config.model.layers=2'),
  *('--config.model.heads=2', '--config.model.patch=8'),
]


def blocks() -> list:
  """Every Python block, with its page; those that build models are slow."""
  found = []
  for page in PAGES:
    code = re.findall(r'^```python\n(.*?)^```', page.read_text(), re.S | re.M)
    for n, text in enumerate(code):
      slow = [pytest.mark.slow] if 'models.build(' in text else []
      found.append(pytest.param(text, id=f'{page.stem}-{n}', marks=slow))
  return found


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  """Stand-ins for the files that the pages name."""
  folder = tmp_path_factory.mktemp('docs')
  run = made_run.write(folder / 'runs/first', model__patch=8)
  fake.video(folder / 'clip.mp4', frames=25)
  trained = restore.load(run)
  model_file.save(trained, folder / 'first.safetensors')
  # A container is told by its first bytes, whatever a file is called.
  model_file.save(trained, folder / 'TimeSformer_K400.pyth', to='npz')
  fields = {'width': 16, 'layers': 2, 'heads': 2, 'patch': 8}
  image = models.build('vit', classes=10, **fields)
  shapes = apply.variable_shapes(image, (1, 16, 16, 3))
  _, state = export.name_tensors(
    'vit', image, made_run.draw(shapes, 1), name='google'
  )
  export.write(folder / 'B_16.npz', state, to='npz')
  return folder


@pytest.mark.filterwarnings('ignore:B_16.npz does not fill:UserWarning')
@pytest.mark.parametrize('code', blocks())
def test_a_python_block_runs(folder, monkeypatch, code):
  monkeypatch.chdir(folder)
  whole = recipe.load
  monkeypatch.setattr(
    recipe, 'load', lambda name, more=(): whole(name, [*SMALL, *more])
  )
  names: dict = {}
  exec(compile(code, 'block', 'exec'), names)
  # What a block computes are numbers.
  for name, value in names.items():
    if name.endswith(('_BK', '_VK', '_BD', '_VD')):
      assert np.isfinite(np.asarray(value)).all(), name


def test_the_pages_have_blocks():
  assert len(blocks()) >= 6
