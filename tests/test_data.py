"What the notebooks of the data room cannot hold: worker processes, and a fresh interpreter"
import os, pickle, subprocess, sys
import numpy as np, pytest, torch
from PIL import Image
from fastai.vision.all import DataBlock, ImageBlock, IndexSplitter, MaskBlock, PILImage, PILMask
from cvnets_nb.data.digits import digits
from cvnets_nb.data.folder import folder_dls
from cvnets_nb.data.loader import PlanDL
from cvnets_nb.data.sized import AlbumentationsTfm, find_sized, get_albumentations
from cvnets_nb.samplers import MScVBS

def _noise(i): return PILImage.create(np.random.default_rng(0).integers(0, 255, (64,96,3), dtype=np.uint8))

def _alb_dls(num_workers):
    A = get_albumentations()
    tfm = AlbumentationsTfm([A.RandomResizedCrop(size=(24,40), scale=(0.2,0.9)), A.HorizontalFlip()], A.Resize(24,40))
    return DataBlock((ImageBlock, MaskBlock), get_x=_noise, get_y=_mask, splitter=IndexSplitter(range(16,20)), item_tfms=tfm).dataloaders(
        range(20), bs=4, num_workers=num_workers, drop_last=False)
def _mask(i): return PILMask.create(np.asarray(_noise(i))[...,0] // 128)

def test_albumentations_differ_between_workers_and_epochs():
    "16 copies of one image, read by two workers in two epochs: 32 different crops"
    dls = _alb_dls(2)
    dls.train.after_item((_noise(0), _mask(0)))          # the parent has drawn before it forks
    seen = [x for _ in range(2) for b in dls.train for x in b[0].cpu()]
    assert len(seen) == 32 and seen[0].shape[-2:] == (24,40)
    assert len({x.numpy().tobytes() for x in seen}) == 32

def test_albumentations_leave_validation_alone():
    xs = torch.cat([b[0].cpu() for b in _alb_dls(2).valid])
    assert (xs == xs[:1]).all()

def test_albumentations_is_imported_late_and_quietly(tmp_path):
    "In a fresh interpreter: not by importing us, and without asking the network, also when unpickled"
    A = get_albumentations()
    (tmp_path/'tfm.pkl').write_bytes(pickle.dumps(AlbumentationsTfm(A.RandomResizedCrop(size=(24,40)))))
    code = f"""
import os, pickle, sys, urllib.request
import cvnets_nb.data.sized, cvnets_nb.data.folder, cvnets_nb.data.digits
assert 'albumentations' not in sys.modules
def asked(*a, **k): raise SystemExit('albumentations asked the network')
urllib.request.build_opener = asked
tfm = pickle.load(open({str(tmp_path/'tfm.pkl')!r}, 'rb'))
assert 'albumentations' in sys.modules and 'NO_ALBUMENTATIONS_UPDATE' not in os.environ
tfm.set_size((32,24))
print(tfm.get_size())
"""
    env = {k:v for k,v in os.environ.items() if k != 'NO_ALBUMENTATIONS_UPDATE'}
    res = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=env)
    assert res.returncode == 0, res.stderr
    assert res.stdout.strip() == '(32, 24)'

def test_sized_pipeline_pickles_with_its_loader():
    "Under a start method that pickles, the copy in the worker sizes the worker's own transforms"
    dls = digits(bs=8)
    dl,sized = pickle.loads(pickle.dumps((dls.train.after_item, find_sized(dls.train.after_item, dls.train.after_batch))))
    sized.set((40,24))
    assert dl((_noise(0),))[0].shape[-2:] == (40,24)
    assert find_sized(dls.train.after_item).base == (32,32)

@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_file_cut_short_is_named_by_the_loader(tmp_path, num_workers):
    for c in 'ab':
        (tmp_path/c).mkdir()
        for i in range(5): _noise(i).resize((200,150)).save(tmp_path/c/f'{i}.jpg')
    bad = tmp_path/'b'/'3.jpg'
    bad.write_bytes(bad.read_bytes()[:2000])
    with pytest.raises(ValueError, match='1 of 10 images cannot be read.*3.jpg'): folder_dls(tmp_path, size=32)
    with pytest.raises(OSError, match='cannot read the image .*3.jpg'):
        dls = folder_dls(tmp_path, size=32, bs=8, num_workers=num_workers, verify=False)
        for dl in dls.loaders: list(dl)

def test_albumentations_follow_a_plan_with_masks():
    "Image and mask of every batch in the plan's size, not square, from a worker; validation stays at the base"
    A = get_albumentations()
    tfm = AlbumentationsTfm([A.SmallestMaxSize(72), A.RandomCrop(32,64)], [A.SmallestMaxSize(64), A.CenterCrop(32,64)])
    dls = DataBlock((ImageBlock, MaskBlock), get_x=_noise, get_y=_mask, splitter=IndexSplitter(range(40,44)), item_tfms=tfm).dataloaders(
        range(44), bs=4, num_workers=1).with_plan(MScVBS(size=(32,64), bs=4))
    plan = dls.train.plan
    assert len({(it.h,it.w) for it in plan}) > 1
    assert [(x.shape[-2:], y.shape[-2:]) for x,y in dls.train] == [((it.h,it.w),)*2 for it in plan]
    assert isinstance(dls.valid, PlanDL) and {tuple(b[0].shape[-2:]) for b in dls.valid} == {(32,64)}
    assert tfm.get_size() == (32,64)                  # the transform it was made from is untouched
