"""What a compiled program does: collectives, memory, FLOPs, bytes.

  program = jax.jit(f).lower(*shapes).compile()
  collectives(program)  # {'all-reduce': Traffic(count=3, bytes=1200, ...)}
  memory(program).total
  work(program).flops

Everything is of one device. JAX's `cost_analysis` counts the body of a loop
once, so a scan over twelve layers counts as one layer; here loops count as
often as they run. That is read from the text of the program: XLA writes the
trip count beside a loop on CPUs and GPUs; for TPUs it follows from the start,
the step and the bound of the loop's counter.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

KINDS = (
  *('all-gather', 'all-reduce', 'all-to-all', 'collective-broadcast'),
  *('collective-permute', 'ragged-all-to-all', 'reduce-scatter'),
)


@dataclasses.dataclass(frozen=True)
class Traffic:
  """The collectives of one kind in one run of a program, of one device."""

  count: int = 0  # how often one runs
  bytes: int = 0  # of their results: what a device has afterwards
  # sent: what a device sends in a ring, the usual lower bound: of n devices
  # (n - 1) / n of a gathered array, twice that of a reduced one
  sent: int = 0

  def __add__(self, other: 'Traffic') -> 'Traffic':
    return Traffic(
      self.count + other.count,
      self.bytes + other.bytes,
      self.sent + other.sent,
    )


@dataclasses.dataclass(frozen=True)
class ProgramMemory:
  """The memory of a program on one device, in bytes."""

  arguments: int
  results: int  # without those that lie where an argument was
  temporary: int
  code: int

  @property
  def beside_arguments(self) -> int:
    """What a device needs that it does not have before the program runs."""
    return self.results + self.temporary + self.code

  @property
  def total(self) -> int:
    """All that a device needs while the program runs."""
    return self.arguments + self.beside_arguments


@dataclasses.dataclass(frozen=True)
class Work:
  """The arithmetic and the memory traffic of one run, of one device."""

  flops: int  # one multiply-add is two
  bytes_accessed: int  # read and written by instructions, fused ones as one
  # unknown_loops: whose number of trips nothing says; they count as one trip
  unknown_loops: tuple[str, ...] = ()


def collectives(program: Any) -> dict[str, Traffic]:
  """The collectives of a program by kind: all-gather, all-reduce and others.

  `program` is what `lower(...).compile()` returns, or its HLO text. Bytes are
  those of results, so a reduce-scatter of n devices counts an nth of what it
  reduces. One in a loop counts once a trip. An asynchronous pair counts once,
  and so does a chain of TPU fusions that all name the collective they overlap.
  """
  module = parse(_text(program))
  totals: dict[str, Traffic] = {}
  seen: set[tuple] = set()
  for run in executed(module):
    kind = run.instruction.opcode.removesuffix('-done')
    if kind not in KINDS:
      continue
    channel = re.search(r'channel_id=(\d+)', run.instruction.attributes)
    if run.fused and channel:
      if (run.scope, channel[1]) in seen:
        continue
      seen.add((run.scope, channel[1]))
    size, n = run.instruction.bytes, _group_size(module, run)
    one = Traffic(1, size, _sent(kind, size, n))
    totals[kind] = totals.get(kind, Traffic()) + Traffic(
      *(run.times * number for number in dataclasses.astuple(one))
    )
  return totals


def memory(program: Any) -> ProgramMemory | None:
  """The memory of a compiled program; None where the backend does not say."""
  stats = program.memory_analysis()
  if stats is None:
    return None
  results = stats.output_size_in_bytes - stats.alias_size_in_bytes
  return ProgramMemory(
    arguments=stats.argument_size_in_bytes,
    results=max(results, 0),
    temporary=stats.temp_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
  )


def work(program: Any) -> Work:
  """The FLOPs and bytes of a compiled program.

  FLOPs are those of matrix products and convolutions, without their padding,
  and those that a kernel says it has. XLA's `cost_analysis` also counts other
  arithmetic, and on TPUs the maximum over a row of scores as if it were taken
  again for every element: 24 times the product that made the scores.

  Bytes are of operands and results of instructions, those of a fusion once,
  and on TPUs without what lies in VMEM.
  """
  module = parse(_text(program))
  flops = accessed = 0
  unknown = []
  for run in executed(module):
    flops += run.times * product_flops(run)
    if not run.fused:
      accessed += run.times * bytes_accessed(module, run)
    if run.instruction.opcode == 'while' and trips(module, run) is None:
      unknown.append(run.instruction.name)
  return Work(flops, accessed, tuple(unknown))


def _text(program: Any) -> str:
  return program if isinstance(program, str) else program.as_text()


# The text of a program.


class Array(NamedTuple):
  """The type of an array: 'bf16[8,128]{1,0:T(8,128)}'."""

  dtype: str
  shape: tuple[int, ...]
  layout: str

  @property
  def bytes(self) -> int:
    """Its size without padding; 0 for tokens and the like."""
    return math.prod(self.shape) * _bits(self.dtype) // 8

  @property
  def in_device_memory(self) -> bool:
    """Whether it is in the device's large memory, not in a TPU's VMEM."""
    return not re.search(r'S\([1-9]', self.layout)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of HLO: '%name = type opcode(operands), attributes'."""

  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  attributes: str

  @functools.cached_property
  def arrays(self) -> tuple[Array, ...]:
    """The arrays of its result, one or those of a tuple."""
    return tuple(
      Array(dtype, tuple(map(int, filter(None, dims.split(',')))), layout or '')
      for dtype, dims, layout in _ARRAY.findall(self.type)
    )

  @property
  def bytes(self) -> int:
    """The bytes of its result."""
    return sum(array.bytes for array in self.arrays)


Computation = dict[str, Instruction]  # by name, in order; the root is last


@dataclasses.dataclass(frozen=True)
class Module:
  """A parsed program."""

  computations: Mapping[str, Computation]
  roots: Mapping[str, str]  # the name of each computation's root
  entry: str
  devices: int


@dataclasses.dataclass(frozen=True)
class Executed:
  """An instruction as one run of the program meets it."""

  instruction: Instruction
  computation: Computation  # in which it is
  times: int  # how often it runs
  fused: bool  # whether a fusion is around it
  scope: int  # the number of the entry, loop body or branch around it

  def operand(self, number: int) -> Instruction:
    """The instruction that makes an operand."""
    return self.computation[self.instruction.operands[number]]


_ARRAY = re.compile(r'\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?')
_HEAD = re.compile(r'(ENTRY )?%?([^\s(]+) \(.*\) -> .* \{$')
_NAME = re.compile(r'%?([A-Za-z_][\w.\-]*)$')


def _bits(dtype: str) -> int:
  """The bits of an element: of 'bf16' 16; 0 of 'token'."""
  if dtype == 'pred':
    return 8
  digits = re.match(r'(?:bf|[sufc])(\d+)', dtype)
  return int(digits[1]) if digits else 0


def parse(text: str) -> Module:
  """Parses the HLO text of a program."""
  computations: dict[str, Computation] = {}
  roots: dict[str, str] = {}
  entry, current = '', ''
  for line in text.splitlines():
    if not line.startswith(' '):
      if head := _HEAD.match(line):
        current = head[2]
        computations[current] = {}
        entry = current if head[1] else entry
    elif current and ' = ' in line:
      words = line.strip()
      instruction = _parse_line(words.removeprefix('ROOT '))
      computations[current][instruction.name] = instruction
      if words.startswith('ROOT '):
        roots[current] = instruction.name
  count = re.search(r'num_partitions=(\d+)', text[:100_000])
  return Module(computations, roots, entry, int(count[1]) if count else 1)


def _parse_line(line: str) -> Instruction:
  name, _, rest = line.partition(' = ')
  end = _closing(rest) if rest.startswith('(') else rest.index(' ')
  kind, rest = rest[:end], rest[end:].lstrip()
  start = rest.index('(')
  end = _closing(rest[start:]) + start
  inside = rest[start + 1 : end - 1]
  operands = [inside]
  if rest[:start] not in ('constant', 'parameter'):
    # An operand may have its type in front: 'f32[2,3]{1,0} %a'.
    words = (part.split()[-1:] for part in _split(inside))
    operands = [match[1] for w in words if w and (match := _NAME.match(w[0]))]
  return Instruction(
    name.removeprefix('%'), kind, rest[:start], tuple(operands), rest[end:]
  )


def _closing(text: str) -> int:
  """The place behind the bracket that closes the first one."""
  depth = 0
  for match in re.finditer(r'[()]', text):
    depth += 1 if match[0] == '(' else -1
    if not depth:
      return match.end()
  return len(text)


def _split(text: str) -> list[str]:
  """The operands between commas outside of brackets."""
  if not re.search(r'[\[({]', text):
    return text.split(',')
  parts, depth, start = [], 0, 0
  for match in re.finditer(r'[\[\](){},]', text):
    if match[0] == ',':
      if not depth:
        parts.append(text[start : match.start()])
        start = match.end()
    else:
      depth += 1 if match[0] in '[({' else -1
  return [*parts, text[start:]]


# What runs, and how often.

_FUSED = re.compile(
  r'\b(?:calls|called_computations)=(?:\{([^}]*)\}|([^\s,]+))'
)
_CALLED = re.compile(r'\bto_apply=%?([^\s,]+)')
_BRANCHES = re.compile(
  r'\b(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=([^\s,]+))'
)
_BODY = re.compile(r'\bbody=%?([^\s,]+)')
_CONDITION = re.compile(r'\bcondition=%?([^\s,]+)')
_KNOWN_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def executed(module: Module) -> Iterator[Executed]:
  """Every instruction of the program, with how often it runs.

  Every branch of a choice counts as if it ran. Functions that reduce two
  numbers to one are not entered.
  """
  scopes = iter(range(1 << 62))
  waiting = [(module.entry, 1, False, next(scopes))]
  while waiting:
    name, times, fused, scope = waiting.pop()
    computation = module.computations.get(name, {})
    for instruction in computation.values():
      run = Executed(instruction, computation, times, fused, scope)
      yield run
      attributes, opcode = instruction.attributes, instruction.opcode
      if opcode == 'while':
        many = times * (trips(module, run) or 1)
        for pattern in (_BODY, _CONDITION):
          if match := pattern.search(attributes):
            waiting.append((match[1], many, fused, next(scopes)))
      elif opcode == 'conditional':
        for match in _BRANCHES.finditer(attributes):
          for branch in (match[1] or match[2]).split(','):
            branch = branch.strip().removeprefix('%')
            waiting.append((branch, times, fused, next(scopes)))
      elif opcode == 'call':
        for match in _CALLED.finditer(attributes):
          waiting.append((match[1], times, fused, scope))
      else:
        inside = fused or opcode == 'fusion'
        for called in _called(instruction):
          waiting.append((called, times, inside, scope))


def _called(instruction: Instruction) -> list[str]:
  """The computations of a fusion or an asynchronous call."""
  match = _FUSED.search(instruction.attributes)
  names = (match[1] or match[2]).split(',') if match else []
  return [name.strip().removeprefix('%') for name in names]


def trips(module: Module, run: Executed) -> int | None:
  """How often the body of a loop runs; None if nothing says it.

  A TPU program does not say it. Then the loop must count: from a constant, by
  a constant, while it is less than a constant.
  """
  attributes = run.instruction.attributes
  if match := _KNOWN_TRIPS.search(attributes):
    return int(match[1])
  condition, body = _CONDITION.search(attributes), _BODY.search(attributes)
  if condition is None or body is None:
    return None
  root = _root(module, condition[1])
  if root is None or root.opcode != 'compare':
    return None
  inside = module.computations[condition[1]]
  left, right = (_behind_copies(inside, name) for name in root.operands)
  direction = re.search(r'direction=(\w+)', root.attributes)
  if direction and direction[1] == 'GT':
    left, right = right, left
  elif not direction or direction[1] != 'LT':
    return None
  bound, place = _constant(right), _tuple_index(left)
  if bound is None or place is None:
    return None
  start = _constant(
    _element(run.computation, run.instruction.operands[0], place)
  )
  step = _step(module, body[1], place)
  if start is None or not step:
    return None
  return max(-(-(bound - start) // step), 0)


def _root(module: Module, name: str) -> Instruction | None:
  root = module.roots.get(name)
  return module.computations[name][root] if root else None


def _behind_copies(inside: Computation, name: str) -> Instruction | None:
  """The instruction that makes a value, copies left aside."""
  found = inside.get(name)
  while found and found.opcode in (
    'copy',
    'bitcast',
    'copy-done',
    'copy-start',
  ):
    found = inside.get(found.operands[0])
  return found


def _constant(found: Instruction | None) -> int | None:
  if found is None or found.opcode != 'constant':
    return None
  return int(found.operands[0]) if found.operands[0].isdecimal() else None


def _tuple_index(found: Instruction | None) -> int | None:
  if found is None or found.opcode != 'get-tuple-element':
    return None
  match = re.search(r'index=(\d+)', found.attributes)
  return int(match[1]) if match else None


def _element(inside: Computation, name: str, place: int) -> Instruction | None:
  """What makes an element of a tuple."""
  made = inside.get(name)
  if made is None or made.opcode != 'tuple' or place >= len(made.operands):
    return None
  return _behind_copies(inside, made.operands[place])


def _step(module: Module, body: str, place: int) -> int | None:
  """By how much a loop's body increases its counter."""
  root = _root(module, body)
  if root is None:
    return None
  inside = module.computations[body]
  added = _element(inside, root.name, place)
  if added and added.opcode == 'fusion':
    (called,) = _called(added)
    inside, added = module.computations[called], _root(module, called)
  if added is None or added.opcode != 'add':
    return None
  numbers = [
    number
    for name in added.operands
    if (number := _constant(_behind_copies(inside, name))) is not None
  ]
  return numbers[0] if len(numbers) == 1 else None


# Collectives.


def _group_size(module: Module, run: Executed) -> int:
  """Among how many devices a collective works."""
  attributes = run.instruction.attributes
  if run.instruction.opcode.endswith('-done'):
    attributes = run.operand(0).attributes
  if match := re.search(r'replica_groups=\[\d+,(\d+)\]', attributes):
    return int(match[1])
  if match := re.search(
    r'replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}', attributes
  ):
    sizes = dict(re.findall(r"('[^']*'|\w+)=(\d+)", match[1]))
    axes = re.findall(r"('[^']*'|\b[A-Za-z_]\w*)(?::\(\d+\)(\d+))?", match[2])
    return math.prod(int(part or sizes.get(axis, 1)) for axis, part in axes)
  if match := re.search(r'replica_groups=\{\{([\d,]+)\}', attributes):
    return match[1].count(',') + 1
  return module.devices


def _sent(kind: str, size: int, n: int) -> int:
  """What one of n devices sends in a ring, from the bytes of the result."""
  if n < 2 and kind != 'collective-permute':
    return 0
  if kind == 'all-reduce':
    return 2 * size * (n - 1) // n
  if kind == 'reduce-scatter':
    return size * (n - 1)
  if kind in ('all-gather', 'all-to-all', 'ragged-all-to-all'):
    return size * (n - 1) // n
  return size


# Arithmetic and memory traffic.


def product_flops(run: Executed) -> int:
  """The FLOPs of one product of matrices or convolution, else 0."""
  instruction = run.instruction
  if instruction.opcode == 'convolution':
    return 2 * _convolution(run)
  contracted: list[int] = []
  if instruction.opcode == 'dot':
    match = re.search(
      r'lhs_contracting_dims=\{([\d,]*)\}', instruction.attributes
    )
    contracted = [int(d) for d in match[1].split(',') if d] if match else []
  elif instruction.opcode == 'custom-call':
    if match := re.search(
      r'"cost_estimate":\{"flops":"(\d+)"', instruction.attributes
    ):
      return int(match[1])
    match = re.search(
      r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes
    )
    if match is None:
      return 0
    contracted = [int(d) for d in re.findall(r'\d+', match[1])]
  else:
    return 0
  left = run.operand(0).arrays[0].shape
  terms = math.prod(left[d] for d in contracted)
  return 2 * math.prod(instruction.arrays[0].shape) * terms


def _convolution(run: Executed) -> int:
  """The multiply-adds of a convolution; its padding is not multiplied.

  On TPUs every product is one, and a batch of products has its batch as a
  spatial axis, of which the window sees one place.
  """
  attributes = run.instruction.attributes
  labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', attributes)
  window = re.search(r'window=\{([^}]*)\}', attributes)
  if labels is None:
    return 0
  left, kernel = (run.operand(i).arrays[0].shape for i in (0, 1))
  out = run.instruction.arrays[0].shape
  options = dict(
    word.partition('=')[::2] for word in (window[1] if window else '').split()
  )
  pairs = 1
  for axis in sorted(set(labels[2]) - {'i', 'o'}):
    number = int(axis)

    def option(name: str, default: str, number: int = number) -> str:
      return options[name].split('x')[number] if name in options else default

    low = int(option('pad', '0_0').partition('_')[0])
    pairs *= _window_places(
      size=left[labels[1].index(axis)],
      window=kernel[labels[2].index(axis)],
      out=out[labels[3].index(axis)],
      stride=int(option('stride', '1')),
      low=low,
      dilated=int(option('lhs_dilate', '1')),
      spread=int(option('rhs_dilate', '1')),
    )
  inputs = kernel[labels[2].index('i')]
  rest = out[labels[3].index('b')] * out[labels[3].index('f')]
  groups = re.search(r'batch_group_count=(\d+)', attributes)
  return pairs * inputs * rest // (int(groups[1]) if groups else 1)


@functools.lru_cache(maxsize=4096)
def _window_places(
  *,
  size: int,
  window: int,
  out: int,
  stride: int,
  low: int,
  dilated: int,
  spread: int,
) -> int:
  """Pairs of (output, window element) that meet an element of the input."""
  places = np.arange(out)[:, None] * stride + np.arange(window) * spread - low
  inside = (places >= 0) & (places <= (size - 1) * dilated)
  return int((inside & (places % dilated == 0)).sum())


# Instructions that move no data of their own.
_FREE = frozenset(
  (
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast'),
    *('while', 'conditional', 'call', 'after-all', 'partition-id'),
    *('async-start', 'async-update', 'opt-barrier'),
  )
)


def bytes_accessed(module: Module, run: Executed) -> int:
  """The bytes of device memory that an instruction reads and writes.

  Of an operand that a fusion only slices, the slices count; of a result that
  is an updated operand, the update.
  """
  instruction = run.instruction
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith('-done'):
    return 0
  operands = [
    run.computation[name]
    for name in instruction.operands
    if name in run.computation
  ]
  if opcode in ('copy-start', 'slice-start', 'dynamic-slice-start'):
    return _moved(instruction)
  if opcode in ('dynamic-slice', 'slice', 'gather'):
    return 2 * instruction.bytes
  if opcode == 'dynamic-update-slice':
    return 2 * operands[1].bytes
  if opcode != 'fusion':
    return _in_device_memory(instruction) + sum(
      map(_in_device_memory, operands)
    )
  total = _written(module, instruction)
  for number, operand in enumerate(operands):
    if _in_device_memory(operand):
      total += _read(module, instruction, number, most=operand.bytes)
  return total


def _moved(instruction: Instruction) -> int:
  """The bytes of a copy or a slice that a TPU makes beside other work.

  It lies in VMEM or comes from there: then only the other side counts.
  """
  moved = min(array.bytes for array in instruction.arrays[:2])
  sides = [array.in_device_memory for array in instruction.arrays[:2]]
  return moved * sum(sides)


def _in_device_memory(instruction: Instruction) -> int:
  return sum(a.bytes for a in instruction.arrays if a.in_device_memory)


def _users(inside: Computation, name: str) -> list[tuple[Instruction, str]]:
  """What uses a value, and by which name: bitcasts are left aside."""
  users = []
  for each in inside.values():
    if name in each.operands and each.opcode not in ('parameter', 'constant'):
      if each.opcode == 'bitcast':
        users += _users(inside, each.name)
      else:
        users.append((each, name))
  return users


def _read(
  module: Module, fusion: Instruction, number: int, *, most: int
) -> int:
  """What a fusion, with those inside it, reads of one of its operands."""
  inside = module.computations[_called(fusion)[0]]
  parameter = next(
    each.name
    for each in inside.values()
    if each.opcode == 'parameter' and int(each.operands[0]) == number
  )
  total = 0
  for user, name in _users(inside, parameter):
    places = [i for i, each in enumerate(user.operands) if each == name]
    if user.opcode in ('dynamic-slice', 'slice', 'gather') and places == [0]:
      total += user.bytes
    elif user.opcode == 'dynamic-update-slice' and places == [0]:
      continue  # what is not written stays where it is
    elif user.opcode == 'fusion':
      total += sum(_read(module, user, i, most=most) for i in places)
    elif user.opcode != 'tuple':  # that hands it on as it is
      return most
  return min(total, most)


def _written(module: Module, fusion: Instruction) -> int:
  """What a fusion writes."""
  called = _called(fusion)[0]
  inside, root = module.computations[called], module.roots[called]
  made = inside[root]
  parts = made.operands if made.opcode == 'tuple' else (root,)
  if len(parts) != len(fusion.arrays):  # a kernel with several results
    return _in_device_memory(fusion)
  return sum(
    _updated(module, inside, name) or array.bytes
    for name, array in zip(parts, fusion.arrays, strict=True)
    if array.in_device_memory
  )


def _updated(module: Module, inside: Computation, name: str) -> int:
  """The bytes of the part that is written if the rest stays; else 0."""
  part = inside[name]
  while part.opcode == 'bitcast':
    part = inside[part.operands[0]]
  if part.opcode == 'dynamic-update-slice':
    return inside[part.operands[1]].bytes
  if part.opcode == 'fusion' and len(part.arrays) == 1:
    called = _called(part)[0]
    return _updated(module, module.computations[called], module.roots[called])
  return 0
