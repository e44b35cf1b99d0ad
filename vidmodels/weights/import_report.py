"""Describes a weight file and an import, as plain data and as text.

print(format_inspection(inspect('TimeSformer.pyth')))
print(format_summary(summarize(load_path('B_16.npz', 'timesformer'))))
"""

import collections
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from vidmodels.typing import quote
from vidmodels.weights import load_weights, own_files
from vidmodels.weights.diff import Difference
from vidmodels.weights.formats.hub_config import HubConfig
from vidmodels.weights.formats.open_file import open_file
from vidmodels.weights.load_weights import Imported
from vidmodels.weights.mapping.identify import Match


def inspect(path: str | pathlib.Path) -> dict[str, Any]:
  """What a file tells about itself, as plain data."""
  file = open_file(path)
  specs = file.tensors.specs
  failed: list[str] = []
  matches = own_files.list_matches(file, failed)
  description = own_files.describe_file(file)
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
    'likely': [
      _describe_match(match, load_weights.read_hub_config(file, match))
      for match in matches
    ],
    'unreadable': failed,
    'description': description and description.summary(),
  }


def _describe_match(match: Match, config: HubConfig) -> dict[str, Any]:
  """One naming that matches a file, as plain data."""
  guess, pixels = match.guess, load_weights.find_pixels(match, config)
  from_hub = {k: v for k, v in config.trained.items() if k in guess.model}
  return {
    'family': match.naming.family,
    'names': match.naming.name,
    'prefix': match.unwrapped.prefix,
    'size': guess.size,
    'model': {**guess.model, **from_hub},
    'assumed': [name for name in guess.assumed if name not in config.trained],
    'trained': {**match.naming.trained, **config.trained},
    'beside': list(config.files),
    'labels': len(config.labels),
    'clip': list(guess.clip),
    'classes': guess.classes,
    'mean': list(pixels.mean) if pixels else None,
    'std': list(pixels.std) if pixels else None,
    'channels': pixels.order if pixels else None,
    'notes': list(guess.notes),
  }


def format_inspection(inspection: Mapping[str, Any], *, rows: int = 20) -> str:
  """The result of `inspect` as text; `rows` tensors, 0 for all."""
  tensors = inspection['tensors']
  under = ', under ' + ' / '.join(inspection['under'])
  lines = [
    f'{inspection["file"]}: {inspection["container"]}, '
    f'{inspection["bytes"] / 1e6:.1f} MB, {len(tensors)} tensors of '
    f'{inspection["numbers"]:,} numbers{under if inspection["under"] else ""}',
    f'sha256 {inspection["sha256"]}',
    *(f'  beside them {name}: {v}' for name, v in inspection['others'].items()),
    *(f'  note: {note}' for note in inspection['notes']),
  ]
  if inspection['description']:
    lines += _format_description(inspection['description'])
  for match in inspection['likely']:
    lines += _format_match(match)
  lines += [f'perhaps {why}' for why in inspection['unreadable']]
  if not inspection['likely'] and not inspection['unreadable']:
    lines.append('of no family that is known here')
  width = max(len(quote(t['key'])) for t in tensors)
  for tensor in tensors[: rows or None]:
    shape = ' x '.join(map(str, tensor['shape'])) or 'one number'
    lines.append(
      f'  {quote(tensor["key"]):{width}}  {tensor["dtype"]}  {shape}'
    )
  if rows and len(tensors) > rows:
    lines.append(f'  and {len(tensors) - rows} more; --tensors=0 shows all')
  return '\n'.join(lines)


def _format_description(said: Mapping[str, Any]) -> list[str]:
  """Lines of what a file of ours says about itself."""
  names, clip, views = said['classes'], said['clip'], said['views']
  shown = ', '.join(map(quote, names[:5]))
  lines = [
    f'written by vidmodels {quote(said["version"])}: {said["family"]} after '
    f'{said["step"]} steps ({said["weights"]}), {quote(said["names"])} names',
    f'  classes {shown}{f" and {len(names) - 5} more" if names[5:] else ""}',
    f'  clips of {clip["frames"]} frames of {clip["size"]} pixels, '
    f'{clip["sampling"]} sampling, stride {clip["stride"]:g} '
    f'{clip["unit"]}s; tested on {views["temporal"]} x {views["spatial"]} '
    'views',
  ]
  if source := said['source']:
    licence = source.get('licence')
    lines.append(
      f'  its training started from {quote(source.get("file"))}'
      f'{f", licence {quote(licence)}" if licence else ""}'
    )
  return lines


def _format_match(match: Mapping[str, Any]) -> list[str]:
  """Lines of one naming that matches."""
  T, H, W, _ = match['clip']
  fields = ', '.join(f'{k}={value}' for k, value in match['model'].items())
  lines = [
    f'likely {match["family"]} {match["size"]} ({match["names"]} names): '
    f'{match["classes"] or "no"} classes, tables for {T} frames of {H} x {W}',
    f'  fields {fields}',
  ]
  if assumed := ', '.join(match['assumed']):
    lines.append(f'  assumed, not told by shapes: {assumed}')
  if match['mean']:
    lines.append(
      f'  trained on {match["channels"]} with mean {match["mean"]}, std '
      f'{match["std"]}'
    )
  if match['trained']:
    trained = ', '.join(f'{k} {v}' for k, v in match['trained'].items())
    lines.append(f'  a model with {trained}')
  if match['beside']:
    lines.append(
      f'  read beside it: {", ".join(match["beside"])}, which name '
      f'{match["labels"] or "no"} classes'
    )
  return lines + [f'  note: {note}' for note in match['notes']]


def summarize(imported: Imported) -> dict[str, Any]:
  """What became of a file's keys and a model's parameters, as plain data."""
  report, naming = imported.report, imported.match.naming
  return {
    'file': str(imported.file.path),
    'sha256': imported.file.sha256(),
    'read_as': f'{naming.family} {naming.name}',
    'family': imported.family,
    'used': len(report.used),
    'dropped': dict(report.dropped),
    'random': dict(report.random),
    'changed': dict(report.changed),
    'notes': list(imported.notes),
  }


def format_summary(summary: Mapping[str, Any]) -> str:
  """The result of `summarize` as text; blocks that are alike share a line."""
  lines = [
    f'{summary["file"]} read as {summary["read_as"]} into {summary["family"]}: '
    f'{summary["used"]} keys used'
  ]
  for kind in ('dropped', 'random', 'changed'):
    alike = collections.Counter(
      (re.sub(r'\d+', '*', name), why) for name, why in summary[kind].items()
    )
    lines += [
      f'  {kind} {quote(name)}'
      f'{f" ({count} of them)" if count > 1 else ""}: {why}'
      for (name, why), count in alike.items()
    ]
  return '\n'.join(lines + [f'  note: {note}' for note in summary['notes']])


def format_difference(row: Difference) -> str:
  """One row of a comparison as text."""
  types = [dtype for dtype in (row.a_dtype, row.b_dtype) if dtype]
  dtypes = ' and '.join(dict.fromkeys(types))
  details = {
    'shape': f'{row.a} and {row.b}, {dtypes}',
    'dtype': dtypes,
    'values': (
      f'{row.a} {dtypes} differ by at most {row.largest:.3g}, '
      f'{row.relative:.2%} of the size of A'
    ),
  }.get(row.kind, f'{row.a or row.b} {dtypes}')
  return f'{quote(row.key)}: {row.kind} {details}'
