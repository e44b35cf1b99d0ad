"""Collectives, FLOPs and bytes are those that a program was written with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vidmodels import models
from vidmodels.analysis import compiled_program, model_cost
from vidmodels.analysis.compiled_program import Traffic


def shape(*sizes: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(sizes, dtype)


def compiled(function, *shapes):
  return jax.jit(function).lower(*shapes).compile()


@pytest.fixture(scope='module')
def mesh() -> Mesh:
  devices = np.array(jax.devices()[:8]).reshape(4, 2)
  return Mesh(devices, ('a', 'b'), axis_types=(AxisType.Auto,) * 2)


def test_every_kind_of_collective_counts_with_its_bytes(mesh):
  """A loop of five counts five times; groups say what a device sends."""

  def talk(v_x):
    v_x = jax.lax.psum(v_x, 'a')  # (8, 16)
    v_x = jax.lax.all_gather(v_x, 'b', tiled=True)  # (16, 16)
    ring = [(i, (i + 1) % 4) for i in range(4)]
    turn = lambda v_x, _: (2 * jax.lax.ppermute(v_x, 'a', ring), None)
    v_x, _ = jax.lax.scan(turn, v_x, None, length=5)
    v_x = jax.lax.psum_scatter(v_x, 'a', tiled=True)  # (4, 16)
    return jax.lax.all_to_all(v_x, 'b', 1, 0, tiled=True)  # (8, 8)

  talk = jax.shard_map(
    talk,
    mesh=mesh,
    in_specs=PartitionSpec('a', 'b'),
    out_specs=PartitionSpec('a', 'b'),
    check_vma=False,
  )
  found = compiled_program.collectives(compiled(talk, shape(32, 32)))
  assert found == {
    'all-reduce': Traffic(1, 4 * 8 * 16, 2 * 512 * 3 // 4),
    'all-gather': Traffic(1, 4 * 16 * 16, 1024 // 2),
    'collective-permute': Traffic(5, 5 * 1024, 5 * 1024),
    'reduce-scatter': Traffic(1, 4 * 4 * 16, 3 * 256),
    'all-to-all': Traffic(1, 4 * 8 * 8, 256 // 2),
  }


def test_gradients_of_a_data_mesh_are_reduced_once_each(mesh):
  def loss(params, v_BD):
    return (jnp.tanh(v_BD @ params['up']) @ params['down']).sum()

  place = lambda leaf, *spec: jax.ShapeDtypeStruct(
    leaf.shape,
    leaf.dtype,
    sharding=NamedSharding(mesh, PartitionSpec(*spec)),
  )
  params = {'up': place(shape(16, 32)), 'down': place(shape(32, 4))}
  step = jax.jit(
    jax.grad(loss), out_shardings=NamedSharding(mesh, PartitionSpec())
  )
  program = step.lower(params, place(shape(64, 16), 'a')).compile()
  found = compiled_program.collectives(program)
  assert set(found) == {'all-reduce'}
  assert found['all-reduce'].bytes == 4 * (16 * 32 + 32 * 4)


def test_a_program_on_one_device_has_no_collectives():
  program = compiled(lambda v_x: v_x * 2, shape(8))
  assert compiled_program.collectives(program) == {}


ASYNC = """\
HloModule jit_f, num_partitions=8

%gathered (p: bf16[4]) -> (bf16[4], bf16[32], u32[]) {
  %p = bf16[4]{0:T(128)} parameter(0)
  %all-gather.1 = bf16[32]{0:T(128)} all-gather(%p), channel_id=8, \
replica_groups=mesh['x'=4,'y'=2] {'x'}, dimensions={0}
  ROOT %start = (bf16[4]{0:T(128)}, bf16[32]{0:T(128)S(1)}, u32[]{:S(2)}) \
custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%overlapped (p: bf16[4], q: f32[8]) -> f32[8] {
  %p = bf16[4]{0} parameter(0)
  %q = f32[8]{0} parameter(1)
  %all-gather.2 = bf16[32]{0} all-gather(%p), channel_id=8, \
replica_groups=mesh['x'=4,'y'=2] {'x'}, dimensions={0}
  ROOT %r = f32[8]{0} add(%q, %q)
}

%wrapped (u: f32[8]) -> f32[8] {
  %u = f32[8]{0} parameter(0)
  ROOT %all-to-all.3 = f32[8]{0} all-to-all(%u), channel_id=8, \
replica_groups=[4,2]<=[8], dimensions={0}
}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %state = (s32[]{:T(128)}, f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %copied = s32[] copy(%i)
  %two = s32[] constant(2)
  %next = s32[] add(%copied, %two)
  %v = f32[8]{0} get-tuple-element(%state), index=1
  %w = f32[8]{0} negate(%v)
  %permute-start = (f32[8]{0}, f32[8]{0}, u32[], u32[]) \
collective-permute-start(%w), channel_id=3, source_target_pairs={{0,1},{1,0}}
  %permute-done = f32[8]{0} collective-permute-done(%permute-start)
  ROOT %out = (s32[], f32[8]{0}) tuple(%next, %permute-done)
}

%condition (state: (s32[], f32[8])) -> pred[] {
  %state = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %bound = s32[]{:T(128)} constant(8)
  ROOT %less = pred[] compare(%i, %bound), direction=LT
}

ENTRY %main (a: bf16[4], b: f32[8]) -> f32[8] {
  %a = bf16[4]{0} parameter(0)
  %b = f32[8]{0} parameter(1)
  %chain = (bf16[4]{0}, bf16[32]{0:S(1)}, u32[]) fusion(%a), kind=kCustom, \
calls=%gathered
  %slice-start = ((f32[8]{0}), f32[2]{0:S(1)}, s32[]) slice-start(%b), \
slice={[0:2]}
  %slice-done = f32[2]{0:S(1)} slice-done(%slice-start)
  %more = f32[8]{0} fusion(%a, %b), kind=kLoop, calls=%overlapped
  %async-start = ((f32[8]{0}), f32[8]{0}, s32[]) async-start(%more), \
calls=%wrapped
  %async-done = f32[8]{0} async-done(%async-start)
  %reduce-start = f32[8]{0} all-reduce-start(%async-done), channel_id=5, \
replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %reduce-done = f32[8]{0} all-reduce-done(%reduce-start)
  %first = s32[]{:T(128)} constant(1)
  %init = (s32[], f32[8]{0}) tuple(%first, %reduce-done)
  %loop = (s32[], f32[8]{0}) while(%init), condition=%condition, body=%body
  ROOT %result = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


def test_what_tpus_and_gpus_start_and_finish_apart_counts_once():
  """A chain of fusions, start and done, a wrapper; a loop without its trips."""
  found = compiled_program.collectives(ASYNC)
  assert found == {
    'all-gather': Traffic(1, 64, 64 * 3 // 4),
    'all-to-all': Traffic(1, 32, 16),
    'all-reduce': Traffic(1, 32, 2 * 32 * 7 // 8),
    'collective-permute': Traffic(4, 128, 128),  # counts 1, 3, 5, 7
  }


def test_a_loop_of_unknown_length_counts_once_and_is_named():
  text = ASYNC.replace('constant(8)', 'parameter(1)')
  found = compiled_program.collectives(text)
  assert found['collective-permute'].count == 1
  assert compiled_program.work(text).unknown_loops == ('loop',)


def test_arrays_in_vmem_are_not_memory_traffic():
  module = compiled_program.parse(ASYNC)
  counted = {
    run.instruction.name: run.times
    * compiled_program.bytes_accessed(module, run)
    for run in compiled_program.executed(module)
    if not run.fused
  }
  # Four bytes in, four out and a token; not the gathered ones in VMEM.
  assert counted['chain'] == 8 + 8 + 4
  assert counted['more'] == 8 + 32 + 32
  assert counted['w'] == 4 * (32 + 32)
  # Two numbers are read into VMEM, and not the eight that they come from.
  assert counted['slice-start'] == 8
  assert counted['b'] == counted['init'] == counted['loop'] == 0


def scanned(v_BD, weights):
  layer = lambda v_BD, w_DD: (jax.nn.gelu(v_BD @ w_DD), None)
  return jax.lax.scan(layer, v_BD, weights)[0].sum()


def unrolled(v_BD, weights):
  for w_DD in weights:
    v_BD = jax.nn.gelu(v_BD @ w_DD)
  return v_BD.sum()


@pytest.mark.parametrize('network', [scanned, unrolled])
def test_flops_of_a_gradient_are_those_of_its_products(network):
  program = compiled(
    jax.grad(network, argnums=(0, 1)), shape(32, 64), shape(6, 64, 64)
  )
  # Forward, and backward for the input and for the weights.
  assert compiled_program.work(program).flops == 3 * 6 * 2 * 32 * 64 * 64


def test_bytes_are_those_that_xla_counts_without_loops():
  program = compiled(
    jax.grad(unrolled, argnums=(0, 1)), shape(32, 64), shape(6, 64, 64)
  )
  ours = compiled_program.work(program).bytes_accessed
  assert ours == pytest.approx(
    program.cost_analysis()['bytes accessed'], rel=0.1
  )


@pytest.mark.parametrize(
  ('stride', 'pad', 'groups', 'left', 'right'),
  [(1, 0, 1, 1, 1), (2, 1, 2, 1, 1), (1, 2, 1, 1, 2), (1, 3, 4, 2, 1)],
)
def test_a_convolution_does_not_multiply_its_padding(
  stride, pad, groups, left, right
):
  """XLA's own count of one convolution alone is exact."""
  convolution = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(stride, stride),
    padding=((pad, pad), (pad, 0)),
    lhs_dilation=(left, left),
    rhs_dilation=(right, 1),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  loss = lambda v, k: convolution(v, k).sum()
  shapes = shape(2, 9, 8, 4), shape(3, 3, 4 // groups, 8)
  for function in (convolution, jax.grad(loss, argnums=(0, 1))):
    program = compiled(function, *shapes)
    exact = program.cost_analysis()['flops']
    ours = compiled_program.work(program).flops
    assert ours == pytest.approx(exact, rel=0.01)
    assert ours > 0


@pytest.mark.fast_every(3)
@pytest.mark.parametrize(
  ('scan', 'remat'), [(False, False), (True, False), (True, True)]
)
def test_a_step_has_the_flops_that_the_model_costs(scan, remat):
  """The products of the model, forward and twice backward.

  With remat those of the blocks once more, but for the last of each, whose
  result no gradient needs. (A CPU undoes remat outside of a scan.) A scan makes
  the scores of attention again, which are half of its products.
  """
  module = models.find('timesformer')
  fields = {**module.TINY, 'layers': 3, 'scan': scan, 'remat': remat}
  model = models.build('timesformer', classes=5, **fields)
  video = shape(2, *module.TINY_CLIP, 3)
  variables = jax.eval_shape(model.init, jax.random.key(0), video)
  loss = lambda v, x: model.apply(v, x).sum()
  program = compiled(jax.grad(loss, argnums=(0, 1)), variables, video)
  cost = model_cost.count_model(model.clone(scan=False), module.TINY_CLIP)
  macs = 3 * cost.total_macs()
  if remat:
    again = cost.total_macs(without='^(?!block)|mlp/down')
    assert 0 < again < cost.total_macs()
    macs += again
  elif scan:
    again = cost.total_macs() - cost.total_macs(without='attn$')
    assert again > 0
    macs += again // 2
  # Two clips; one multiply-add is two.
  assert compiled_program.work(program).flops == pytest.approx(
    2 * 2 * macs, rel=0.005
  )


def test_memory_is_that_of_arguments_results_and_what_is_between():
  update = jax.jit(
    lambda state, v_BD: state - (v_BD.T @ jnp.sin(v_BD @ state)),
    donate_argnums=0,
  )
  program = update.lower(shape(64, 64), shape(256, 64)).compile()
  found = compiled_program.memory(program)
  assert found.arguments == 4 * (64 * 64 + 256 * 64)
  assert found.results == 0  # it lies where the state was
  assert found.temporary >= 4 * 64 * 64
  assert found.total == found.arguments + found.temporary + found.code
