"""A plan is of the very step that is trained; a search compiles little."""

import dataclasses

import jax
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.analysis import chips, compiled_program
from vidmodels.analysis.compiled_program import Traffic, Work
from vidmodels.data.records.task import Task
from vidmodels.train import plan_search, planner, step_plan, topology
from vidmodels.train.build import build
from vidmodels.typing import InputError

SIZES = {'classes': 5, 'examples': 80}
HERE = topology.parse('local')


def recipe(**changes) -> cfg.Config:
  return tiny.config('nowhere', **changes)


@pytest.fixture(scope='module')
def plans():
  """On eight data devices, and with the weights split over eight."""
  make = lambda **changes: step_plan.make(
    recipe(model__layers=1, **changes), HERE, jax.devices(), **SIZES
  )
  return make(), make(mesh__data=1, mesh__fsdp=8)


def test_a_plan_is_of_the_step_that_is_trained(plans):
  plan, _ = plans
  run = build(recipe(model__layers=1), **SIZES)
  program = run.lower_step().compile()
  used = compiled_program.memory(program)
  assert plan.memory_bytes == used.total
  assert plan.temporary_bytes == used.temporary
  assert plan.collectives == compiled_program.collectives(program)
  parameters = jax.tree.leaves(run.abstract.params)
  assert plan.parameter_bytes == 4 * sum(leaf.size for leaf in parameters)
  assert (plan.devices, plan.chips, plan.batch) == (8, 8, 8)
  assert plan.steps == run.total


def test_the_flops_of_a_step_are_those_of_its_model(plans):
  """A device has one clip; the gradient of the video is not taken."""
  for plan in plans:
    assert plan.flops == pytest.approx(plan.model_flops, rel=0.02)
    whole = step_plan.step_flops(recipe(model__layers=1), classes=5)
    assert plan.model_flops == pytest.approx(whole / 8, rel=0.15)


def test_split_weights_are_gathered_and_take_less_memory(plans):
  data, fsdp = plans
  assert set(data.collectives) == {'all-reduce'}
  assert data.collectives['all-reduce'].bytes >= data.parameter_bytes
  assert 'all-gather' in fsdp.collectives
  assert fsdp.argument_bytes < data.argument_bytes / 2
  assert fsdp.parameter_bytes == data.parameter_bytes


def test_a_cpu_has_memory_and_no_estimated_time(plans):
  plan, _ = plans
  assert plan.fits
  assert plan.memory_bytes < plan.hbm_bytes
  assert plan.estimated_step_s is plan.mfu is plan.estimated_hours is None
  assert step_plan.cost(plan, 2.0) is None
  assert plan.notes == ('no published figures of cpu: no time is estimated',)


def test_json_has_the_fields_that_are_promised(plans):
  tree = plans[0].as_json()
  assert {
    *('chips', 'memory_bytes', 'hbm_bytes', 'fits', 'flops'),
    *('bytes_accessed', 'parameter_bytes', 'collectives'),
    'estimated_step_s',
  } <= set(tree)
  assert set(tree['collectives']['all-reduce']) == {'count', 'bytes'}


def test_time_is_the_longest_of_three_at_the_published_peaks():
  chip = chips.find('v5e')
  work = Work(flops=int(197e12), bytes_accessed=int(2 * 819e9))
  traffic = {'all-reduce': Traffic(1, 1, int(100e9))}
  seconds = step_plan.least_seconds(chip, work, traffic)
  assert seconds == pytest.approx({'compute': 1, 'memory': 2, 'network': 0.5})


@pytest.mark.slow
def test_a_step_with_other_labels_is_planned_too():
  task = Task(heads=(('verb', 3), ('noun', 4)))
  plan = step_plan.make(
    recipe(model__layers=1),
    HERE,
    jax.devices()[:1],
    **{'classes': 7, 'examples': 80, 'task': task},
  )
  assert plan.fits
  assert plan.collectives == {}


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'batch': 12}, 'a batch of 12 clips does not divide'),
    ({'mesh__data': 3}, 'needs 3 devices and 8 are here'),
    ({'loss__teacher': 'runs/teacher'}, 'expected a recipe without a teacher'),
  ],
)
def test_what_does_not_divide_is_refused_before_compiling(changes, words):
  config = recipe(**changes)
  with pytest.raises(InputError, match=words):
    step_plan.make(config, HERE, jax.devices(), **SIZES)


def plan_like(config: cfg.Config, *, memory: int, hbm: int) -> step_plan.Plan:
  sizes = {
    axis: getattr(config.mesh, axis, 1)
    for axis in ('data', 'fsdp', 'context', 'tensor')
  }
  mesh = {a: n for a, n in sizes.items() if a != 'context' or n > 1}
  unknown = dict.fromkeys(
    ('argument_bytes', 'temporary_bytes', 'flops', 'bytes_accessed')
  ) | dict.fromkeys(
    ('collectives', 'estimated_step_s', 'bound', 'seconds', 'mfu')
  )
  return step_plan.Plan(
    topology='v5e:4x4',
    device='TPU v5 lite',
    chips=16,
    devices=16,
    mesh=mesh,
    batch=config.batch,
    accumulate=config.accumulate,
    remat=config.model['remat'],
    scan=False,
    memory_bytes=memory,
    hbm_bytes=hbm,
    fits=memory <= hbm,
    model_flops=1,
    parameter_bytes=40,
    steps=1,
    estimated_hours=None,
    compile_s=0.0,
    **unknown,
  )


def search(*, batch: int, hbm: int, state: int = 100, bend: float = 0.0):
  """A search on 16 chips; a clip takes 30, or 10 if it is recomputed."""

  def make(config: cfg.Config) -> step_plan.Plan:
    mesh = config.mesh
    rows = config.batch // (mesh.data * mesh.fsdp)
    lean = config.model['remat'] not in (False, 'none')
    weights = state // mesh.fsdp
    memory = weights + (10 if lean else 30) * rows + bend * rows**2
    return plan_like(config, memory=int(memory), hbm=hbm)

  return plan_search.search(recipe(batch=batch), make, devices=16)


def test_a_search_takes_the_cheapest_that_fits_and_three_compilations():
  found = search(batch=32, hbm=1000)
  assert found.plan.mesh == {'data': 16, 'fsdp': 1, 'tensor': 1}
  assert found.plan.remat in (False, 'none')
  # 100 + 30 n <= 980: two percent are spared at first, then it is filled.
  assert found.largest.batch == 16 * 30
  assert len(found.tried) <= 5


def test_a_search_splits_weights_before_it_recomputes():
  found = search(batch=32, hbm=150)  # 100 + 60 is too much, 50 + 60 is not
  assert found.plan.mesh == {'data': 8, 'fsdp': 2, 'tensor': 1}
  assert found.plan.remat in (False, 'none')
  assert found.largest.batch == 16 * 3  # 50 + 30 n <= 150


def test_a_search_splits_weights_further_where_some_parts_are_too_few():
  found = search(batch=32, hbm=80)  # 200 of 5 x 40 may go: 8 seem enough
  assert [plan.mesh['fsdp'] for plan in found.tried[:2]] == [1, 2]
  assert found.plan.mesh == {'data': 1, 'fsdp': 16, 'tensor': 1}
  assert found.plan.remat in (False, 'none')


def test_a_search_recomputes_where_nothing_else_fits():
  found = search(batch=16 * 8, hbm=150)  # 240 of activations are too much
  assert found.plan.remat not in (False, 'none')
  assert [plan.mesh['fsdp'] for plan in found.tried[:3]] == [1, 1, 2]
  assert found.plan.mesh == {'data': 8, 'fsdp': 2, 'tensor': 1}


def test_a_search_compiles_nothing_that_is_ruled_out():
  """No part of 5 x 40 bytes of weights makes 32 clips of 30 fit into 150."""
  found = search(batch=16 * 32, hbm=150)
  assert found.plan is None
  policies = plan_search.policies(recipe(batch=16))
  tried = [plan for plan in found.tried if plan.batch == 16 * 32]
  assert tried[0].mesh['fsdp'] == 1
  assert [plan.remat for plan in tried].count(tried[0].remat) == 1
  assert {plan.remat for plan in tried} == set(policies)


def test_a_search_finds_a_smaller_batch_where_nothing_fits():
  found = search(batch=16 * 64, hbm=150)
  assert found.plan is None
  assert found.largest.fits
  assert found.largest.batch < 16 * 64


def test_a_search_says_that_nothing_fits_at_all():
  found = search(batch=16, hbm=5)
  assert found.plan is found.largest is None


def test_devices_without_a_clip_of_their_own_share_one():
  found = search(batch=8, hbm=1000)
  shared = {found.plan.mesh.get(axis, 1) for axis in plan_search.SHARED}
  assert shared == {1, 2}
  assert (found.plan.mesh['data'], found.plan.mesh['fsdp']) == (8, 1)
  assert found.plan.batch == 8
  assert found.largest.batch == 8 * 30


def test_a_search_goes_on_where_a_candidate_is_refused():
  def make(config: cfg.Config) -> step_plan.Plan:
    if config.model['remat'] in (False, 'none', 'dots'):
      raise InputError('got one that this model cannot do')
    return plan_like(config, memory=10, hbm=100)

  found = plan_search.search(recipe(batch=16), make, devices=16)
  assert found.plan.remat == 'save_attention'

  def refuse(config: cfg.Config) -> step_plan.Plan:
    raise InputError('got a mesh of another world')

  with pytest.raises(InputError, match='another world'):
    plan_search.search(recipe(batch=16), refuse, devices=16)


def test_weights_are_split_within_a_slice():
  candidates = plan_search.candidates(
    recipe(batch=16, mesh__slices=2), 16, tried := []
  )
  for candidate in candidates:
    assert candidate.mesh.data % 2 == 0
    tried.append(plan_like(candidate, memory=300, hbm=290))
  assert {plan.mesh['fsdp'] for plan in tried} == {1, 2, 8}


@pytest.mark.parametrize('bend', [0.2, 1.0, -0.05])
def test_the_largest_batch_is_verified_where_memory_is_not_affine(bend):
  found = search(batch=16, hbm=2000, bend=bend)
  memory = lambda rows: int(100 + 30 * rows + bend * rows**2)
  rows = found.largest.batch // 16
  assert memory(rows) <= 2000
  exact = max(n for n in range(200) if memory(n) <= 2000)
  assert rows >= 0.9 * exact
  assert len(found.tried) <= 2 + plan_search.MOST_TRIES


def test_a_search_refuses_a_batch_that_no_mesh_divides():
  with pytest.raises(InputError, match='try --batch=32'):
    plan_search.search(recipe(batch=25), plan_like, devices=32)


def test_a_plan_crosses_between_processes_as_it_is(plans):
  for plan in plans:
    tree = dataclasses.asdict(plan)
    assert planner._plan_of(tree) == plan


def ask(text: str, *configs: cfg.Config) -> list[step_plan.Plan]:
  with planner.Planner(topology.parse(text)) as compiler:
    return [compiler.make(config, **SIZES) for config in configs]


@pytest.mark.slow
def test_more_devices_than_are_here_are_planned_in_another_process():
  one, two = ask(
    'cpu:16',
    recipe(batch=16, model__layers=1),
    recipe(batch=16, model__layers=1, mesh__data=4, mesh__fsdp=4),
  )
  assert one.mesh == {'data': 16, 'fsdp': 1, 'tensor': 1}
  assert two.argument_bytes < one.argument_bytes
  assert 'all-gather' in two.collectives
  with pytest.raises(InputError, match='multiple of 16'):
    ask('cpu:16', recipe(batch=24))


@pytest.mark.slow
@pytest.mark.tpu_plan
@pytest.mark.skipif(not topology.libtpu_path(), reason='no libtpu here')
def test_a_step_is_compiled_for_tpus_that_are_not_here():
  changes = {'model__layers': 1, 'dtype': 'bfloat16'}
  small, large, rounded = ask(
    'v5e:2x2',
    recipe(batch=4, **changes),
    recipe(batch=8, **changes),
    recipe(batch=4, mesh__reduce='dtype', **changes),
  )
  assert small.device == 'TPU v5 lite'
  assert small.hbm_bytes == 16 << 30
  # Gradients are summed in float32 unless the recipe says the compute dtype.
  sums, halves = (p.collectives['all-reduce'] for p in (small, rounded))
  assert sums.bytes == pytest.approx(small.parameter_bytes, rel=0.01)
  assert halves.bytes == pytest.approx(small.parameter_bytes / 2, rel=0.05)
  assert large.flops == pytest.approx(2 * small.flops, rel=0.01)
  assert 0 < small.estimated_step_s == max(small.seconds.values())
  assert small.seconds[small.bound] == small.estimated_step_s
  assert 0 < small.mfu <= 1
