"""What a pickle would make, told before it is made.

A few bytes can name an object that holds the one before twice, sixty times
over: to hash or print the last one takes for ever. Another nests a million
deep, and the interpreter's own stack ends before it does. So the opcodes are
run once on sizes alone.
"""

import pickle
import pickletools

# A checkpoint of torch has some ten thousand tensors, a dozen levels deep.
LARGEST, DEEPEST = 10_000_000, 500
# These add to what lies below them, which stays as deep as it was.
_GROW = {'APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'ADDITEMS', 'BUILD'}
_MARK = pickletools.markobject

Size = tuple[int, int]  # objects inside, levels of them


def check(raw: bytes) -> None:
  """Refuses a pickle whose objects, each written out in full, are too many.

  Mutable things are counted as they were when they were last named: they
  cannot be keys, so nothing ever walks through them.

  Raises:
    pickle.UnpicklingError: for one too large or too deep, one that takes from
      an empty stack, or a memo place far beyond the pickle's length, which
      would ask for gigabytes.
  """
  stack: list[Size | None] = []  # None is a mark
  memo: dict[int, Size] = {}
  for opcode, value, _ in pickletools.genops(raw):
    name = opcode.name
    if 'PUT' in name or name == 'MEMOIZE':
      place = len(memo) if value is None else int(value)
      if place > len(raw):
        raise pickle.UnpicklingError(f'memo place {place}')
      memo[place] = _top(stack)
    elif 'GET' in name:
      stack.append(memo.get(int(value), (1, 1)))
    elif name == 'MARK':
      stack.append(None)
    elif name == 'DUP':
      stack.append(_top(stack))
    elif name == 'POP':
      _take(stack)
    else:
      _run(opcode, stack)


def _run(opcode: pickletools.OpcodeInfo, stack: list[Size | None]) -> None:
  """Takes what an opcode takes and puts one thing where it puts one."""
  taken = []
  for kind in reversed(opcode.stack_before):
    if kind is pickletools.stackslice:
      while (size := _take(stack)) is not None:
        taken.append(size)
    elif kind is not _MARK:  # which went with what is above it
      taken.append(_take(stack) or (1, 1))
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


def _take(stack: list[Size | None]) -> Size | None:
  if not stack:
    raise pickle.UnpicklingError('nothing left on the stack')
  return stack.pop()


def _top(stack: list[Size | None]) -> Size:
  if not stack:
    raise pickle.UnpicklingError('nothing left on the stack')
  return stack[-1] or (1, 1)
