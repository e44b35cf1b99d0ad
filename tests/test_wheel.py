"""A wheel works where the checkout is not."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from vidmodels.analysis import paper_rows
from vidmodels.cli import recipe

REPO = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_a_wheel_holds_the_recipes_and_runs_elsewhere(tmp_path):
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
  subprocess.run(
    [*pip, 'wheel', '-q', '--no-deps', '-w', tmp_path / 'dist', REPO],
    check=True,
  )
  (wheel,) = (tmp_path / 'dist').glob('*.whl')
  target = tmp_path / 'site'
  subprocess.run(
    [*pip, 'install', '-q', '--no-deps', '--target', target, wheel], check=True
  )
  code = (
    'import vidmodels; from vidmodels.cli import recipe; '
    "config = recipe.load('timesformer:long,ssv2'); "
    'print(vidmodels.__file__, config.clip.frames, *recipe.names())'
  )

  def run(*argv: str) -> str:
    return subprocess.run(
      [sys.executable, *argv],
      check=True,
      cwd=tmp_path,
      env=os.environ | {'PYTHONPATH': str(target)},
      stdout=subprocess.PIPE,
      text=True,
    ).stdout

  package = str(target / 'vidmodels/__init__.py')
  assert run('-c', code).split() == [package, '64', *recipe.names()]
  listed = run('-m', 'vidmodels.experiments.run', '--list', '--json')
  names = [table['name'] for table in json.loads(listed)['tables']]
  assert names == list(paper_rows.all_tables())
  assert (target / 'vidmodels/experiments/launch/slurm.sbatch').is_file()
