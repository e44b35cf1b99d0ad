"""Video transformers in JAX: five papers, one trainer.

  import vidmodels

  model = vidmodels.load('runs/first')  # a run, or a file of its weights
  model.predict('clip.mp4').classes
  module = vidmodels.models.build('timesformer', classes=400)
  config = vidmodels.config.check(recipe)

`load` is evaluate/loaded_model.py. Importing the package is cheap: it loads
neither JAX nor TensorFlow nor torch. Its parts load when they are first used.
The command line is `vidmodels --help`.
"""

import importlib
import os
from typing import Any

__version__ = '0.1.0'
# Pixels of a picture that OpenCV decodes, before it makes room for them: a JPEG
# of 1 KB may claim 65,535 x 65,535. 8K video has half as many. OpenCV reads
# this when it is imported.
os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(1 << 26))
_PARTS = (
  *('analysis', 'config', 'data', 'evaluate', 'models', 'nn', 'train'),
  'weights',
)


def __getattr__(name: str) -> Any:
  """Imports a part of the package at its first use (PEP 562)."""
  if name == 'load':
    return importlib.import_module(f'{__name__}.evaluate.loaded_model').load
  if name in _PARTS:
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted({*globals(), *_PARTS, 'load'})
