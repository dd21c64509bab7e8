"Segmenters against CVNets' own outputs, at every stride and size, on any backbone; masks, crops and losses"
import json, zlib
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from cvnets_nb.models import create_model, list_models, list_weights, load_weights
from cvnets_nb.tasks import Segmenter
from cvnets_nb.models.encoder import as_encoder
from cvnets_nb.tasks.segmentation.models import aspp_rates
from cvnets_nb.tasks.segmentation.task import sure_share
from test_models import filled, image, run

parity = Path(__file__).parent/'fixtures'/'parity'/'segmentation'
published = {'deeplabv3-mobilenetv2-1.0-os8':('deeplabv3_mobilenetv2_100', 8), 'deeplabv3-resnet-50-os8':('deeplabv3_resnet50', 8), 'pspnet-mobilevitv2-1.0-os16':('pspnet_mobilevitv2_100', 16)}

@pytest.mark.parametrize('file', sorted(published))
def test_the_same_numbers_as_cvnets(file):
    want, (name, stride) = json.loads((parity/f'{file}.json').read_text()), published[file]
    m = create_model(name, n_out=21, output_stride=stride, aux=False).eval()
    assert sum(p.numel() for p in m.parameters()) == want['params']
    load_weights(m, {k:filled(k, s) for k,s in want['keys'].items()})
    for o in want['outputs']:
        y = run(m, image(*o['size']))
        assert list(y.shape) == o['shape']
        y = y.flatten().numpy()
        for got, ref in ((y[:16], o['first']), (y[-16:], o['last']), (y.mean(), o['mean']), (y.std(), o['std'])): assert np.abs(got - np.array(ref)).max() <= 1e-4*o['std']

def test_numbers_of_parameters():
    "As the model zoo says: without the auxiliary head, and with it"
    n = lambda *a, **k: sum(p.numel() for p in create_model(*a, **k).parameters())
    assert n('deeplabv3_mobilenetv2_100', n_out=150, aux=False) == 7_956_886 and n('deeplabv3_mobilenetv2_100', n_out=150) == 8_087_084
    assert n('deeplabv3_resnet50', n_out=150, aux=False) == 55_303_574
    assert n('deeplabv3_mobilevit_s', n_out=21, aux=False) == 8_537_269
    assert n('pspnet_mobilevitv2_100', n_out=150, aux=False) == 9_448_575

@pytest.mark.parametrize('backbone', ['mobilenetv1_025', 'mobilenetv2_025', 'mobilenetv3_small', 'mobilenetv3_small_tv', 'resnet18', 'resnet18_tv', 'mobilevit_xxs', 'mobilevitv2_050'])
@pytest.mark.parametrize('head', ['deeplabv3', 'pspnet', 'plain'])
def test_any_backbone_stride_and_size(backbone, head):
    m32 = Segmenter(3, backbone=backbone, head=head, output_stride=32, width=16)
    for stride in (8, 16):
        m = Segmenter(3, backbone=backbone, head=head, output_stride=stride, width=16)
        m.load_state_dict(m32.state_dict())                                # dilation changes no keys and no shapes
        assert m.encoder.feature_info[-1]['reduction'] == stride
        last = m.encoder.forward_intermediates(image(64, 96), indices=(-1,), intermediates_only=True)[0]
        assert last.shape[-2:] == (64//stride, 96//stride)
    assert [o.shape for o in m(image(65, 83, n=2))] == [(2, 3, 65, 83)]*2    # odd sizes; the auxiliary output beside
    assert run(m.eval(), image(40, 72)).shape == (1, 3, 40, 72)

@pytest.mark.parametrize('name', ['timm/resnet18', 'timm/mobilenetv2_050'])
def test_timm_backbones(name):
    pytest.importorskip('timm')
    m = Segmenter(4, backbone=name, output_stride=16, width=16).eval()
    assert m.encoder.feature_info[-1]['reduction'] == 16 and run(m, image(64, 80)).shape == (1, 4, 64, 80)
    with pytest.raises(ValueError, match='cannot be a backbone at output_stride 8'): Segmenter(4, backbone='timm/vit_tiny_patch16_224', output_stride=8)

def test_a_module_without_feature_maps_is_refused():
    with pytest.raises(ValueError, match='Linear has no feature_info and no forward_intermediates'): Segmenter(3, backbone=torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="unknown segmentation head 'deeplab': did you mean deeplabv3"): Segmenter(3, head='deeplab')

def test_other_classes_and_channels():
    m = Segmenter(3, in_chans=1, backbone='mobilenetv2_025', width=16)
    m.reset_classifier(7)
    assert [o.shape[1] for o in m(image(32, 32, 1, 2))] == [7, 7] and m.num_classes == 7

def test_every_published_segmenter_is_listed():
    rows = [p for p in list_weights() if p.recipe == 'segmentation']
    assert len(rows) == 24 and {p.n_out for p in rows} == {21, 150} and {p.arch for p in rows} <= set(list_models(task='segmentation'))
    top = {(p.arch, p.source):p.top1 for p in rows}
    assert top['deeplabv3_mobilenetv2_100', 'cvnets:ade20k'] == 35.20 and top['pspnet_mobilevitv2_150', 'cvnets:voc'] == 79.93

def test_pretrained(monkeypatch):
    "`True` is the backbone's weights; a name of the segmenter's own is all of it, with its classes"
    from cvnets_nb.models import weights as W
    asked = []
    def read(source):
        asked.append(source)
        return {k:filled(k, v.shape) for k,v in (create_model('mobilenetv2_100') if 'classification' in str(source) else create_model('deeplabv3_mobilenetv2_100', n_out=150)).state_dict().items()}
    monkeypatch.setattr(W, 'download', lambda url, **kw: url)
    monkeypatch.setattr(W, 'read_weights', read)
    m = create_model('deeplabv3_mobilenetv2_100', n_out=5, pretrained=True)
    assert 'classification' in asked[0] and torch.equal(m.encoder.conv_1.block.conv.weight, filled('conv_1.block.conv.weight', (32,3,3,3))) and m.num_classes == 5
    m = create_model('deeplabv3_mobilenetv2_100', n_out=5, pretrained='cvnets:ade20k')
    assert torch.equal(m.encoder.conv_1.block.conv.weight, filled('encoder.conv_1.block.conv.weight', (32,3,3,3))) and m(image(32, 32, n=2))[1].shape[1] == 5

# --- masks follow their images
from fastai.vision.all import (DataBlock, FlipItem, IndexSplitter, IntToFloatTensor, ItemGetter, MaskBlock, PILImage, RandomResizedCrop, Resize,
                               TransformBlock, aug_transforms, load_learner, resnet18)
from cvnets_nb.all import *
from cvnets_nb.data.sized import AlbumentationsTfm, get_albumentations

def telling(n=24, size=(72, 96), valid=8):
    "Images that say what their masks are: white where it is class 1, grey where void, black elsewhere"
    rng, items = np.random.default_rng(0), []
    for _ in range(n + valid):
        m = np.zeros(size, np.uint8)
        y, x = rng.integers(0, 30, 2)
        m[y:y+40, x:x+50] = 1
        m[:, -8:] = 255
        items.append([np.stack([np.where(m == 255, 128, m*255).astype(np.uint8)]*3, -1), m])
    return items

def pipelines():
    A = get_albumentations()
    alb = lambda: [AlbumentationsTfm([A.RandomResizedCrop(size=(48, 64), scale=(.4, .9)), A.HorizontalFlip(), A.Rotate(15, p=1, fill=128, fill_mask=255)], A.Resize(48, 64))]
    return dict(crop=(lambda: [SegCrop((48, 64), scale=(1., 1.5)), FlipItem(), SegRotate(10)], None), fastai=(lambda: [RandomResizedCrop((48, 64), min_scale=.4), FlipItem()], None),
                batch=(lambda: [Resize((72, 96))], lambda: aug_transforms(size=(48, 64), max_warp=0, max_lighting=0, pad_mode='reflection')), albumentations=(alb, None))

@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', ['crop', 'fastai', 'batch', 'albumentations'])
def test_masks_follow_every_batch_exactly(kind, workers):
    item, batch = pipelines()[kind]
    items = telling()
    dls = seg_dls(items, ['a', 'b'], range(24, 32), (48, 64), 4, ItemGetter(0), ItemGetter(1), item_tfms=item(), batch_tfms=batch and batch(), num_workers=workers)
    plan, sizes = dls.with_plan(MScVBS((48, 64), 4, divisor=16), seed=0).train, set()
    seen = set()
    for (x, y), it in zip(plan, plan.plan):
        assert tuple(x.shape[-2:]) == tuple(y.shape[-2:]) == (it.h, it.w) and len(x) == len(y) == len(it.ids)
        assert y.dtype == torch.int64 and set(y.unique().tolist()) <= {0, 1, 255}
        x, y = x.as_subclass(torch.Tensor)[:, 0], y.as_subclass(torch.Tensor)
        wrong = ((y == 1) & (x < .4)) | ((y == 0) & (x > .6))              # the edges of small turned images blend, and no more than they
        assert wrong.float().mean() < .05
        seen |= set(y.unique().tolist())
        sizes.add((it.h, it.w))
    assert len(sizes) > 2 and seen == {0, 1, 255}
    x, y = dls.valid.one_batch()
    assert tuple(x.shape[-2:]) == tuple(y.shape[-2:]) == (48, 64)

# --- set_learner
def small(dls, arch='mobilenetv2_025', **kw): return set_learner(dls, arch, **{**dict(width=16, output_stride=16, set=True), **kw})
def fit(learn, n=1):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, 5e-3)
    return learn

@pytest.mark.parametrize('arch', ['mobilenetv2_025', 'pspnet_mobilevitv2_050', 'deeplabv3_resnet18', 'timm/resnet18'])
def test_one_line_for_any_backbone(arch):
    if arch.startswith('timm'): pytest.importorskip('timm')
    learn = fit(small(scenes((32, 48), bs=8, n=16), arch))
    assert type(learn).__name__ == 'SegLearner' and learn.recorder.metric_names[1:-1] == ['train_loss', 'valid_loss', 'miou', 'pixel_acc']
    assert all(np.isfinite(v) for v in learn.recorder.values[-1]) and learn.cost.totals['updates'] and len(learn.set.history) == 1

def test_the_data_of_fastai():
    "`MaskBlock` with names, one of which is void"
    items = scene_items(16, (32, 48))
    block = DataBlock((TransformBlock(type_tfms=PILImage.create, batch_tfms=IntToFloatTensor), MaskBlock([*map(str, range(11)), 'Void'])), get_x=ItemGetter(0),
                      get_y=lambda o: np.where(o[1] == 255, 11, o[1]).astype(np.uint8), splitter=IndexSplitter(range(12, 16)), item_tfms=Resize((32, 48)))
    dls = block.dataloaders(items, bs=4, num_workers=0)
    assert codes_of(dls)[1] == 11
    learn = fit(small(dls))
    assert learn.loss_func.void == 11
    assert learn.metrics[0].n == 12 and 0 <= float(learn.recorder.values[-1][2]) <= 1

def test_a_constructor_is_fastais_unet():
    dls = scenes((32, 48), bs=4, n=8)
    learn = fit(set_learner(dls, resnet18))
    assert 'Unet' in type(learn.model).__name__ and type(learn).__name__ == 'SegLearner' and len(learn.class_table()) == 11
    assert learn.cost.totals['flops'] and learn.cost.calibrate(steps=1, warmup=0)['seconds'] > 0

def test_a_module_as_it_is():
    own = torch.nn.Conv2d(3, 11, 1)
    assert fit(set_learner(scenes((32, 48), bs=4, n=8), own)).model is own

def test_exported_it_predicts(tmp_path):
    learn = fit(small(scenes((32, 48), bs=8, n=16)))
    im = PILImage.create(scene_items(1, (64, 96), valid=True)[0][0])
    want = learn.predict(im)
    assert want[0].shape == (32, 48) and want[2].shape == (11, 32, 48) and torch.equal(want[1], want[2].argmax(0))
    learn.export(tmp_path/'m.pkl')
    again = load_learner(tmp_path/'m.pkl')
    got = again.predict(im)
    # a loaded model's weights lie in memory otherwise, so sums differ in their last digit: classes agree wherever two are not that close
    assert torch.allclose(got[2], want[2], rtol=0, atol=1e-6) and torch.equal(got[1], got[2].argmax(0))
    first, second = want[2].topk(2, dim=0).values
    assert ((got[1] == want[1]) | (first - second < 2e-6)).all()
    assert codes_of(again.dls) == codes_of(learn.dls) and again.set.counts is None

def test_what_a_learner_does_still_works():
    dls = scenes((32, 48), bs=8, n=16)
    learn = fit(small(dls))
    preds, targs = learn.get_preds()
    assert preds.shape == (4, 11, 32, 48) and targs.shape == (4, 32, 48)
    assert torch.equal(targs, torch.cat([y for _, y in dls.valid]).as_subclass(torch.Tensor).cpu())
    with learn.no_bar(): learn.lr_find(num_it=5, show_plot=False)
    learn.show_results(max_n=2)
    assert set(learn.validate_original()) == {'miou', 'classes', 'pixel_acc'}

def direct_scores(preds, targs, n, void=255):
    "Mean IoU over the classes that occur, and pixel accuracy, counted class by class"
    top, real = preds.argmax(1), targs != void
    ious = []
    for c in range(n):
        said, true = (top == c) & real, (targs == c) & real
        if true.any(): ious.append(float((said & true).sum())/float((said | true).sum()))
    return [sum(ious)/len(ious), float((top == targs)[real].float().mean())]

def test_metrics_are_those_of_a_direct_count():
    "Over uneven batches, with void and with classes that occur nowhere, from one matrix that both metrics read"
    dls = scenes((32, 48), bs=4, n=40, most=1)
    learn = fit(small(dls))
    recorded = list(learn.recorder.values[-1])[2:]
    assert [len(x) for x, _ in dls.valid] == [4, 4, 2]
    preds, targs = learn.get_preds()
    preds, targs = (o.as_subclass(torch.Tensor) for o in (preds, targs))
    assert 255 in targs and len(set(targs.unique().tolist()) - {255}) < 11
    want = direct_scores(preds, targs, 11)
    np.testing.assert_allclose(recorded, want, rtol=1e-6)
    np.testing.assert_allclose(list(learn.validate())[1:], want, rtol=1e-6)
    whole = learn.validate_original()                     # the scenes have the size of the batches
    np.testing.assert_allclose([whole['miou'], whole['pixel_acc']], want, rtol=1e-6)
    miou, acc = learn.metrics
    assert acc.conf is miou.conf and int(miou.conf.counts.sum()) == int((targs != 255).sum())

def sure_by_softmax(pred, targ, threshold, void):
    "What `sure_share` says, by a softmax over all classes"
    prob, top = pred.float().softmax(1).max(1)
    sure = (top == targ) & (prob >= threshold)
    shares = [[sure[i][targ[i] == c].float().mean() for c in targ[i].unique() if c != void] for i in range(len(pred))]
    return torch.tensor([sum(o)/max(1, len(o)) for o in shares])

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 24), st.sampled_from([0., .3, .5, .9, .99]), st.booleans())
def test_the_share_of_sure_pixels_is_that_of_a_softmax(seed, n, c, threshold, last):
    g = torch.Generator().manual_seed(seed)
    pred = 4*torch.randn(n, c, 9, 14, generator=g)
    if last: pred = pred.contiguous(memory_format=torch.channels_last)
    keep = torch.rand(n, 9, 14, generator=g)
    targ = torch.where(keep < .6, pred.argmax(1), torch.randint(0, c, (n, 9, 14), generator=g))
    targ[keep > .8] = 255
    for void in (255, 0):
        if void == 0: targ[targ == 255] = 0
        torch.testing.assert_close(sure_share(pred, targ, threshold, void), sure_by_softmax(pred, targ, threshold, void))

def test_from_weights_the_head_is_trained_first(monkeypatch):
    from cvnets_nb.models import weights as W
    monkeypatch.setattr(W, 'download', lambda url, **kw: url)
    monkeypatch.setattr(W, 'read_weights', lambda s: {k:filled(k, v.shape) for k, v in create_model('mobilenetv2_025').state_dict().items()})
    learn = small(scenes((32, 48), bs=8, n=16), pretrained=True)
    body, finer, head = learn.splitter(learn.model)
    conv = lambda ps: [p for p in ps if p.ndim > 1]
    assert all(p.requires_grad for p in head) and not any(p.requires_grad for p in conv(body + finer))
    assert {id(p) for p in head} == {id(p) for p in learn.model.seg_head.parameters()}
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1, 1e-3)
    assert all(p.requires_grad for p in learn.model.parameters())

def test_refused_before_training(tmp_path):
    from PIL import Image
    for i, m in enumerate((np.zeros((8, 9), np.uint8), np.full((8, 9), 77, np.uint8))):
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path/f'{i}.jpg'); Image.fromarray(m).save(tmp_path/f'{i}.png')
    dls = seg_dls(sorted(tmp_path.glob('*.jpg')), ['a', 'b'], [0], 32, 1, get_y=lambda f: f.with_suffix('.png'), num_workers=0)
    with pytest.raises(ValueError, match=r'1 mask cannot be trained on: .*1\.png: it has class 77'): small(dls)
    dls = scenes((32, 48), bs=4, n=8)
    with pytest.raises(ValueError, match="recipe 'resnet_simple' crops or mixes images as classification does"): small(dls, recipe='resnet_simple')
    with pytest.raises(ValueError, match='did you mean mobilenetv2_100'): small(dls, 'mobilenetv2_1000')
    with pytest.raises(TypeError, match='widht'): small(dls, widht=3)
    nameless = DataBlock((TransformBlock(type_tfms=PILImage.create), MaskBlock()), get_x=ItemGetter(0), get_y=ItemGetter(1), item_tfms=Resize(32)).dataloaders(scene_items(8), bs=2, num_workers=0)
    with pytest.raises(ValueError, match='these masks have no names of classes'): small(nameless)
