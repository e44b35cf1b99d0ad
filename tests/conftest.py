"""What tests share: the machine's shape, and the folder of reference files."""

import collections
import gc
import importlib.metadata
import os
import pathlib

# Before JAX starts: eight CPU devices, so that every mesh can be built.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Tiny programs run once cost more to compile than to run: without XLA's
# optimisations a test file takes about half the CPU time. In the environment,
# for commands that tests start: their bits are compared with ours.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
# Two workers keep two cores busy; one compilation needs no threads of its own.
os.environ['XLA_FLAGS'] += ' --xla_cpu_parallel_codegen_split_count=1'
if os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] == '1' and (
  importlib.metadata.version('jaxlib').startswith('0.10.')
):
  # The older emitters compile in a third of the time (the gradient of a tiny
  # VidTr: 0.9 s instead of 2.7 s). JAX 0.12 no longer has them, and XLA ends
  # the process at a flag that it does not know.
  os.environ['XLA_FLAGS'] += ' --xla_cpu_use_fusion_emitters=false'
  os.environ['XLA_FLAGS'] += (
    ' --xla_cpu_enable_concurrency_optimized_scheduler=false'
  )

# Compiled programs are kept for the next run, which takes half the time, and
# for commands that tests start.
os.environ['JAX_COMPILATION_CACHE_DIR'] = str(
  pathlib.Path(__file__).resolve().parent.parent / '.pytest_cache/jax'
)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

import jax
import psutil
import pytest
import stores

# Tracing makes millions of small objects that stay: looking through all of them
# for cycles at Python's own threshold takes an eighth of the time.
gc.set_threshold(100_000, 50, 100)

REPO = pathlib.Path(__file__).resolve().parent.parent

KEPT_BYTES = 3 << 30  # of a process, with its compiled programs


@pytest.hookimpl(tryfirst=True)  # before -m takes slow tests away
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Applies `fast_every(n)` and `slow_every(n)`.

  Of a test's cases all but every nth are slow, and of those all but every nth
  long: no lane takes what another one takes.
  """
  for name, later in (('fast_every', 'slow'), ('slow_every', 'long')):
    cases = collections.Counter[str]()
    for item in items:
      mark = item.get_closest_marker(name)
      if mark and not item.get_closest_marker(later):
        test = item.nodeid.partition('[')[0]
        slow = name == 'fast_every' or item.get_closest_marker('slow')
        if slow and cases[test] % mark.args[0]:
          item.add_marker(later)
        cases[test] += 1


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
  """Reference files that are not part of the project, or a skip."""
  folder = pathlib.Path(
    os.environ.get('VIDMODELS_SHARED', REPO.parent / 'shared')
  )
  if not folder.is_dir():
    pytest.skip(f'no reference files at {folder}; set VIDMODELS_SHARED')
  return folder


@pytest.fixture(scope='module', autouse=True)
def _bounded_memory():
  """Compiled programs are let go after a test file that left too many.

  Without this a worker grows to 6.5 GB. Not after every file: what is let go
  is compiled again, down to the single additions of the next one.
  """
  yield
  if psutil.Process().memory_info().rss > KEPT_BYTES:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='module', params=['s3', 'gs'])
def server(request):
  """A server of an object store on this machine."""
  with stores.start(request.param) as store:
    yield store
