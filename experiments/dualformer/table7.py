"""DualFormer, Table 7: how positions are encoded."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import LABELS_NOTE, ablation

DEFAULT = 'DWConv'
METHODS = {
  'w.o PEG': ('none', 78.9),
  'Absolute': ('absolute', 79.2),
  'Relative': ('relative', 79.3),
  DEFAULT: ('peg', 79.5),
}

TABLE = PaperTable(
  source='DualFormer, Table 7',
  title='no position encoding, tables, biases, and convolutions',
  rows=tuple(
    ablation(
      name,
      {} if name == DEFAULT else {'model.position': position},
      top(top1),
      DEFAULT,
      tiny_set='motion',
    )
    for name, (position, top1) in METHODS.items()
  ),
  notes=(
    "Absolute positions are TimeSformer's, learned tables of places and frames "
    "after the first patches; relative ones are Swin's, a learned bias of "
    f'local levels alone. Neither was released. {LABELS_NOTE}'
  ),
)
