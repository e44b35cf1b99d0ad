"""Video transformers in JAX: five papers, one trainer.

Importing the package is cheap: it loads neither JAX nor TensorFlow nor torch.
Start with `vidmodels.models.build` or with `vidmodels --help`.
"""

__version__ = '0.1.0'
