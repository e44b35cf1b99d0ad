"""VidTr, Table 5a: patches over several frames, and larger ones."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import ATTENTION, BATCH, NETWORK, SHORT, TOKENS, UNSAID

# Patch: word of the recipe, fields that differ from VidTr-S, top-1, GFLOPs,
# what the authors' code needs, and why the two differ.
PRINTED: dict[str, tuple[str, tuple[str, ...], float, int, float, str]] = {
  'Cubic (4x16^2)': (
    'cubic-4',
    ('model.patch_frames',),
    *(73.1, 23, 53.30, TOKENS),
  ),
  'Cubic (2x16^2)': (
    'cubic-2',
    ('model.patch_frames',),
    *(75.5, 45, 88.25, TOKENS),
  ),
  'Square (1x16^2)': ('released', (), 77.7, 89, 158.25, TOKENS),
  'Square (1x32^2)': (
    'square-32',
    ('model.patch', 'init_files'),
    *(71.2, 21, 39.64, SHORT.format(23.2)),
  ),
}
BASE = 'Square (1x16^2)'

ROWS: tuple[Row, ...] = tuple(
  Row(
    name=name,
    recipe=f'vidtr:s,k400,{word}',
    overrides=BATCH,
    trained_as='table2:VidTr-S' if name == BASE else '',
    figures=top(top1),
    gmacs=gmacs,
    macs_without=ATTENTION,
    reference_gmacs=counted,
    why=why,
    unsaid=UNSAID,
    differs_from='' if name == BASE else BASE,
    differs_in=fields,
  )
  for name, (word, fields, top1, gmacs, counted, why) in PRINTED.items()
)

TABLE = PaperTable(
  source='VidTr, Table 5a',
  title='patches of several frames, and of 32 pixels',
  rows=ROWS,
  notes=(
    f'{NETWORK} How the kernel of a cubic patch starts from an image model is '
    'not said: here it is repeated over the frames and divided by their number.'
  ),
)
