"""Hardware to compile for, here or not: 'v5e:4x4', 'cpu:16', 'local'.

  topology = parse('v5e:16x16')
  topology.chips  # 256
  devices(topology)  # in a process that started with `environment(topology)`

libtpu makes the devices of a TPU slice on any machine; a CPU has as many
virtual devices as a process asks for before JAX starts. So both belong into a
process of their own: `planner.py` starts it.
"""

import dataclasses
import importlib.util
import math
import os
import pathlib
import re

import jax

import vidmodels
from vidmodels.analysis import chips
from vidmodels.analysis.chips import Chip
from vidmodels.typing import InputError, brief, expected_one_of

MOST_CPUS = 4096  # virtual devices; each is a thread and more
EXPECTED = (
  'expected a TPU generation and the shape of its slice, a number of CPU '
  'devices, or what is here; try v5e:4x4, v5p:4x4x4, cpu:8 or local'
)
# The slices of v5e and v6e, and the small ones of the others:
# docs.cloud.google.com/tpu/docs/v6e and /v5p.
_FLAT = (*((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)),)
_CUBES = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))


@dataclasses.dataclass(frozen=True)
class Topology:
  """The devices of one slice, of virtual CPUs, or those that are here."""

  text: str  # as the user wrote it
  platform: str  # 'tpu', 'cpu' or 'local'
  chips: int = 0  # 0 for 'local': nobody has looked yet
  chip: Chip | None = None  # figures of a TPU
  shape: tuple[int, ...] = ()  # of the slice, in chips

  @property
  def is_local(self) -> bool:
    """Whether it is the devices of this process."""
    return self.platform == 'local'


def parse(text: str) -> Topology:
  """Reads a topology; raises InputError if there is none such."""
  if text == 'local':
    return Topology(text, 'local')
  name, colon, rest = text.partition(':')
  if name.lower() == 'cpu' and re.fullmatch(r'\d{1,6}', rest):
    count = int(rest)
    if not 1 <= count <= MOST_CPUS:
      raise InputError(
        f'got {count} CPU devices; expected 1 to {MOST_CPUS}; try cpu:16'
      )
    return Topology(text, 'cpu', count)
  name = chips.ALIASES.get(name.lower(), name.lower())
  if name not in chips.tpus():
    known = [*chips.tpus(), 'cpu']
    hint = expected_one_of(name, known).partition('; ')[2] if colon else ''
    raise InputError(
      f'got {brief(text)} for --topology; {EXPECTED}, of the generations '
      f'{", ".join(chips.tpus())}' + (f' ({hint})' if hint else '')
    )
  chip = chips.find(name)
  assert chip is not None
  if not re.fullmatch(r'[1-9]\d{0,3}(x[1-9]\d{0,3})*', rest):
    raise InputError(f'got {brief(text)} for --topology; {EXPECTED}')
  shape = tuple(map(int, rest.split('x')))
  example = f'{name}:{"x".join(["4"] * chip.dimensions)}'
  if len(shape) != chip.dimensions:
    raise InputError(
      f'got {text}, a slice of {len(shape)} dimensions; expected '
      f'{chip.dimensions} of {name}; try {example}'
    )
  count = math.prod(shape)
  if not _exists(shape) or count > chip.most_chips:
    small = _FLAT if len(shape) == 2 else _CUBES
    more = '' if len(shape) == 2 else ', or sides that are multiples of 4'
    raise InputError(
      f'got {text}, {count} chips, which is no slice of {name}; expected at '
      f'most {chip.most_chips} chips in one of '
      f'{", ".join("x".join(map(str, each)) for each in small)}{more}; try '
      f'{example}'
    )
  return Topology(text, 'tpu', count, chip, shape)


def _exists(shape: tuple[int, ...]) -> bool:
  """Whether Google Cloud has slices of this shape."""
  if len(shape) == 2:
    return tuple(sorted(shape)) in _FLAT
  return shape in _CUBES or not any(side % 4 for side in shape)


def libtpu_path() -> str:
  """Where libtpu is; '' if it is not installed.

  TPU_LIBRARY_PATH names another one, for JAX as for us.
  """
  if path := os.environ.get('TPU_LIBRARY_PATH'):
    return path if pathlib.Path(path).is_file() else ''
  spec = importlib.util.find_spec('libtpu')
  for folder in spec.submodule_search_locations or () if spec else ():
    path = os.path.join(folder, 'libtpu.so')
    if os.path.isfile(path):
      return path
  return ''


def check_installed(topology: Topology) -> None:
  """Raises InputError if a TPU topology has no libtpu to compile with."""
  if topology.platform == 'tpu' and not libtpu_path():
    raise InputError(
      f'got --topology={topology.text} and no libtpu, which compiles for TPUs; '
      "expected it to be installed; try pip install 'vidmodels[tpu-plan]', or "
      f'--topology=cpu:{min(topology.chips, MOST_CPUS)}'
    )


def environment(topology: Topology) -> dict[str, str]:
  """The environment variables of a process that has the topology's devices."""
  package = pathlib.Path(vidmodels.__file__).parent.parent
  changed = {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(package)}
  if path := os.environ.get('PYTHONPATH'):
    changed['PYTHONPATH'] += f'{os.pathsep}{path}'
  if topology.platform == 'cpu':
    flags = os.environ.get('XLA_FLAGS', '')  # the last of two flags counts
    changed['XLA_FLAGS'] = (
      f'{flags} --xla_force_host_platform_device_count={topology.chips}'
    )
  if topology.platform == 'tpu':
    changed |= {
      'TPU_LIBRARY_PATH': libtpu_path(),
      # Outside of Google Cloud it waits a minute for a server that says which
      # machine this is; and another process may have libtpu, too.
      'TPU_SKIP_MDS_QUERY': '1',
      'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
      # What tests leave out would change the program.
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '0',
      # Programs for devices that are not here are written and never read.
      'JAX_COMPILATION_CACHE_DIR': '',
    }
  return {**os.environ, **changed}


def devices(topology: Topology) -> list:
  """The devices, in a process with `environment(topology)`; or those here."""
  if topology.is_local:
    return jax.devices()
  if topology.platform == 'cpu':
    return jax.devices('cpu')[: topology.chips]
  return _tpu_devices(topology)


def _tpu_devices(topology: Topology) -> list:
  from jax.experimental import topologies

  chip = topology.chip
  assert chip is not None
  options: dict = {}
  if chip.cores:
    options['chip_config_name'] = chip.cores
  if topology.chips == 1:  # libtpu takes hosts of 2 x 2 chips for granted
    options['chips_per_host_bounds'] = [1, 1, 1]
  name = (
    f'{chip.library_name or chip.name}:{"x".join(map(str, topology.shape))}'
  )
  try:
    found = topologies.get_topology_desc(
      platform='tpu', topology_name=name, **options
    )
  except Exception as error:  # of libtpu: JaxRuntimeError and others
    words = ' '.join(str(error).split())
    raise InputError(
      f'got --topology={topology.text}, which libtpu does not make ({words}); '
      'expected a slice that exists; try sides that are powers of 2'
    ) from error
  return list(found.devices)
