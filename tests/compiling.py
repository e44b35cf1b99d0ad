"""How tests compile what they run: conftest.py says what XLA leaves out."""

import pytest


def share_programs(monkeypatch: pytest.MonkeyPatch) -> None:
  """Lets every `loop.train` of a test with one recipe use the same programs.

  For tests of what a run leaves on disk and finds there: to trace and compile
  the step again for each start is nearly all of their time.
  """
  from vidmodels.train import build, loop, validate

  made: dict = {}

  def once(function, key):
    def cached(*args, **options):
      name = (function, *key(*args, **options))
      if name not in made:
        made[name] = function(*args, **options)
      return made[name]

    return cached

  def recipe(config, records, **options):
    return repr(config), len(records), records.classes.names, repr(options)

  monkeypatch.setattr(loop, 'build_for', once(loop.build_for, recipe))
  of_run = lambda run, *_, **__: (id(run),)
  for owner, name in (
    (build.TrainingRun, 'train_step_that_fits'),
    (validate, 'make_validation'),
  ):
    monkeypatch.setattr(owner, name, once(getattr(owner, name), of_run))
