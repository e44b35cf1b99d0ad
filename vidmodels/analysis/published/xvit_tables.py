"""X-ViT (arXiv 2106.05968): its tables, which print FLOPs of three views.

The paper prints no parameters. The authors' code counts 93,750,876 for 174
classes, of which a linear classifier of 133,806 is never read with temporal
attention; our models have none, and `reference_params` leaves it out. Mixing
has neither parameters nor products, so that every window, share, layer and kind
of it costs what attention within a frame does.
"""

from typing import Any

from vidmodels.analysis.published import CountedModel, PaperRow

L32 = {'patch': 32, 'layers': 24, 'width': 1024, 'heads': 16}
# Parameters that the authors' code counts for SSv2's classes, with temporal
# attention and with averaging, and its multiply-adds for B/16 with 8 frames.
TA, AVERAGING = 93_617_070, 85_938_606
WITH_TA, AVERAGED = (None, TA, 140.6), (None, AVERAGING, 140.5)
FEWER_TOKENS = (
  'An image ViT of this size alone needs 4.4 (B/32) or 15.4 (L/32) billion '
  'multiply-adds a frame, so that three views of eight frames cannot cost what '
  'the table prints; B/16, counted the same way, agrees with it.'
)
LINEAR = (
  'The paper says that cost grows linearly with frames, and prints 425 and 850 '
  'for 8 and 16: 32 frames must be near 1,690, not 1,270.'
)


def _row(
  config: str,
  table: str,
  gmacs: float | None = None,
  params: int | None = None,
  counted: float | None = None,
  *,
  frames: int = 8,
  why: str = '',
  **model: Any,
) -> PaperRow:
  """One row; `params` and `counted` are what the authors' code has."""
  part = CountedModel('xvit', model, (frames, 224, 224), 174)
  source, code = f'X-ViT {table}', (params, counted)
  return PaperRow(config, source, (part,), '', gmacs, *code, why=why)


def _averaged(config: str, table: str, **model: Any) -> PaperRow:
  return _row(config, table, *AVERAGED, ta_layers=0, **model)


def _mix(name: str, mix: str) -> PaperRow:
  return _row(f'mix {name}', 'Table 2c', *WITH_TA, mix=mix)


def _share(share: float) -> PaperRow:
  name = f'mixed channels {share:.0%}'
  return _row(name, 'Table 2d', *WITH_TA, mix_share=share)


# fmt: off
ROWS = (
  _row('B/16 8 frames', 'Tables 4, 6-8: 425 / 3', 141.7, TA, 140.6),
  _row('B/16 16 frames', 'Tables 4, 6-8: 850 / 3', 283.3, TA, 281.1, frames=16),
  _row('B/16 32 frames', 'Table 7: 1,270 / 3', 423.3, TA, 562.3, frames=32,
       why=LINEAR),
  _row('B/32 8 frames', 'Table 5: 95 / 3', 31.7, None, 35.3, patch=32,
       why=FEWER_TOKENS),
  _row('L/32 8 frames', 'Table 5: 327 / 3', 109.0, None, 123.1, **L32,
       why=FEWER_TOKENS),
  # Table 1 says that it averages frames, and by its numbers Table 2a does.
  _averaged('window 0', 'Table 1', mix_window=0),
  _averaged('window 1', 'Table 1'),
  _averaged('window 2', 'Table 1', mix_window=2),
  _averaged('window 2 boundary only', 'Table 1', mix_window=2,
            mix_boundary=True),
  _averaged('mixing in 1st half of layers', 'Table 2a',
            mix_layers='first_half'),
  _averaged('mixing in 2nd half of layers', 'Table 2a',
            mix_layers='second_half'),
  _averaged('mixing in odd layers', 'Table 2a', mix_layers='odd'),
  _averaged('mixing in all layers', 'Table 2a', mix_layers='all'),
  _averaged('TA layers 0', 'Table 2b'),
  _row('TA layers 1', 'Table 2b', *WITH_TA),
  _row('TA layers 2', 'Table 2b', ta_layers=2),
  _row('TA layers 3', 'Table 2b', ta_layers=3),
  _mix('nothing', 'none'),
  _mix('x', 'x'),
  _mix('key', 'key'),
  _mix('value', 'value'),
  _mix('key+value', 'key_value'),
  *map(_share, (0.25, 0.5, 1.0)),
  # The release has no summary tokens, so nothing was counted.
  _row('summary token, no TA', 'Table 3', ta_layers=0, summary=True),
  _row('summary token + TA', 'Table 3', summary=True),
)
# fmt: on
