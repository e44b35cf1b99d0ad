"""X-ViT, Table 5: fewer tokens on SSv2."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import BEST, run, views_of

FEWER_TOKENS = (
  'An image ViT of this size alone needs 4.4 (B/32) or 15.4 (L/32) billion '
  'multiply-adds a frame, so that three views of eight frames cannot cost what '
  'the table prints; B/16, counted the same way, agrees with it.'
)
LARGE = ('model.width', 'model.heads', 'model.layers')
# Model: word, fields that differ from B/16, top-1, top-5, FLOPs of three views.
PRINTED: dict[str, tuple[Any, ...]] = {
  'ViT-B/32': ('b32', ('model.patch', 'init_files'), 60.5, 87.4, 95),
  'ViT-L/32': ('l32', ('model.patch', 'init_files', *LARGE), 61.8, 88.3, 327),
  'ViT-B/16': ('b16', (), 64.4, 89.3, 425),
}

ROWS = tuple(
  run(
    name,
    f'ssv2,8,{word}',
    trained_as=BEST if word == 'b16' else '',
    figures=top(top1, top5),
    why='' if word == 'b16' else FEWER_TOKENS,
    differs_from='' if word == 'b16' else 'ViT-B/16',
    differs_in=fields,
    **views_of('1x3', flops),
  )
  for name, (word, fields, top1, top5, flops) in PRINTED.items()
)

TABLE = PaperTable(
  source='X-ViT, Table 5', title='fewer and wider tokens', rows=ROWS
)
