"""Checks how large and how deep the objects of a pickle are before making them.

A few bytes can describe a tuple that holds the tuple before it twice, sixty
times over: to hash or print the last one takes forever. Another pickle nests a
million levels, and the interpreter's own stack overflows. So the opcodes are
run once on sizes alone.
"""

import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

# A checkpoint of torch has about ten thousand tensors, a dozen levels deep.
LARGEST, DEEPEST = 10_000_000, 500
# Its pickle has 2 MB and 300,000 opcodes, without the tensors' bytes.
LARGEST_PICKLE, MOST_OPCODES = 1 << 26, 4_000_000
# These add to the object below them, which stays as deep as it was.
_GROW = {'APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'ADDITEMS', 'BUILD'}
_MARK = pickletools.markobject

Size = tuple[int, int]  # objects inside, levels of nesting


def check_pickle(raw: bytes) -> None:
  """Refuses a pickle whose objects, each written out in full, are too many.

  Mutable objects count as large as they were when they were last named: they
  cannot be keys, so nothing ever walks through them. A memo place far beyond
  the pickle's length would ask for gigabytes.

  Raises:
    pickle.UnpicklingError: for one too large, too deep or damaged.
  """
  stack: list[Size | None] = []  # None is a mark
  memo: dict[int, Size] = {}
  for opcode, value in limited_opcodes(raw):
    name = opcode.name
    if 'PUT' in name or name == 'MEMOIZE':
      place = len(memo) if value is None else int(value)
      if place > len(raw):
        raise pickle.UnpicklingError(f'memo place {place}')
      memo[place] = _read_top(stack)
    elif 'GET' in name:
      stack.append(memo.get(int(value or 0), (1, 1)))
    elif name == 'MARK':
      stack.append(None)
    elif name == 'DUP':
      stack.append(_read_top(stack))
    elif name == 'POP':
      _pop(stack)
    else:
      _run_opcode(opcode, stack)


def limited_opcodes(
  pickled: Any,
) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
  """The opcodes of a pickle, bytes or a file, with their arguments.

  Raises:
    pickle.UnpicklingError: after `MOST_OPCODES`, which took ten seconds.
  """
  for count, (opcode, value, _) in enumerate(pickletools.genops(pickled)):
    if count == MOST_OPCODES:
      raise pickle.UnpicklingError(f'a pickle of over {count:,} steps')
    yield opcode, value


def _run_opcode(
  opcode: pickletools.OpcodeInfo, stack: list[Size | None]
) -> None:
  """Pops what an opcode takes, and pushes one size if it pushes an object."""
  taken: list[Size] = []
  for kind in reversed(opcode.stack_before):
    if kind is pickletools.stackslice:
      while (size := _pop(stack)) is not None:
        taken.append(size)
    elif kind is not _MARK:  # a mark is popped with the slice above it
      taken.append(_pop(stack) or (1, 1))
  if not opcode.stack_after:
    return
  below = taken.pop() if opcode.name in _GROW else (1, 1)
  total = below[0] + sum(size for size, _ in taken)
  depth = max([below[1], *(1 + depth for _, depth in taken)])
  if total > LARGEST:
    raise pickle.UnpicklingError(f'an object of more than {LARGEST:,} parts')
  if depth > DEEPEST:
    raise pickle.UnpicklingError(f'objects in each other {depth} deep')
  stack.append((total, depth))


def _pop(stack: list[Size | None]) -> Size | None:
  if not stack:
    raise pickle.UnpicklingError('nothing left on the stack')
  return stack.pop()


def _read_top(stack: list[Size | None]) -> Size:
  stack.append(_pop(stack))
  return stack[-1] or (1, 1)
