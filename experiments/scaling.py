"""Plans the headline recipes for three slices and writes docs/scaling.md.

  python experiments/scaling.py               every row that is not known yet
  python experiments/scaling.py vidtr v5e:4x4 only rows with these words
  python experiments/scaling.py --write       the tables of the page alone

A row is a compilation of some minutes, so rows are kept in docs/scaling.json as
they come: a run that was stopped goes on where it was. Delete a row to compile
it again. The compiler is libtpu: pip install 'vidmodels[tpu-plan]'.
"""

import json
import pathlib
import re
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parents[1] / 'docs'
ROWS, PAGE = DOCS / 'scaling.json', DOCS / 'scaling.md'
RECIPES = {
  'TimeSformer base': 'timesformer',
  'TimeSformer HR': 'timesformer:high',
  'TimeSformer L': 'timesformer:long',
  'X-ViT 16': 'xvit',
  'VidTr-S': 'vidtr',
  'VidTr-L': 'vidtr:l',
  'DualFormer-B': 'dualformer:base',
  'Video-FocalNet-B': 'video_focalnet:base',
}
TOPOLOGIES = {'v5e:4x4': 16, 'v5e:16x16': 256, 'v5p:4x4x4': 64}
# Weak scaling: one clip a chip of TimeSformer base.
WEAK = {'v5e:2x4': 8, 'v5e:4x4': 16, 'v5e:8x8': 64, 'v5e:16x16': 256}
# Of one recipe on one slice, until one fits.
TRIES = ([], ['--remat=block', '--config.mesh.data=1', '--config.mesh.fsdp=-1'])


def plan(recipe: str, topology: str, *flags: str) -> dict:
  """What `vidmodels plan` says: its JSON, or its error."""
  argv = [f'--config={recipe}', f'--topology={topology}', '--json', *flags]
  done = subprocess.run(
    [sys.executable, '-m', 'vidmodels', 'plan', *argv],
    stdout=subprocess.PIPE,
    text=True,
    check=False,
  )
  return json.loads(done.stdout)


def headline(recipe: str, topology: str, chips: int) -> dict:
  """The first of TRIES that fits, at the recipe's own batch.

  Where the batch has fewer clips than there are chips, chips that share a clip
  split its heads and hidden units.
  """
  for flags in TRIES:
    made = plan(recipe, topology, *flags)
    if 'does not divide' in made.get('error', ''):
      batch = int(re.search(r'batch of (\d+)', made['error'])[1])
      if batch < chips:
        share = f'--config.mesh.tensor={chips // batch}'
        made = plan(recipe, topology, *flags, share)
    if made.get('fits') or 'error' in made:
      break
  return made


def jobs() -> dict[str, tuple]:
  """Every row: its name, and what makes it."""
  rows: dict[str, tuple] = {}
  for topology, chips in TOPOLOGIES.items():
    for name, recipe in RECIPES.items():
      rows[f'{name} | {topology}'] = (headline, recipe, topology, chips)
  for topology, chips in WEAK.items():
    rows[f'weak | {topology}'] = (
      *(plan, 'timesformer', topology, f'--batch={chips}'),
    )
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


def write(known: dict) -> None:
  """Puts the tables between the page's marks."""
  page = PAGE.read_text()
  begin, end = '<!-- rows: begin -->', '<!-- rows: end -->'
  before, after = page.split(begin)[0], page.split(end)[1]
  rows = [name for name in jobs() if name in known]
  lines = [
    begin,
    '',
    '| recipe | slice | batch | mesh | remat | memory a chip | fits | '
    'collectives a step | step, at least | bound |',
    '|---|---|---:|---|---|---:|---|---:|---:|---|',
    *(line(name, known[name]) for name in rows),
    '',
    end,
  ]
  PAGE.write_text(before + '\n'.join(lines) + after)


def line(name: str, made: dict) -> str:
  """One row of the table."""
  if 'error' in made:
    return f'| {name} | {made["error"]} |' + ' |' * 7
  mesh = ' x '.join(str(size) for size in made['mesh'].values())
  moved, step = '-', '-'
  if made['collectives'] is not None:
    total = sum(each['bytes'] for each in made['collectives'].values())
    moved = f'{total / 1e6:,.0f} MB'
  if made['estimated_step_s'] is not None:
    step = f'{1e3 * made["estimated_step_s"]:.1f} ms'
  cells = (
    *(name, made['batch'], mesh, made['remat']),
    f'{made["memory_bytes"] / 1e9:.2f} of {made["hbm_bytes"] / 1e9:.1f} GB',
    *('yes' if made['fits'] else 'no', moved, step, made['bound'] or '-'),
  )
  return f'| {" | ".join(map(str, cells))} |'


if __name__ == '__main__':
  if sys.argv[1:] == ['--write']:
    write(json.loads(ROWS.read_text()))
  else:
    main(sys.argv[1:])
