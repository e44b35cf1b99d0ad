"""Video-FocalNets, Figure 5: the designs of Figure 4."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import ablation

PARALLEL = '(e) parallel space and time'
DESIGNS: dict[str, dict[str, Any]] = {
  '(a) space, frames averaged': {'model.design': 'space'},
  '(b) factorized 3D convolution': {'model.design': 'volume'},
  '(c) factorized encoder': {
    'model.design': 'encoder',
    'model.temporal_conv': 'depthwise',
  },
  '(c) factorized encoder, dense': {'model.design': 'encoder'},
  '(d) divided, both in a block': {'model.design': 'pair'},
  '(d) divided, block by block': {'model.design': 'alternate'},
  PARALLEL: {},
}

TABLE = PaperTable(
  source='Video-FocalNets, Figure 5',
  title='five designs of modulation over space and time',
  rows=tuple(
    ablation(name, changes, PARALLEL, tiny_set='motion')
    for name, changes in DESIGNS.items()
  ),
  notes=(
    'The values are in a picture; that of (e) is printed in Table 1. Only (e) '
    'was released. (a) is the image model on every frame. (b) has one '
    'modulator, of depthwise convolutions over space, each followed by one '
    'over time that the text calls point-wise, as it calls that of (e), which '
    'is dense in the release. (c) has an encoder over space and then one over '
    'time, whose convolution the text calls depthwise; the other row has it '
    'dense, as (e); four layers along time are a choice. (d) "uses alternating '
    'spatial and temporal focal modulation" after divided attention: in every '
    'block, or in turn.'
  ),
)
