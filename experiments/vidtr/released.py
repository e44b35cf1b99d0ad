"""VidTr as released: README and configurations of amazon-science/gluonmm."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import ATTENTION, CUT, SHORT, TOKENS, UNKNOWN

# Model: word of the recipe, top-1 and top-5, GFLOPs, parameters and
# multiply-adds of the code, and why these are not the GFLOPs.
PRINTED: dict[str, tuple[str, tuple[float, float], int, int, float, str]] = {
  'VidTr-S': ('s', (77.7, 93.3), 89, 87_473_296, 158.25, TOKENS),
  'VidTr-M': ('m', (78.6, 93.5), 179, 88_689_808, 299.51, TOKENS),
  'VidTr-L': (
    *('l', (79.1, 93.9), 351, 91_122_832, 583.42),
    SHORT.format(358.9),
  ),
  'Compact-VidTr-S': (
    *('compact-s', (75.7, 92.4), 39, 87_159_952, 64.60),
    CUT,
  ),
  'Compact-VidTr-M': (
    *('compact-m', (76.7, 92.5), 59, 88_364_176, 77.19),
    UNKNOWN,
  ),
}

ROWS: tuple[Row, ...] = tuple(
  Row(
    name=name,
    recipe=f'vidtr:{word},k400',
    overrides={'dtype': 'float32'},
    figures=top(*figures),
    gmacs=gmacs,
    macs_without=ATTENTION,
    reference_params=params,
    reference_gmacs=counted,
    why=why,
  )
  for name, (word, figures, gmacs, params, counted, why) in PRINTED.items()
)

TABLE = PaperTable(
  source='VidTr, README of the release',
  title='released weights of VidTr',
  origin='release',
  rows=ROWS,
  notes=(
    'Batches are those of all devices of the released files. They start from '
    "vit_inflate.pth, a ViT-B of ImageNet-21k; the ViT paper's own file is the "
    'same image model.'
  ),
)
