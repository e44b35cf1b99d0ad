"""Plans the headline recipes for three slices and writes docs/scaling.md.

  python experiments/scaling.py               every row that is not known yet
  python experiments/scaling.py vidtr v5e:4x4 only rows with these words
  python experiments/scaling.py --write       the tables of the page alone

A row is a compilation of some minutes, so rows are kept in docs/scaling.json as
they come, the most telling ones first: a run that was stopped goes on where it
was. A row says which commit, JAX and libtpu made it; the page says so, and
which rows are missing. Delete a row to compile it again. The compiler is
libtpu: pip install 'vidmodels[tpu-plan]'.
"""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS, PAGE = ROOT / 'docs' / 'scaling.json', ROOT / 'docs' / 'scaling.md'
RECIPES = {  # and the clips of a step that their releases have
  'TimeSformer base': ('timesformer', 64),
  'TimeSformer HR': ('timesformer:high', 64),
  'TimeSformer L': ('timesformer:long', 64),
  'X-ViT 16': ('xvit', 64),
  'VidTr-S': ('vidtr', 24),
  'VidTr-L': ('vidtr:l', 8),
  'DualFormer-B': ('dualformer:base', 64),
  'Video-FocalNet-B': ('video_focalnet:base', 32),
}
TOPOLOGIES = {'v5e:4x4': 16, 'v5e:16x16': 256, 'v5p:4x4x4': 64}
WEAK = {'v5e:2x4': 8, 'v5e:4x4': 16, 'v5e:8x8': 64, 'v5e:16x16': 256}
# Devices that may share a clip: the heads of every recipe divide over 4.
MOST_SHARED = 4
SPLIT = ('--config.mesh.data=1', '--config.mesh.fsdp=-1')
WHOLE = ('--config.mesh.data=-1', '--config.mesh.fsdp=1')


def plan(recipe: str, topology: str, *flags: str) -> dict[str, Any]:
  """What `vidmodels plan` says, its JSON or its error, and who says it."""
  argv = [f'--config={recipe}', f'--topology={topology}', '--json', *flags]
  done = subprocess.run(
    [sys.executable, '-m', 'vidmodels', 'plan', *argv],
    stdout=subprocess.PIPE,
    text=True,
    check=False,
  )
  return {**json.loads(done.stdout), 'flags': argv, 'made_by': versions()}


def versions() -> dict[str, str]:
  """The commit of this checkout, and what compiles."""
  git = ['git', '-C', str(ROOT)]
  changed = subprocess.run(
    [*git, 'status', '--porcelain', 'vidmodels'], capture_output=True, text=True
  ).stdout.strip()
  commit = subprocess.run(
    [*git, 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True
  ).stdout.strip()
  # libtpu may be elsewhere: TPU_LIBRARY_PATH is .../libtpu/libtpu.so.
  library = pathlib.Path(os.environ.get('TPU_LIBRARY_PATH', ''))
  places = [*sys.path, str(library.parent.parent)]
  found = {'commit': commit + (' with changes' if changed else '')}
  for name in ('jax', 'libtpu'):
    made = importlib.metadata.distributions(name=name, path=places)
    found[name] = next((each.version for each in made), 'unknown')
  return found


def fitting_batch(published: int, chips: int) -> tuple[int, int]:
  """The number of clips nearest to the published one that chips can work on.

  And the chips that share one, at most 4: a clip on more has no heads for them.
  """
  choices = [(chips // shared, shared) for shared in (1, 2, 4)]
  whole = max(published // chips, 1) * chips
  choices += [(whole, 1), (whole + chips, 1)]
  distance = lambda choice: (abs(choice[0] - published), -choice[0])
  return min(choices, key=distance)


def headline(name: str, topology: str) -> dict[str, Any]:
  """A recipe on a slice: weights whole, and if that does not fit, split.

  Then with remat=block, too.
  """
  recipe, published = RECIPES[name]
  batch, shared = fitting_batch(published, TOPOLOGIES[topology])
  flags = [f'--batch={batch}', f'--config.mesh.tensor={shared}']
  for more in ([], [*SPLIT, '--remat=block']):
    made = plan(recipe, topology, *flags, *more)
    if made.get('fits') or 'error' in made:
      break
  return made | {'published_batch': published}


def against(recipe: str, batch: int, remat: str, mesh: tuple) -> dict[str, Any]:
  """A recipe on 16 chips, with its weights whole or split."""
  flags = (f'--batch={batch}', f'--remat={remat}', *mesh)
  return plan(recipe, 'v5e:4x4', *flags)


SIXTEEN = (  # name, clips, remat: what fsdp saves on 16 chips
  ('TimeSformer base', 16, 'block'),
  ('TimeSformer base', 64, 'none'),
  ('TimeSformer L', 16, 'block'),
  ('X-ViT 16', 16, 'none'),
  ('VidTr-L', 16, 'none'),
  ('DualFormer-B', 16, 'none'),
  ('Video-FocalNet-B', 32, 'none'),
)


def jobs() -> dict[str, tuple]:
  """Every row: its name, and what makes it; the most telling ones first."""
  rows: dict[str, tuple] = {}
  for name, batch, remat in SIXTEEN:
    for kind, mesh in (('data', WHOLE), ('fsdp', SPLIT)):
      row = f'{kind} | {name} | {batch} | {remat}'
      rows[row] = (against, RECIPES[name][0], batch, remat, mesh)
  for topology in ('v5e:16x16', 'v5e:2x4', 'v5e:8x8', 'v5e:4x4'):
    flags = ('timesformer', topology, f'--batch={WEAK[topology]}')
    rows[f'weak | {topology}'] = (plan, *flags)
  pairs = [(n, t) for t in TOPOLOGIES for n in RECIPES]
  pairs.sort(key=lambda pair: pair != ('TimeSformer L', 'v5e:16x16'))
  for name, topology in pairs:
    rows[f'{name} | {topology}'] = (headline, name, topology)
  return rows


def main(words: list[str]) -> None:
  """Makes the rows whose names or recipes have all the words."""
  known = json.loads(ROWS.read_text()) if ROWS.exists() else {}
  for name, (make, *args) in jobs().items():
    text = f'{name} {args}'
    if name not in known and all(word in text for word in words):
      print(name, flush=True)
      known[name] = make(*args)
      ROWS.write_text(json.dumps(known, indent=1) + '\n')
      write(known)


def write(known: dict[str, Any]) -> None:
  """Puts the tables between the page's marks."""
  page = PAGE.read_text()
  begin, end = '<!-- rows: begin -->', '<!-- rows: end -->'
  before, after = page.split(begin)[0], page.split(end)[1]
  text = [begin, '', made_by(known), '', *split_table(known), '']
  text += [*weak_table(known), '', *headline_table(known), '', end]
  PAGE.write_text(before + '\n'.join(text) + after)


def made_by(known: dict[str, Any]) -> str:
  """Which programs the rows are of, and which rows are missing."""
  makers = sorted(
    {
      'commit {commit}, JAX {jax}, libtpu {libtpu}'.format(**row['made_by'])
      for row in known.values()
    }
  )
  text = f'Made by {"; ".join(makers) or "nobody yet"}.'
  missing = [name for name in jobs() if name not in known]
  if missing:
    text += f' Not compiled yet, of {len(jobs())} rows: {len(missing)}.'
  return text


NOT_YET = 'not compiled yet'


def split_table(known: dict[str, Any]) -> list[str]:
  """What fsdp=16 needs against data=16 on v5e:4x4."""
  lines = [
    *('### Weights whole against split, 16 chips of v5e:4x4', ''),
    '| recipe | clips | remat | data=16 | fsdp=16 | saved | of the bytes that '
    'sharding takes off |',
    '|---|---:|---|---:|---:|---:|---:|',
  ]
  for name, batch, remat in SIXTEEN:
    pair = [known.get(f'{k} | {name} | {batch} | {remat}') for k in SHARDED]
    lines.append(f'| {name} | {batch} | {remat} | {split_cells(*pair)} |')
  return lines


SHARDED = ('data', 'fsdp')


def split_cells(data: dict | None, fsdp: dict | None) -> str:
  """Memory of both, what is saved, and its share of the arguments' fall."""
  cells = [memory(row) for row in (data, fsdp)]
  if not data or not fsdp or 'error' in data or 'error' in fsdp:
    return ' | '.join([*cells, '-', '-'])
  saved = data['memory_bytes'] - fsdp['memory_bytes']
  cells.append(f'{saved / 1e9:.2f} GB')
  if data['argument_bytes'] is None or fsdp['argument_bytes'] is None:
    return ' | '.join([*cells, '-'])
  fallen = data['argument_bytes'] - fsdp['argument_bytes']
  return ' | '.join([*cells, f'{saved / fallen:.0%}'])


def memory(row: dict | None) -> str:
  """What a chip needs, and whether the compiler refused it."""
  if row is None:
    return NOT_YET
  if 'error' in row:
    return row['error']
  refused = ' (refused)' if row['flops'] is None else ''
  return f'{row["memory_bytes"] / 1e9:.2f} GB{refused}'


def weak_table(known: dict[str, Any]) -> list[str]:
  """One clip a chip of TimeSformer base, on more and more chips."""
  lines = [
    *('### Weak scaling: TimeSformer base, one clip a chip', ''),
    '| slice | chips | FLOPs a chip | memory a chip | sent a chip | step, at '
    'least | bound |',
    '|---|---:|---:|---:|---:|---:|---|',
  ]
  for topology, chips in WEAK.items():
    row = known.get(f'weak | {topology}')
    if row is None or row.get('flops') is None:
      cells = ('-', memory(row), '-', '-', '-')
    else:
      cells = (
        *(f'{row["flops"]:.3e}', memory(row)),
        f'{row["sent_bytes"] / 1e6:,.0f} MB',
        *(step_time(row), row['bound']),
      )
    lines.append(f'| {topology} | {chips} | {" | ".join(cells)} |')
  return lines


def step_time(row: dict) -> str:
  """The estimate in milliseconds."""
  seconds = row['estimated_step_s']
  return '-' if seconds is None else f'{1e3 * seconds:.1f} ms'


def headline_table(known: dict[str, Any]) -> list[str]:
  """Every recipe on every slice."""
  lines = [
    *('### Recipes at their own batch', ''),
    '| recipe | slice | clips | mesh | remat | memory a chip | fits | results '
    'of collectives | step, at least | bound |',
    '|---|---|---:|---|---|---:|---|---:|---:|---|',
  ]
  missing = []
  for topology in TOPOLOGIES:
    for name in RECIPES:
      row = known.get(f'{name} | {topology}')
      if row:
        lines.append(f'| {name} | {topology} | {" | ".join(cells_of(row))} |')
      else:
        missing.append(f'{name} on {topology}')
  if missing:
    lines += ['', f'{NOT_YET.capitalize()}: {", ".join(missing)}.']
  return lines


def cells_of(row: dict[str, Any]) -> list[str]:
  """The cells of one recipe on one slice."""
  if 'error' in row:
    return [row['error'], *['-'] * 7]
  clips = str(row['batch'])
  if row['batch'] != row['published_batch']:
    clips += f' (released: {row["published_batch"]})'
  moved = '-'
  if row['collectives'] is not None:
    total = sum(each['bytes'] for each in row['collectives'].values())
    moved = f'{total / 1e6:,.0f} MB'
  mesh = ' x '.join(f'{a} {n}' for a, n in row['mesh'].items() if n > 1)
  return [
    *(clips, mesh or '1', str(row['remat'])),
    f'{row["memory_bytes"] / 1e9:.2f} of {row["hbm_bytes"] / 1e9:.1f} GB',
    *('yes' if row['fits'] else 'no', moved, step_time(row)),
    row['bound'] or '-',
  ]


if __name__ == '__main__':
  if sys.argv[1:] == ['--write']:
    write(json.loads(ROWS.read_text()) if ROWS.exists() else {})
  else:
    main(sys.argv[1:])
