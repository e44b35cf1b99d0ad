"""VidTr, section 4.2.3: the I3D networks that VidTr is averaged with."""

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import CHARADES

# As many of 64 frames as VidTr-S sees.
EIGHT = {'clip.frames': 8, 'clip.stride': 8.0}
FROM_K400 = ('K700', 'Charades')


def network(depth: int, dataset: str) -> Row:
  """I3D of a depth on a data set."""
  later = dataset in FROM_K400
  return Row(
    name=f'I3D{depth}, 8 frames, {dataset}',
    recipe=f'i3d:heavy,r{depth},{dataset.lower()}',
    overrides=EIGHT,
    start=f'section4_2_3:I3D{depth}, 8 frames, K400' if later else '',
    classes=CHARADES if dataset == 'Charades' else 0,
    reference_gmacs=41.40 if (depth, dataset) == (50, 'K400') else None,
    differs_from='' if depth == 50 else f'I3D50, 8 frames, {dataset}',
    differs_in=('model.reach', 'start' if later else 'init_files'),
  )


TABLE = PaperTable(
  source='VidTr, section 4.2.3',
  title='the I3D networks of the ensembles',
  rows=tuple(
    network(depth, dataset)
    for depth in (50, 101)
    for dataset in ('K400', 'K600', 'K700', 'Charades')
  ),
  notes=(
    'The paper prints no accuracy of these. It has "a light weight I3D50" of 8 '
    'frames. Table 2 adds 41 GFLOPs for it, the cost of '
    "mmaction2's heavy R50 on 256 pixels; the text's 37 is that of SlowFast's "
    '8x8. The rate is not said: 8 of 64 frames, as VidTr-S. Training is '
    "mmaction2's on Kinetics and, on Charades, SlowFast's schedule. Ensembles "
    'of the paper have R50 on K400 and K700; that of Charades has the R101 of '
    'Table 6 with 32 frames.'
  ),
)
