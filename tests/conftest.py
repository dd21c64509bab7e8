"A process per core (pytest-xdist, see pyproject.toml), so a thread for each; and the same random numbers in each run, so that a test that passed once passes again"
import os, random, sys
import pytest
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')

def pytest_configure(config):
    config.addinivalue_line('markers', 'long: takes ten seconds or more, and a shorter test looks at the same; CVNETS_LONG=1 runs it')

def pytest_runtest_setup(item):
    "Models' first weights, shuffles and crops do not depend on the tests that ran before; long tests are for those who ask"
    if item.get_closest_marker('long') and not os.environ.get('CVNETS_LONG'): pytest.skip('long; CVNETS_LONG=1 runs it')
    random.seed(0)
    if 'numpy' in sys.modules: sys.modules['numpy'].random.seed(0)
    if 'torch' in sys.modules: sys.modules['torch'].manual_seed(0)

@pytest.fixture(scope='session')
def digit_files(tmp_path_factory):
    "Three classes of the digits as PNG and JPEG files, 122 images"
    from PIL import Image
    from cvnets_nb.data import digit_items
    path = tmp_path_factory.mktemp('digit_files')
    for i, (im, y) in enumerate(digit_items()[:401]):
        if y > 2: continue
        (path/f'no {y}').mkdir(exist_ok=True)
        Image.fromarray(im).save(path/f'no {y}'/f'{i}.{"png" if i % 2 else "jpg"}')
    return path

@pytest.fixture
def on_cpu(monkeypatch):
    "fastai's mixed precision, on the CPU"
    import torch
    from fastai.callback import fp16
    monkeypatch.setattr(fp16, 'autocast', lambda device, dtype: torch.autocast('cpu', dtype=torch.bfloat16))
    monkeypatch.setattr(fp16, 'GradScaler', lambda device, **kw: torch.amp.GradScaler('cpu', **kw))
    yield
    torch.set_autocast_enabled('cpu', False)        # a fit that failed may have left it on
    torch.clear_autocast_cache()
