"""Compiles a recipe's training step for hardware that need not be here.

  vidmodels plan --config=timesformer --topology=v5e:4x4
  vidmodels plan --config=timesformer --topology=v5e:16x16 --batch=256 \\
    --remat=True --config.mesh.fsdp=256 --config.mesh.data=1
  vidmodels plan --config=vidtr:l --topology=v5p:4x4x4 --search --price=4.2

A topology is a TPU generation and the shape of its slice (pip install
'vidmodels[tpu-plan]' brings the compiler), cpu:N for N virtual CPU devices, or
local for the devices of this machine. Nothing is run and no records are needed.

Memory, FLOPs, bytes and collectives are those of the compiled program, of one
device. The time of a step is an estimate from the published peaks of the chip:
no step is faster, and most are slower.
"""

import argparse
import json
import sys

HELP = 'memory, FLOPs, collectives and time of a step, for any hardware'
COMPILES = True
TAKES_CONFIG = True
# Where neither the flags nor the recipe's data set say it: Kinetics-400.
CLASSES, EXAMPLES = 400, 240_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags."""
  add = parser.add_argument
  add('--config', required=True, metavar='RECIPE[:ARG]', help='file or name')
  add('--topology', required=True, metavar='KIND:SHAPE',
      help='such as v5e:4x4, v5p:4x4x4, cpu:16, or local')  # fmt: skip
  add('--batch', type=int, help='clips a step over all devices')
  add('--remat', metavar='VALUE', help="the model's field remat")
  add('--classes', type=int, help="default: those of the recipe's data set")
  add('--examples', type=int, help='clips of an epoch; default likewise')
  add('--price', type=float, metavar='USD', help='of a chip and hour')
  add('--search', action='store_true',
      help='find the cheapest mesh and remat that fit, and the largest '
           'batch')  # fmt: skip
  add('--unrolled', action='store_true',
      help='keep the layers as the recipe has them: without it a model that '
           'can scan its layers does, which compiles faster')  # fmt: skip


def run(args: argparse.Namespace) -> int:
  """Prints the plan; raises InputError if there can be none."""
  from vidmodels.cli import DONE, FAILED, terminal
  from vidmodels.train import plan_search, planner, topology

  where = topology.parse(args.topology)
  topology.check_installed(where)
  config, sizes, notes = _recipe(args)
  make_notes = [*notes]
  try:
    with (
      terminal.Reporter('plan') as report,
      planner.Planner(where) as compiler,
    ):
      report(0, 0, f'compiling {args.config} for {where.text}')
      if args.search:
        found = plan_search.search(
          config,
          lambda candidate: compiler.make(candidate, **sizes),
          devices=_devices(where),
          report=lambda each: report(0, 0, summary(each)),
        )
        _print_search(args, found, make_notes)
        return DONE
      made = compiler.make(config, **sizes)
  except planner.PlanError as error:
    terminal.say(f'vidmodels plan: {error}', file=sys.stderr)
    if args.json:
      print(json.dumps({'error': str(error), 'exit_code': FAILED}))
    return FAILED
  _print_plan(args, made, make_notes)
  return DONE


def _recipe(args: argparse.Namespace) -> tuple:
  """The recipe, its classes, examples and task, and what was assumed."""
  from vidmodels import models
  from vidmodels.cli import recipe
  from vidmodels.data.datasets import registry
  from vidmodels.data.records.task import SINGLE
  from vidmodels.train import step_plan
  from vidmodels.typing import InputError

  for flag in ('batch', 'classes', 'examples', 'price'):
    value = getattr(args, flag)
    if value is not None and not value > 0:
      raise InputError(f'got --{flag}={value:g}; expected more than 0')
  overrides, notes = list(args.overrides), []
  if args.batch is not None:
    overrides.append(f'--config.batch={args.batch}')
  config = recipe.load(args.config, overrides)
  known = models.fields(config.family)
  if args.remat is not None:
    if 'remat' not in known:
      raise InputError(
        f'got --remat={args.remat}; expected none, as {config.family} does not '
        'recompute; try a larger topology'
      )
    overrides.append(f'--config.model.remat={args.remat}')
    config = recipe.load(args.config, overrides)
  named = any(o.startswith('--config.model.scan=') for o in overrides)
  can_scan = 'scan' in known and not config.model['scan']
  if can_scan and not named and not args.unrolled:
    config = step_plan.with_scan(config)
    notes.append(
      'the layers are one scan (model.scan=True), which compiles faster; '
      '--unrolled compiles them as the recipe has them'
    )
  classes, examples, task = args.classes, args.examples, SINGLE
  if name := recipe.dataset(args.config):
    dataset = registry.find(name)
    task = dataset.task
    if classes is None and dataset.lists:
      classes = len(dataset.classes().names)
    elif classes is not None and classes != len(dataset.classes().names):
      task = SINGLE
    examples = examples or dataset.splits.get(config.data.train)
  if classes is None or not examples:
    notes.append(
      f'assumed {classes or CLASSES} classes and {examples or EXAMPLES} clips '
      'of an epoch: --classes and --examples say others'
    )
  sizes = {
    'classes': classes or CLASSES,
    'examples': examples or EXAMPLES,
    'task': task,
  }
  return config, sizes, notes


def _devices(where) -> int:
  """How many devices a topology has."""
  from vidmodels.train import topology

  if where.is_local:
    return len(topology.devices(where))
  return where.chips * (where.chip.devices if where.chip else 1)


def _print_plan(args: argparse.Namespace, made, notes: list[str]) -> None:
  from vidmodels.cli import terminal

  if args.json:
    print(json.dumps(_as_json(args, made, notes)))
  else:
    terminal.say('\n'.join([*lines(made, args.price), *_note_lines(notes)]))


def _print_search(args: argparse.Namespace, found, notes: list[str]) -> None:
  from vidmodels.cli import terminal

  if args.json:
    as_json = lambda each: each and _as_json(args, each, notes)
    # As without --search, and what else was compiled.
    tree = as_json(found.plan or found.largest or found.tried[-1])
    tree['largest'] = as_json(found.largest)
    tree['tried'] = [as_json(each) for each in found.tried]
    print(json.dumps(tree))
    return
  text = [
    f'{len(found.tried)} compilations: the candidates from the cheapest until '
    'one fits, then two to predict the largest batch and one to verify it'
  ]
  text += [f'  {summary(each)}' for each in found.tried]
  if found.plan is None:
    text.append('nothing fits this batch')
  else:
    text += ['', 'the cheapest that fits', *lines(found.plan, args.price)]
  if found.largest is not None and found.largest is not found.plan:
    text += ['', 'its largest batch', *lines(found.largest, args.price)]
  terminal.say('\n'.join([*text, *_note_lines(notes)]))


def _as_json(args: argparse.Namespace, made, notes: list[str]) -> dict:
  from vidmodels.train import step_plan

  tree = made.as_json()
  tree['notes'] = [*notes, *made.notes]
  if args.price is not None:
    tree['cost_usd'] = step_plan.cost(made, args.price)
  return tree


def _note_lines(notes: list[str]) -> list[str]:
  return [f'note: {note}' for note in notes]


def summary(made) -> str:
  """A plan on one line."""
  from rich.filesize import decimal

  return (
    f'{_mesh(made)}, remat {made.remat}, batch {made.batch}: '
    f'{decimal(made.memory_bytes)} of {decimal(made.hbm_bytes)}, '
    f'{"fits" if made.fits else "does not fit"}'
  )


def _mesh(made) -> str:
  return ' x '.join(f'{axis} {size}' for axis, size in made.mesh.items())


def lines(made, price: float | None = None) -> list[str]:
  """A plan as a page."""
  from rich.filesize import decimal

  from vidmodels.train import step_plan

  share = made.memory_bytes / made.hbm_bytes
  text = [
    f'{made.topology}: {made.chips} chips ({made.device}), mesh {_mesh(made)}, '
    f'batch {made.batch} in {made.accumulate} parts, remat {made.remat}',
    f'memory a device    {decimal(made.memory_bytes)} of '
    f'{decimal(made.hbm_bytes)} ({share:.0%}): '
    f'{"fits" if made.fits else "does not fit"}',
  ]
  if made.argument_bytes is not None:
    text.append(
      f'                   {decimal(made.argument_bytes)} weights, moments and '
      f'batch, {decimal(made.temporary_bytes)} activations and gradients'
    )
  text.append(f'parameters         {decimal(made.parameter_bytes)}')
  if made.flops is not None:
    text += [
      f'FLOPs a device     {made.flops:.3e} a step, {made.model_flops:.3e} '
      "of them the model's",
      f'bytes a device     {decimal(made.bytes_accessed)} read and written a '
      'step',
    ]
    for kind, each in sorted(made.collectives.items()):
      text.append(
        f'{kind:18} {each.count} a step, {decimal(each.bytes)} of results, '
        f'{decimal(each.sent)} sent'
      )
    if not made.collectives:
      text.append('collectives        none')
  if made.estimated_step_s is not None:
    parts = ', '.join(f'{k} {s:.2e} s' for k, s in made.seconds.items())
    text += [
      f'step, at least     {made.estimated_step_s:.3e} s (estimate: {parts}, '
      f"each at the chip's published peak); {made.bound} bounds it; MFU at "
      f'most {made.mfu:.0%}',
      f'all {made.steps} steps, at least {made.estimated_hours:.2f} hours '
      '(estimate)',
    ]
    if price is not None:
      text.append(
        f'cost, at least     {step_plan.cost(made, price):.2f} USD at '
        f'{price:g} a chip and hour (estimate)'
      )
  return [
    *text,
    f'compiled in {made.compile_s:.0f} s',
    *_note_lines(made.notes),
  ]
