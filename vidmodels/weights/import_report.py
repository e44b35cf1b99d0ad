"""What a file is and what became of it, as data and as text."""

import collections
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from vidmodels.weights import choosing
from vidmodels.weights.diff import Difference
from vidmodels.weights.formats import hub_config
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.load_weights import Imported
from vidmodels.weights.mapping import identify
from vidmodels.weights.mapping.identify import Found


def inspect(path: str | pathlib.Path) -> dict[str, Any]:
  """What a file says of itself, as plain data.

  Raises:
    InputError: for a file that cannot be read.
  """
  file = open_file(path)
  specs, failed = file.tensors.specs, []
  found = identify.identify(file.tensors, failed)
  return {
    'file': str(path),
    'bytes': file.path.stat().st_size,
    'sha256': file.sha256(),
    'container': file.container,
    'under': list(file.under),
    'others': dict(file.others),
    'notes': list(file.notes),
    'tensors': [
      {'key': key, 'shape': list(shape), 'dtype': str(dtype)}
      for key, (shape, dtype) in specs.items()
    ],
    'numbers': sum(math.prod(shape) for shape, _ in specs.values()),
    'likely': [_likely(each, choosing.told(file, each)) for each in found],
    'unreadable': failed,
  }


def _likely(found: Found, beside: hub_config.Told) -> dict[str, Any]:
  """One reading of a file."""
  guess, pixels = found.guess, choosing.pixels(found, beside)
  return {
    'family': found.naming.family,
    'names': found.naming.name,
    'prefix': found.prefix,
    'size': guess.size,
    'model': {**guess.model, **_known(guess.model, beside.trained)},
    'assumed': [name for name in guess.assumed if name not in beside.trained],
    'trained': {**found.naming.trained, **beside.trained},
    'beside': list(beside.files),
    'labels': len(beside.labels),
    'clip': list(guess.clip),
    'classes': guess.classes,
    'mean': list(pixels.mean) if pixels else None,
    'std': list(pixels.std) if pixels else None,
    'channels': pixels.order if pixels else None,
    'notes': list(guess.notes),
  }


def _known(model: Mapping[str, Any], trained: Mapping[str, Any]):
  """What lies beside a file, of the fields that its shapes have."""
  return {name: value for name, value in trained.items() if name in model}


def inspection(found: Mapping[str, Any], *, rows: int = 20) -> str:
  """`inspect` for people; `rows` tensors, 0 for all."""
  tensors = found['tensors']
  under = f', under {" / ".join(found["under"])}' if found['under'] else ''
  lines = [
    f'{found["file"]}: {found["container"]}, {found["bytes"] / 1e6:.1f} MB, '
    f'{len(tensors)} tensors of {found["numbers"]:,} numbers{under}',
    f'sha256 {found["sha256"]}',
    *(f'  beside them {name}: {v}' for name, v in found['others'].items()),
    *(f'  note: {note}' for note in found['notes']),
  ]
  for each in found['likely']:
    lines += _reading(each)
  lines += [f'perhaps {why}' for why in found['unreadable']]
  if not found['likely'] and not found['unreadable']:
    lines.append('of no family that is known here')
  width = max(len(t['key']) for t in tensors)
  for tensor in tensors[: rows or None]:
    shape = ' x '.join(map(str, tensor['shape'])) or 'one number'
    lines.append(f'  {tensor["key"]:{width}}  {tensor["dtype"]}  {shape}')
  if rows and len(tensors) > rows:
    lines.append(f'  and {len(tensors) - rows} more; --tensors=0 shows all')
  return '\n'.join(lines)


def _reading(each: Mapping[str, Any]) -> list[str]:
  """Lines of one reading."""
  T, H, W, _ = each['clip']
  fields = ', '.join(f'{name}={value}' for name, value in each['model'].items())
  lines = [
    f'likely {each["family"]} {each["size"]} ({each["names"]} names): '
    f'{each["classes"] or "no"} classes, tables for {T} frames of {H} x {W}',
    f'  fields {fields}',
  ]
  if each['assumed']:
    lines.append(f'  assumed, not told by shapes: {", ".join(each["assumed"])}')
  if each['mean']:
    lines.append(
      f'  trained on {each["channels"]} with mean {each["mean"]}, std '
      f'{each["std"]}'
    )
  trained = ', '.join(f'{k} {v}' for k, v in each['trained'].items())
  if trained:
    lines.append(f'  a model with {trained}')
  if each['beside']:
    lines.append(
      f'  read beside it: {", ".join(each["beside"])}, which name '
      f'{each["labels"] or "no"} classes'
    )
  return lines + [f'  note: {note}' for note in each['notes']]


def summary(made: Imported) -> dict[str, Any]:
  """What became of a file's keys and a model's parameters, as plain data."""
  books, found = made.books, made.found
  return {
    'file': str(made.file.path),
    'sha256': made.file.sha256(),
    'read_as': f'{found.naming.family} {found.naming.name}',
    'family': made.family,
    'used': len(books.used),
    'dropped': dict(books.dropped),
    'random': dict(books.random),
    'changed': dict(books.changed),
    'notes': list(made.notes),
  }


def lines(said: Mapping[str, Any]) -> str:
  """`summary` for people: what is alike in all blocks is said once."""
  text = [
    f'{said["file"]} read as {said["read_as"]} into {said["family"]}: '
    f'{said["used"]} keys used'
  ]
  for what in ('dropped', 'random', 'changed'):
    alike = collections.Counter(
      (re.sub(r'\d+', '*', name), why) for name, why in said[what].items()
    )
    text += [
      f'  {what} {name}{f" ({count} of them)" if count > 1 else ""}: {why}'
      for (name, why), count in alike.items()
    ]
  return '\n'.join(text + [f'  note: {note}' for note in said['notes']])


def difference(each: Difference) -> str:
  """One row of a comparison for people."""
  types = [kind for kind in (each.a_dtype, each.b_dtype) if kind]
  dtypes = ' and '.join(dict.fromkeys(types))
  said = f'{each.key}: {each.kind}'
  if each.kind == 'shape':
    return f'{said} {each.a} and {each.b}, {dtypes}'
  if each.kind == 'dtype':
    return f'{said} {dtypes}'
  if each.kind == 'values':
    return (
      f'{said} {each.a} {dtypes} differ by at most {each.largest:.3g}, '
      f'{each.relative:.2%} of the size of A'
    )
  return f'{said} {each.a or each.b} {dtypes}'
