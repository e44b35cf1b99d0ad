"""Compiled programs are kept where the user wants it, and never in the way."""

import os
import subprocess
import sys

import pytest

from vidmodels.cli import compilation_cache, main


@pytest.fixture
def unset(monkeypatch, tmp_path):
  """No folder is set yet, and JAX is left as it is."""
  monkeypatch.setenv(compilation_cache.VARIABLE, 'x')
  monkeypatch.delenv(compilation_cache.VARIABLE)
  monkeypatch.setattr(compilation_cache, '_tell_jax', lambda place: None)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'caches'))
  return tmp_path


def kept_in() -> str:
  return os.environ.get(compilation_cache.VARIABLE, 'not set')


def test_it_is_on_by_default_in_the_users_cache(unset):
  assert compilation_cache.switch_on() == ''
  folder = unset / 'caches' / 'vidmodels' / 'compiled'
  assert kept_in().startswith(f'{folder}{os.sep}')
  assert os.path.isdir(kept_in())
  assert os.listdir(kept_in()) == []


def test_it_moves_and_it_is_switched_off(unset):
  compilation_cache.switch_on(str(unset / 'shared'))
  assert kept_in().startswith(str(unset / 'shared'))
  compilation_cache.switch_on('off')
  assert kept_in() == ''


def test_a_folder_that_jax_was_given_stays(unset, monkeypatch):
  monkeypatch.setenv(compilation_cache.VARIABLE, '/mine')
  assert compilation_cache.switch_on() == ''
  assert kept_in() == '/mine'


def test_a_folder_that_cannot_be_written_is_a_note(unset, capsys, monkeypatch):
  (unset / 'file').write_text('')
  note = compilation_cache.switch_on(str(unset / 'file' / 'folder'))
  assert 'cannot be written (Not a directory)' in note
  assert 'compiled programs are not kept' in note
  assert kept_in() == 'not set'
  monkeypatch.setenv('XDG_CACHE_HOME', str(unset / 'file'))
  assert main(['train', '--config=none', '--workdir=nowhere']) == 2
  first, *_ = capsys.readouterr().err.splitlines()
  assert first.startswith('vidmodels train: compiled programs are not kept')


def test_a_relative_xdg_folder_counts_as_none(unset, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', 'caches')
  monkeypatch.setenv('HOME', str(unset))
  assert compilation_cache.default_folder() == (
    unset / '.cache' / 'vidmodels' / 'compiled'
  )


PROGRAM = """
import sys
from vidmodels.cli import compilation_cache
compilation_cache.switch_on(sys.argv[1])
import logging, jax
logging.basicConfig(level=logging.DEBUG)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.jit(lambda x: x * 2 + 1).lower(1.0).compile()
"""


@pytest.mark.slow
def test_a_second_process_reads_what_the_first_compiled(tmp_path):
  environment = {
    name: value
    for name, value in os.environ.items()
    if name != compilation_cache.VARIABLE
  }
  runs = [
    subprocess.run(
      [sys.executable, '-c', PROGRAM, str(tmp_path)],
      env=environment,
      capture_output=True,
      text=True,
      check=True,
    ).stderr
    for _ in range(2)
  ]
  hit = 'Persistent compilation cache hit'
  assert [hit in text for text in runs] == [False, True]
