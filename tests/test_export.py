"Files of every family and every task against the Learner, what is refused, and the command on a folder of photos"
import json, subprocess, sys
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from sklearn.datasets import load_digits
from fastai.vision.all import (DataBlock, Flip, ImageBlock, ImageDataLoaders, IndexSplitter, ItemGetter, Learner, MaskBlock, Normalize, Resize, accuracy,
                               aug_transforms, get_image_files, imagenet_stats, load_learner, nn, noop, resnet18, unet_learner, vision_learner)
from cvnets_nb.core import rng_for
from cvnets_nb.data import digit_items
from cvnets_nb.all import *
from cvnets_nb.bench import settled
from cvnets_nb.export.prepare import Deployed, Prep, deployed, prep_of, prepared
from cvnets_nb.tasks import box_scenes, items_dls, scene_items, scenes, toy_data
from cvnets_nb.tasks.detection.data import box_scene
pytest.importorskip('onnxscript'), pytest.importorskip('onnxruntime')
from cvnets_nb.export.onnx import OnnxFile, onnx_program, with_nms
from cvnets_nb.export.proof import compare, file_answers, make_job, model_answers, noise

@pytest.fixture(scope='module')
def dls(): return digits(32, bs=64, n=200)
def made(dls, arch, **kw): return settled(set_learner(dls, arch, set=False, **kw))
def finder(head): return made(box_scenes(64, bs=4, n=12), 'mobilenetv1_025', head=head, **(dict(width=16) if head == 'fcos' else {}))

# --- every family, at sizes that its stride does not divide
@pytest.mark.parametrize('arch', ['mobilevit_xxs'])
def test_a_family_at_any_size(arch, dls, tmp_path):
    sizes = [32, 64, (80, 104), 50] if arch == 'mobilevit_xxs' else None
    got = made(dls, arch, sampler=False).to_onnx(tmp_path/'m.onnx', sizes=sizes, n=16)
    assert got.note == '' and got.match.largest < 1e-3 and got.match.same == 1 and (tmp_path/'m.onnx').is_file()

@pytest.mark.parametrize('head', ['plain', 'pspnet', 'deeplabv3'])
def test_masks_at_any_size(head, tmp_path):
    learn = made(scenes((32, 48), bs=4, n=8), 'mobilenetv1_025', head=head, **({} if head == 'plain' else dict(width=16)))
    got = learn.to_onnx(tmp_path/'m.onnx', sizes=[(64, 96), (56, 72)], form='classes' if head == 'plain' else None)
    assert got.match.same > .999 and got.after == pytest.approx(got.before, abs=1e-3)

@pytest.mark.parametrize('head', [pytest.param('ssd', marks=pytest.mark.long), 'fcos'])
def test_boxes_at_any_size_and_their_suppression(head, tmp_path):
    "What the file keeps is compared with torchvision before it is written (page 80c)"
    learn = finder(head)
    got = learn.to_onnx(tmp_path/'m.onnx', sizes=[64, (96, 72)], nms=dict(score=.02, iou=.4, most=3))
    assert got.note == '' and got.match.largest < 1e-3 and got.score == 'map50' and got.after == pytest.approx(got.before, abs=1e-3)
    run = OnnxFile(tmp_path/'m.onnx')
    assert run.facts['outputs'] == ['images', 'labels', 'scores', 'boxes'] and run.facts['suppression'] == dict(iou=.4, score=.02, most=3, by_class=False)
    for hw in ((64, 64), (96, 72)):
        images, labels, scores, boxes = run(noise(hw, 2))
        assert len(images) == len(labels) == len(scores) == len(boxes) > 0 and scores.min() > .02
        assert max(np.unique(images, return_counts=True)[1]) <= 3 and set(labels) <= set(range(1, 11))
    assert run.session.get_inputs()[0].shape[:3] == ['batch', 'height', 'width']

@pytest.mark.parametrize('task', ['multi_label', 'regression'])
def test_other_targets(task, tmp_path):
    got = made(toy_data(task, size=32, n=40), 'mobilenetv1_025').to_onnx(tmp_path/'m.onnx')
    assert got.note == '' and got.match.largest < 1e-3 and got.after == pytest.approx(got.before, abs=1e-4)

@pytest.mark.parametrize('tfm', [Resize(64), Resize((64, 96), 'pad', pad_mode='zeros')], ids=['crop', 'pad'])
def test_the_tutorials_lines_find_the_boxes_of_predict(tfm, tmp_path):
    "The code block of tutorial 08, on an image of another size"
    d = load_digits()
    items = [[Image.fromarray(a), b, n] for a, b, n in (box_scene(rng_for(i), d.images, d.target, (96, 128)) for i in range(12))]
    learn = made(items_dls(items, [str(i) for i in range(10)], [8, 9, 10, 11], 64, 4, item_tfms=tfm, batch_tfms=[Flip(), Normalize.from_stats(*imagenet_stats)], num_workers=0), 'mobilenetv1_025', head='fcos', width=16)
    learn.to_onnx(tmp_path/'boxes.onnx', nms=dict(score=.02), n=4)
    page = json.loads((Path(__file__).parents[1]/'nbs'/'tutorials'/'08_export.ipynb').read_text(encoding='utf-8'))
    block = next(''.join(c['source']) for c in page['cells'] if 'in_original(boxes' in ''.join(c['source'])).split('```python')[1].split('```')[0]
    file = tmp_path/'big.png'
    items[9][0].resize((300, 170)).save(file)
    got = dict(json=json, np=np, Image=Image, onnxruntime=pytest.importorskip('onnxruntime'), file=file)
    exec(block.replace("'boxes.onnx'", repr(str(tmp_path/'boxes.onnx')), 1), got)
    want = learn.predict(file, score=.02)
    rows = lambda names, scores, boxes: sorted((n, round(float(s), 3), *np.round(np.asarray(b, dtype=float))) for n, s, b in zip(names, scores, boxes))
    assert len(want.labels) > 3 and len(got['names']) == min(len(want.labels), 100)
    if len(want.labels) <= 100: np.testing.assert_allclose([r[1:] for r in rows(got['names'], got['scores'], got['corners'])], [r[1:] for r in rows(want.labels, want.scores, want.boxes)], atol=1.1)

def test_fastais_own_learners(tmp_path):
    "With the augmentation of fastai's book, which cuts a batch, and a U-Net"
    for i, (im, y) in enumerate(digit_items()[:60]):
        if y < 2: (tmp_path/str(y)).mkdir(exist_ok=True), Image.fromarray(im).save(tmp_path/str(y)/f'{i}.png')
    def tfms(first, **kw): return dict(item_tfms=Resize(first), batch_tfms=[*aug_transforms(**kw), Normalize.from_stats(*imagenet_stats)])
    dls = ImageDataLoaders.from_folder(tmp_path, valid_pct=.3, bs=4, num_workers=0, **tfms((72, 88), size=32, min_scale=.75))
    learn = settled(vision_learner(dls, resnet18, pretrained=False, metrics=accuracy))
    got = learn.to_onnx(tmp_path/'m.onnx')
    run = OnnxFile(tmp_path/'m.onnx')
    assert got.match.largest < 1e-3 and got.match.same == 1 and run.facts['prepare']['method'] == 'crop' and run.facts['sizes'] == [[72, 88]]
    file = dls.valid.items[0]
    image = prepared(Image.open(file).convert('RGB'), Prep(**run.facts['prepare']))
    with learn.no_bar(): np.testing.assert_allclose(run(np.asarray(image)[None])[0][0], learn.predict(file)[2], atol=1e-4)
    pairs = [(Image.fromarray(a), Image.fromarray(np.where(m > 10, 0, m).astype(np.uint8))) for a, m in scene_items(10, (32, 32))]
    dls = DataBlock((ImageBlock, MaskBlock([str(i) for i in range(11)])), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter([8, 9]), **tfms(64)).dataloaders(pairs, bs=4, num_workers=0)
    got = settled(unet_learner(dls, resnet18, pretrained=False)).to_onnx(tmp_path/'u.onnx')
    assert got.match.same > .999

def test_suppression_is_for_boxes(dls, tmp_path):
    with pytest.raises(ValueError, match='is for boxes'): made(dls, 'mobilenetv1_025').to_onnx(tmp_path/'m.onnx', nms=True)

# --- Core ML: maps of patches at several sizes, and boxes
@pytest.mark.parametrize('kind', ['mobilevit_xxs', 'mobilenetv3_small', 'ssd', 'pspnet'])
def test_core_ml(kind, dls, tmp_path):
    pytest.importorskip('coremltools')
    if kind == 'pspnet': learn = made(scenes((32, 48), bs=4, n=8), 'mobilenetv1_025', head=kind, width=16)
    else: learn = finder('ssd') if kind == 'ssd' else made(dls, kind)
    got = learn.to_coreml(tmp_path/'m.mlpackage', n=4, half=False, sizes=[64, 48] if kind == 'mobilenetv3_small' else None)
    assert got.note == '' and got.match.largest < 1e-3 and (tmp_path/'m.mlpackage').is_dir()

def test_suppression_behind_a_detector_in_core_ml(tmp_path):
    "A pipeline of two, each wired to the other by name, with what was asked for in it"
    ct = pytest.importorskip('coremltools')
    got = finder('fcos').to_coreml(tmp_path/'m.mlpackage', n=4, half=False, nms=dict(score=.25))
    assert got.match.largest < 1e-3 and got.after == pytest.approx(got.before, abs=1e-3)
    spec = ct.models.MLModel(str(tmp_path/'m.mlpackage'), skip_model_load=True).get_spec()
    detector, stage = spec.pipeline.models
    nms = stage.nonMaximumSuppression
    assert (nms.confidenceThreshold, nms.iouThreshold, nms.pickTop.perClass, list(nms.stringClassLabels.vector)) == (.25, .5, False, [str(i) for i in range(10)])
    names = [o.name for o in detector.description.output]
    assert names == [o.name for o in stage.description.input] == [nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName]
    assert [o.name for o in spec.description.output] == [o.name for o in stage.description.output] == [nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName]
    assert [o.name for o in spec.description.input] == [o.name for o in detector.description.input] == ['image']

# --- LiteRT, where its converter is: some gigabytes, which `cvnets_export --prepare litert` installs
def converter():
    from cvnets_nb.export.litert import litert_python
    pytest.importorskip('ai_edge_litert')
    try: return litert_python()
    except ImportError as e: pytest.skip(str(e))

@pytest.mark.parametrize('arch', ['mobilenetv2_025', 'mobilenetv3_small', 'resnet18', 'mobilevit_xxs', 'mobilevitv2_050', 'timm/mobilenetv3_small_050'])
def test_litert_of_every_family(arch, dls, tmp_path):
    converter()
    got = made(dls, arch, sampler=False).to_litert(tmp_path/'m.tflite', n=8)
    assert got.note == '' and got.match.largest < 1e-3 and got.match.same == 1

@pytest.mark.parametrize('head', ['plain', 'pspnet', 'deeplabv3', 'fcos', 'ssd'])
def test_litert_of_masks_and_boxes(head, tmp_path):
    converter()
    if head in ('fcos', 'ssd'): learn = finder(head)
    else: learn = made(scenes((32, 48), bs=4, n=8), 'mobilenetv1_025', head=head, **({} if head == 'plain' else dict(width=16)))
    got = learn.to_litert(tmp_path/'m.tflite', n=4, sizes=[(48, 64)])
    assert got.note == '' and got.match.largest < 1e-3 and got.after == pytest.approx(got.before, abs=1e-3)

def test_litert_of_layers_of_one_shape_with_the_channels_last(dls, tmp_path):
    "As `set_learner` leaves the weights: the converter may give each layer the weights of the first"
    converter()
    arch = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(6)], nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10)).to(memory_format=torch.channels_last)
    assert not arch[1].weight.is_contiguous()
    assert Learner(dls, arch, metrics=accuracy).to_litert(tmp_path/'m.tflite', n=8).match.largest < 1e-3

# --- ExecuTorch, where it is installed: 125 MB
@pytest.mark.parametrize('arch', ['mobilenetv2_025', 'mobilenetv3_small', 'resnet18', 'mobilevit_xxs', 'mobilevitv2_050', 'timm/mobilenetv3_small_050'])
def test_executorch_of_every_family(arch, dls, tmp_path):
    pytest.importorskip('executorch')
    got = made(dls, arch, sampler=False).to_executorch(tmp_path/'m.pte', n=8)
    assert got.note == '' and got.match.largest < 1e-3 and got.match.same == 1

@pytest.mark.parametrize('head', ['plain', 'pspnet', 'deeplabv3', 'fcos', 'ssd'])
def test_executorch_of_masks_and_boxes(head, tmp_path):
    pytest.importorskip('executorch')
    if head in ('fcos', 'ssd'): learn = finder(head)
    else: learn = made(scenes((32, 48), bs=4, n=8), 'mobilenetv1_025', head=head, **({} if head == 'plain' else dict(width=16)))
    got = learn.to_executorch(tmp_path/'m.pte', n=4, sizes=[(48, 64)])
    assert got.note == '' and got.match.largest < 1e-3 and got.after == pytest.approx(got.before, abs=1e-3)

# --- what is refused, and what is left behind
class Sorted(nn.Module):
    "Takes one size only"
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3*32*32, 10)
    def forward(self, x): return self.fc(x.flatten(1))

def test_a_size_that_the_model_does_not_take(dls, tmp_path):
    learn = made(dls, Sorted(), sampler=False)
    with pytest.raises(ValueError, match='this Sorted does not take images of 64x64'): learn.to_onnx(tmp_path/'m.onnx', sizes=[64])
    assert not list(tmp_path.iterdir())
    assert learn.to_onnx(tmp_path/'m.onnx').match.same == 1

@pytest.mark.parametrize('to,ending', [('onnx', 'onnx'), ('coreml', 'mlpackage')])
def test_nothing_of_the_users_is_lost(to, ending, dls, tmp_path, monkeypatch):
    "A folder or a file that an export would replace"
    learn = made(dls, 'mobilenetv1_025')
    (tmp_path/'work').mkdir(), (tmp_path/'work'/'notes.txt').write_text('mine'), (tmp_path/'f.mlpackage').write_text('mine'), (tmp_path/'d.onnx').mkdir()
    monkeypatch.chdir(tmp_path)
    for path in ('work', tmp_path/'work', '', '.', 'f.mlpackage', 'd.onnx'):
        if path == 'f.mlpackage' and to == 'onnx': continue
        with pytest.raises(ValueError, match='is no name of a file|is a folder|is a file'): getattr(learn, f'to_{to}')(path)
    assert (tmp_path/'work'/'notes.txt').read_text() == (tmp_path/'f.mlpackage').read_text() == 'mine'

@pytest.mark.parametrize('kw,says', [(dict(images=[]), 'images is empty'), (dict(n=0), 'n must be'), (dict(dtype='float16'), 'dtype must be'), (dict(nms=dict(thresh=1)), 'is for boxes')])
def test_arguments_that_cannot_be(kw, says, dls, tmp_path):
    with pytest.raises(ValueError, match=says): made(dls, 'mobilenetv1_025').to_onnx(tmp_path/'m.onnx', **kw)

def test_a_wrong_file_is_not_kept(dls, tmp_path, monkeypatch):
    import cvnets_nb.export.onnx as E
    learn = made(dls, 'mobilenetv1_025')
    monkeypatch.setattr(E.OnnxFile, '__call__', lambda self, x: [np.random.default_rng(0).random((len(x), 10), dtype=np.float32)])
    with pytest.raises(ValueError, match='standard deviations of its outputs.*the file is not kept'): learn.to_onnx(tmp_path/'m.onnx')
    assert not list(tmp_path.iterdir())

def test_an_old_file_is_replaced_only_by_a_right_one(dls, tmp_path, monkeypatch):
    import cvnets_nb.export.onnx as E
    (tmp_path/'m.onnx').write_text('old')
    learn = made(dls, 'mobilenetv1_025')
    with monkeypatch.context() as m, pytest.raises(ValueError):
        m.setattr(E, 'onnx_program', lambda *a, **kw: (_ for _ in ()).throw(ValueError('no')))
        learn.to_onnx(tmp_path/'m.onnx')
    assert (tmp_path/'m.onnx').read_text() == 'old'
    learn.to_onnx(tmp_path/'m.onnx')
    assert OnnxFile(tmp_path/'m.onnx').facts['task'] == 'classification'

def test_a_learner_that_was_exported(dls, tmp_path):
    "It has no images of its own: noise, or files"
    learn = made(dls, 'mobilenetv1_025')
    learn.export(tmp_path/'m.pkl')
    again = load_learner(tmp_path/'m.pkl')
    got = again.to_onnx(tmp_path/'m.onnx')
    assert got.note == 'compared on noise' and got.before is None
    for i in range(3): Image.fromarray(dls.valid.items[i][0]).save(tmp_path/f'{i}.png')
    assert again.to_onnx(tmp_path/'m.onnx', images=get_image_files(tmp_path)).match.n == 3

def test_numbers_from_0_to_255_in_both_types(dls, tmp_path):
    learn = made(dls, 'mobilenetv1_025')
    learn.to_onnx(tmp_path/'a.onnx'), learn.to_onnx(tmp_path/'b.onnx', dtype='float32')
    x = make_job(learn, 'x.onnx').images[:4]
    a, b = OnnxFile(tmp_path/'a.onnx'), OnnxFile(tmp_path/'b.onnx')
    assert a.dtype == np.uint8 and b.dtype == np.float32 and np.allclose(a(x)[0], b(x)[0], atol=1e-5)

# --- the command, on photos, with one extra
def test_the_command_on_a_folder_of_photos(tmp_path, capsys):
    from cvnets_nb.cli import cvnets_train
    from cvnets_nb.cli_export import cvnets_export
    rng = np.random.default_rng(0)
    for name, level in dict(dark=40, light=200).items():
        (tmp_path/'photos'/name).mkdir(parents=True)
        for i in range(12): Image.fromarray((rng.integers(0, 50, (40, 52, 3)) + level).astype(np.uint8)).save(tmp_path/'photos'/name/f'{i}.png')
    cvnets_train(['--data', str(tmp_path/'photos'), '--arch', 'mobilenetv1_025', '--size', '32', '--bs', '4', '--epochs', '2', '--workers', '0', '--out', str(tmp_path/'run')])
    score = json.loads((tmp_path/'run'/'run.json').read_text())['accuracy']
    capsys.readouterr()
    cvnets_export([str(tmp_path/'run')])
    out = capsys.readouterr().out.splitlines()
    row = dict(zip(out[0].split(), out[2].split()[1:]))
    assert float(row['before']) == float(row['after']) == pytest.approx(score, abs=1e-4) and row['images'] == '4'
    f = OnnxFile(tmp_path/'run'/'model.onnx')
    assert f.facts['labels'] == ['dark', 'light'] and f.facts['prepare']['size'] == [32, 32]
