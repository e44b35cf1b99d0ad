"""VidTr, Table 5c: the image models that VidTr is built on."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import ATTENTION, BATCH, NETWORK, TOKENS, UNSAID

# Image model: word of the recipe, top-1, GFLOPs, what the authors' code needs,
# modules that are not in the GFLOPs, and why they differ.
PRINTED: dict[str, tuple[str, float, int, float | None, str, str]] = {
  # Here projections seem to be counted: T2T-ViT makes them of linear layers.
  'T2T': (
    *('t2t', 76.3, 34, None),
    r'/(attn|mixer_\d)$',
    f'{TOKENS}; that gives 34.5',
  ),
  'ViT-B': ('released', 77.7, 89, 158.25, ATTENTION, TOKENS),
  'ViT-L': ('vit-l', 77.5, 358, 554.61, ATTENTION, ''),
}
BASE = 'ViT-B'
SIZE = ('model.layers', 'model.width', 'model.heads', 'init_files')
DIFFERS = {
  'T2T': (*SIZE, 'model.stem', 'model.mlp_ratio', 'init_expects'),
  'ViT-L': SIZE,
}

ROWS: tuple[Row, ...] = tuple(
  Row(
    name=name,
    recipe=f'vidtr:s,k400,{word}',
    overrides=BATCH,
    trained_as='table2:VidTr-S' if name == BASE else '',
    figures=top(top1),
    gmacs=gmacs,
    macs_without=without,
    reference_gmacs=counted,
    why=why,
    unsaid=UNSAID,
    differs_from=BASE if name in DIFFERS else '',
    differs_in=DIFFERS.get(name, ()),
  )
  for name, (word, top1, gmacs, counted, without, why) in PRINTED.items()
)

TABLE = PaperTable(
  source='VidTr, Table 5c',
  title='image models that VidTr starts from',
  rows=ROWS,
  notes=(
    f'{NETWORK} Which T2T-ViT is not said; 34 GFLOPs are those of T2T-ViT-14. '
    'The weights of ViT-B and ViT-L are of ImageNet-21k, as released of ViT-B, '
    "T2T-ViT's of ImageNet-1k."
  ),
)
