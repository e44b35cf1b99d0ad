"""Every recipe that is published trains, small, as the trainer would train it.

The demo is in the fast lane. The others are slow, and those that are the same
program at this size are trained once.
"""

import dataclasses
import functools

import fake
import jax
import numpy as np
import pytest
import shrink
import sixth

from vidmodels import config as cfg
from vidmodels.cli import main, recipe
from vidmodels.data.records.task import Task
from vidmodels.train import build
from vidmodels.train.mesh import batch_sharding


@functools.cache
def small(name: str) -> cfg.Config:
  return shrink.config(name)


def by_family() -> dict[str, list[str]]:
  """The published recipes of each family."""
  recipes = {}
  for name in shrink.published():
    try:
      family = recipe.load(name).family
    except Exception:  # a recipe that is broken fails its own test
      family = name
    recipes.setdefault(family, []).append(name)
  return recipes


RECIPES = by_family()


def heads_of(config: cfg.Config) -> Task:
  """One class, or one of each group that the model answers apart."""
  sizes = config.model.get('groups', ())
  return Task(heads=tuple((f'head{i}', n) for i, n in enumerate(sizes)))


def labels(task: Task, rng: np.random.Generator) -> np.ndarray:
  """What a random clip of a task's data set has in a batch."""
  K = shrink.CLASSES
  if task.kind == 'single':
    parts = task.parts(K).values()
    return task.row([rng.integers(p.start, p.stop) for p in parts], K)
  some = rng.choice(K, rng.integers(1, K), replace=False)
  return task.row(some.tolist(), K)


def batches(config: cfg.Config, steps: int, task: Task):
  """Random clips, as the pipeline would hand them over."""
  rng, clip = np.random.default_rng(0), config.clip
  for _ in range(steps):
    shape = (config.batch, clip.frames, clip.size, clip.size, 3)
    yield {
      'video': rng.integers(0, 256, shape, np.uint8),
      'label': np.stack([labels(task, rng) for _ in range(config.batch)]),
      'mask': np.ones(config.batch, np.float32),
    }


def quickly(function, *args, **options):
  """Runs a jitted function, compiled in half the time for slow code."""
  made = jax.jit(function, **options).lower(*args)
  return made.compile(compiler_options={'xla_backend_optimization_level': 0})


def train(config: cfg.Config, steps: int = 2, task: Task | None = None):
  """The first weights, the last state, and the losses between."""
  task = task or heads_of(config)
  run = build.build(
    config,
    classes=shrink.CLASSES,
    examples=100 * config.batch,
    task=task,
    devices=jax.devices()[: shrink.SHARDS],
  )
  now = quickly(run.init, out_shardings=run.shardings)()
  first = jax.device_get(now.params)
  update, losses = None, []
  with jax.set_mesh(run.mesh):
    for batch in batches(config, steps, task):
      batch = jax.device_put(batch, batch_sharding(run.mesh))
      update = update or quickly(run.train_step(), now, batch)
      now, pairs = update(now, batch)
      total, rows = pairs['loss']
      assert rows == config.batch
      losses.append(float(total) / float(rows))
  return first, jax.device_get(now), losses


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[] if name == 'demo' else pytest.mark.slow)
    for name, *_ in RECIPES.values()
  ],
)
def test_a_recipe_takes_two_steps(name):
  first, last, losses = train(small(name))
  assert int(last.step) == 2
  assert np.isfinite(losses).all()
  # No class is known yet: a loss far from log K is a broken head or label.
  assert 0.2 * np.log(shrink.CLASSES) < losses[0] < 4 * np.log(shrink.CLASSES)
  for leaf in jax.tree.leaves((last.params, last.model_state, last.opt_state)):
    assert np.isfinite(leaf).all()
  moved = [
    bool((a != b).any())
    for a, b in zip(
      jax.tree.leaves(first), jax.tree.leaves(last.params), strict=True
    )
  ]
  # Some are behind a projection that starts at zero and move a step later.
  assert np.mean(moved) > 0.5


@functools.cache
def other_programs(family: str) -> list[str]:
  """Of a family's recipes one for each program, but for the first recipe's."""
  first, *others = RECIPES[family]
  programs = {shrink.program(small(first)): first}
  for name in others:
    programs.setdefault(shrink.program(small(name)), name)
  return [*programs.values()][1:]


def take_two_steps(names: list[str]) -> None:
  for name in names:
    print(name)  # pytest shows it where a step fails
    test_a_recipe_takes_two_steps(name)


@pytest.mark.slow
@pytest.mark.slow_every(3)
@pytest.mark.parametrize('family', RECIPES)
def test_every_third_recipe_of_a_family_takes_two_steps(family):
  take_two_steps(other_programs(family)[::3])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('family', RECIPES)
def test_the_rest_of_them_take_two_steps(family):
  names = other_programs(family)
  take_two_steps([name for i, name in enumerate(names) if i % 3])


TASKS = (Task(heads=(('verb', 2), ('noun', 3))), Task('multi'), Task('any'))


def kinds_of_labels() -> list:
  """Every kind of label for one recipe, and one for what differs from it.

  A family hands the loss logits of one shape, whatever the labels are. X-ViT
  has heads of its own, for EPIC; Video-FocalNet mixes clips, and DualFormer and
  I3D have statistics beside their parameters.
  """
  pairs = [('demo', task) for task in TASKS]
  pairs += zip(
    ('dualformer', 'i3d', 'video_focalnet'), TASKS[::-1], strict=True
  )
  pairs.append(('xvit:epic100', TASKS[0]))
  return [
    pytest.param(
      name,
      task,
      id=f'{name}-{"heads" if task.heads else task.kind}',
      marks=[] if (name, task) == pairs[0] else [pytest.mark.slow],
    )
    for name, task in pairs
  ]


@pytest.mark.parametrize(('name', 'task'), kinds_of_labels())
def test_every_kind_of_label_trains(name, task):
  config = small(name)
  if task.kind == 'multi':
    plain = dataclasses.replace(config.loss, label_smoothing=0.0)
    config = dataclasses.replace(config, loss=plain)
  first, last, losses = train(config, task=task)
  assert np.isfinite(losses).all()
  at_random = {'single': np.log(2) + np.log(3), 'multi': np.log(2)}
  wanted = at_random.get(task.kind, np.log(shrink.CLASSES))
  assert 0.2 * wanted < losses[0] < 4 * wanted
  moved = jax.tree.map(lambda a, b: (a != b).any(), first, last.params)
  assert np.mean(jax.tree.leaves(moved)) > 0.5


@pytest.mark.slow
def test_every_published_recipe_has_a_legal_small_size():
  # `small` raises for one that has none, and says what to add.
  names = shrink.published()
  assert {small(name).family for name in names} >= {'timesformer', 'i3d'}
  programs = {shrink.program(small(name)) for name in names}
  assert len(names) > len(programs) > 3


@pytest.mark.parametrize('change', ['model', 'loss', 'optimiser'])
def test_recipes_that_differ_are_not_taken_for_the_same_program(change):
  tree = cfg.as_dict(small('timesformer'))
  same = cfg.as_dict(small('timesformer'))
  same['optim']['lr'] = 0.123
  same['model']['drop_path'] = 0.321
  as_program = lambda t: shrink.program(cfg.check(t))
  assert as_program(tree) == as_program(same)
  if change == 'model':
    tree['model']['attention'] = 'joint'
  elif change == 'loss':
    tree['loss']['label_smoothing'] = 0.1
  else:
    tree['optim']['nesterov'] = False
  assert as_program(tree) != as_program(same)


def test_sizes_that_contradict_a_recipe_come_from_a_variant_of_its_kind(
  monkeypatch,
):
  from vidmodels.models import timesformer

  asked = {**small('timesformer').model, 'layers': 12, 'heads': 5}
  monkeypatch.setattr(timesformer, 'TINY', {'layers': 2, 'width': 16})
  with pytest.raises(AssertionError, match=r'give VARIANTS of .*timesformer'):
    shrink.fields('timesformer', asked, 4, 24)
  other = {'attention': 'joint', 'heads': 4}
  right = {'attention': 'divided', 'heads': 2}
  monkeypatch.setattr(timesformer, 'VARIANTS', (other, right))
  found = shrink.fields('timesformer', asked, 4, 24)
  # Sizes of the likest, and what the recipe chose.
  assert (found['attention'], found['heads'], found['layers']) == (
    'divided',
    2,
    2,
  )


def test_a_sixth_family_and_its_recipe_need_no_edit_anywhere(
  tmp_path, monkeypatch, capsys
):
  sixth.add(tmp_path, monkeypatch)
  assert shrink.published() == ['sixth', 'sixth:wide']
  test_a_recipe_takes_two_steps('sixth:wide')
  # And from records on disk to an accuracy, by the commands that users type.
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  workdir = f'--workdir={tmp_path / "run"}'
  data = f'--config.data.dir={records}'
  assert main(['train', '--config=sixth', workdir, data]) == 0
  assert 'trained to step 2' in capsys.readouterr().out
  assert main(['evaluate', workdir]) == 0
  assert '5 of 5 videos, 3 views' in capsys.readouterr().out
