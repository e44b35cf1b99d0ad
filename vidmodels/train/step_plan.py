"""What a training step needs and costs on devices that need not be here.

  plan = make(config, topology, devices, classes=400, examples=240_000)
  plan.memory_bytes, plan.fits, plan.estimated_step_s

The very step that `train` runs is compiled and not run. Its memory, FLOPs and
collectives are those of the compiled program; its time is an estimate: the
longest of three that the published peaks of the chip allow at best.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.analysis import chips, compiled_program, model_cost
from vidmodels.analysis.chips import Chip
from vidmodels.analysis.compiled_program import ProgramMemory, Traffic, Work
from vidmodels.analysis.model_cost import CountedModel
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import memory
from vidmodels.train.build import TrainingRun, build
from vidmodels.train.topology import Topology
from vidmodels.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A training step on a topology; bytes, FLOPs and times are of one device.

  Where the compiler refuses a step that does not fit, only its memory is known:
  what comes from the program is None.
  """

  topology: str  # as asked for
  device: str  # its kind of device
  chips: int
  devices: int  # as many as chips, unless each chip has two
  mesh: Mapping[str, int]
  batch: int  # clips of a step, on all devices
  accumulate: int
  remat: Any  # the model's field; None if it has none
  scan: bool
  memory_bytes: int  # all that the step needs
  hbm_bytes: int  # what there is
  fits: bool
  argument_bytes: int | None  # of memory_bytes: weights, moments, the batch
  temporary_bytes: int | None  # of memory_bytes: activations, gradients
  flops: int | None  # of products, those that remat repeats too
  model_flops: int  # of the model's products: without what remat repeats
  bytes_accessed: int | None  # read and written in the device's memory
  parameter_bytes: int  # of the whole model
  collectives: Mapping[str, Traffic] | None
  # estimated_step_s: None without published figures; never less than this
  estimated_step_s: float | None
  bound: str | None  # 'compute', 'memory' or 'network': what takes as long
  seconds: Mapping[str, float] | None  # each of the three
  mfu: float | None  # model_flops over what the chip could do in the time
  steps: int  # of the whole recipe
  estimated_hours: float | None  # of all steps
  compile_s: float
  notes: tuple[str, ...] = ()

  def as_json(self) -> dict[str, Any]:
    """Its fields; of a collective `count` and `bytes`."""
    fields = dataclasses.asdict(self)
    if self.collectives is not None:
      fields['collectives'] = {
        kind: {'count': each.count, 'bytes': each.bytes}
        for kind, each in self.collectives.items()
      }
      fields['sent_bytes'] = sum(t.sent for t in self.collectives.values())
    return fields


def make(
  config: cfg.Config,
  topology: Topology,
  devices: list,
  *,
  classes: int,
  examples: int,
  task: Task = SINGLE,
) -> Plan:
  """Compiles the training step of a recipe and reads the program.

  Raises InputError for a mesh or a batch that does not divide, and for a
  teacher, whose weights are part of the step.
  """
  if config.loss.teacher:
    raise InputError(
      f'got loss.teacher={config.loss.teacher}, whose model is part of the '
      'step; expected a recipe without a teacher; try --config.loss.teacher= '
      'and --config.model.token_head=False'
    )
  run = build(
    config, classes=classes, examples=examples, task=task, devices=devices
  )
  start = time.perf_counter()
  lowered = run.lower_step()
  program, room, notes = None, _room(topology, devices), []
  try:
    program = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    amounts = memory.used_and_limit(error)
    if amounts is None:
      raise
    needed, room = amounts
    notes.append('the compiler refuses it, so only its memory is known')
  compile_s = time.perf_counter() - start
  used = compiled_program.memory(program) if program else None
  work = compiled_program.work(program) if program else None
  if used:
    needed = used.total
  traffic = compiled_program.collectives(program) if program else None
  if work and work.unknown_loops:
    notes.append(
      f'{len(work.unknown_loops)} loops of unknown length count as one trip'
    )
  return _plan(
    run,
    topology,
    devices,
    classes=classes,
    used=used,
    needed=needed,
    room=room,
    work=work,
    traffic=traffic,
    compile_s=compile_s,
    notes=notes,
  )


def _plan(
  run: TrainingRun,
  topology: Topology,
  devices: list,
  *,
  classes: int,
  used: ProgramMemory | None,
  needed: int,
  room: int,
  work: Work | None,
  traffic: dict[str, Traffic] | None,
  compile_s: float,
  notes: list[str],
) -> Plan:
  """Puts together what is known."""
  config, kind = run.config, devices[0].device_kind
  chip = topology.chip or chips.find(kind)
  parts = chip.devices if chip else 1
  model_flops = step_flops(config, classes) // len(devices)
  if work:  # the gradient of the video is never taken
    model_flops = min(model_flops, work.flops)
  seconds = bound = step_s = mfu = None
  if chip and work and traffic is not None:
    seconds = least_seconds(chip, work, traffic)
    bound, step_s = max(seconds.items(), key=lambda item: item[1])
    mfu = model_flops / (step_s * chip.flops / parts) if step_s else None
  elif not chip:
    notes.append(f'no published figures of {kind}: no time is estimated')
  return Plan(
    topology=topology.text,
    device=kind,
    chips=topology.chips or len(devices) // parts,
    devices=len(devices),
    mesh=dict(run.mesh.shape),
    batch=config.batch,
    accumulate=config.accumulate,
    remat=config.model.get('remat'),
    scan=bool(config.model.get('scan')),
    memory_bytes=needed,
    hbm_bytes=room,
    fits=needed <= room and work is not None,
    argument_bytes=used.arguments if used else None,
    temporary_bytes=used.temporary if used else None,
    flops=work.flops if work else None,
    model_flops=model_flops,
    bytes_accessed=work.bytes_accessed if work else None,
    parameter_bytes=sum(
      leaf.size * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(run.abstract.params)
    ),
    collectives=traffic,
    estimated_step_s=step_s,
    bound=bound,
    seconds=seconds,
    mfu=mfu,
    steps=run.total,
    estimated_hours=step_s * run.total / 3600 if step_s else None,
    compile_s=compile_s,
    notes=tuple(notes),
  )


def least_seconds(
  chip: Chip, work: Work, traffic: Mapping[str, Traffic]
) -> dict[str, float]:
  """The least time of a step's arithmetic, memory traffic and collectives.

  Each at the chip's published peak, as if the others cost nothing.
  """
  sent = sum(each.sent for each in traffic.values())
  return {
    'compute': work.flops * chip.devices / chip.flops,
    'memory': work.bytes_accessed * chip.devices / chip.hbm_bytes_s,
    'network': sent * chip.devices / chip.link_bytes_s,
  }


def step_flops(config: cfg.Config, classes: int) -> int:
  """The FLOPs of the model's products in one step, on all devices.

  Forward, and twice that backward; a multiply-add is two.
  """
  count = model_cost.count(
    CountedModel(
      family=config.family,
      model=config.model,
      clip=(config.clip.frames, config.clip.size, config.clip.size),
      classes=classes,
    )
  )
  return 2 * 3 * count.total_macs() * config.batch


def _room(topology: Topology, devices: list) -> int:
  """The memory of one device: published of a TPU, else what it says."""
  if topology.chip:
    return topology.chip.hbm_bytes // topology.chip.devices
  return memory.room_of(devices).total


def with_scan(config: cfg.Config) -> cfg.Config:
  """The recipe with a scan over its layers, where its model has one."""
  if 'scan' not in models.fields(config.family):
    return config
  return dataclasses.replace(config, model={**config.model, 'scan': True})


def cost(plan: Plan, usd_per_chip_hour: float) -> float | None:
  """What the whole recipe costs; None where no time is estimated."""
  if plan.estimated_hours is None:
    return None
  return plan.estimated_hours * plan.chips * usd_per_chip_hour
