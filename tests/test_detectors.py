"Detectors against CVNets' own outputs, and every backbone with both heads"
import json
from pathlib import Path
import numpy as np, pytest, torch
from cvnets_nb.models import create_model, list_models, load_weights, save_weights
from cvnets_nb.tasks import DetectionLoss, detections
from fastai.vision.all import L
from cvnets_nb.all import BoxCrop, SScFBS, items_dls, set_learner
from test_detection import first, heads, quiet, rectangles, second, third
from test_models import filled, image

parity = Path(__file__).parent/'fixtures'/'parity'/'detection'
published = {'ssd-mobilevitv2-2.0':'ssd_mobilevitv2_200', 'ssd-resnet-50':'ssd_resnet50'}

@pytest.mark.parametrize('file', sorted(published))
def test_the_same_numbers_as_cvnets(file):
    want = json.loads((parity/f'{file}.json').read_text())
    m = create_model(published[file], n_out=80).eval()
    assert sum(p.numel() for p in m.parameters()) == want['params']
    load_weights(m, {k: filled(k, s) for k, s in want['keys'].items()})
    for o in want['outputs']:
        with torch.no_grad(): raw = m(image(*o['size']))
        for y, ref in zip(raw, (o['scores'], o['boxes'])):
            assert list(y.shape) == ref['shape']
            y = y.flatten().numpy()
            for got, r in ((y[:16], ref['first']), (y[-16:], ref['last']), (y.mean(), ref['mean']), (y.std(), ref['std'])):
                assert np.abs(got - np.array(r)).max() <= 1e-4*ref['std']

def test_numbers_of_parameters():
    "As the model zoo says, with COCO's 80 classes and the background"
    assert sum(p.numel() for p in create_model('ssd_resnet50', n_out=81).parameters()) == 28_537_336

@pytest.mark.parametrize('name', list_models(task='detection'))
def test_every_backbone_with_both_heads(name, tmp_path):
    if any(w in name for w in ('resnet101', '_200', '_175', '_150', '_125', 'resnet50', 'resnet34', '_075')): pytest.skip('as its siblings')
    m = create_model(name, n_out=4)
    x = image(64, 96, n=2).contiguous(memory_format=torch.channels_last)
    raw = m.to(memory_format=torch.channels_last)(x)
    loss = DetectionLoss()(raw, torch.tensor([[[-.5, -.5, .5, .5]], [[0., 0, 1, 1]]]), torch.tensor([[1], [3]]))
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None for p in m.head_parameters() if p.requires_grad)
    m.eval()
    with torch.no_grad(): small, large = m(image(64, 96)), m(image(160, 128))
    assert small[1].shape[1] < large[1].shape[1] and small[2].shape == small[1].shape
    assert len(detections(small, (64, 96), score=0.)[0].scores) > 0
    again = load_weights(create_model(name, n_out=4), save_weights(m, tmp_path/'m.safetensors')).eval()
    with torch.no_grad(): assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(again(image(64, 96)), small))

@pytest.mark.long
def test_a_detector_learns():
    "Rectangles of three colours are found by SSD, with the right names, after a few epochs (FCOS: page 48g)"
    items = rectangles(200, seed=3, size=(128, 128))
    dls = items_dls(L(items), ['c0', 'c1', 'c2'], range(180, 200), 128, 8, getters=[first, second, third], num_workers=0, item_tfms=BoxCrop(128, scale=(.6, 1.)))
    learn = set_learner(dls, 'mobilenetv1_025', head='ssd', set=False, sampler=SScFBS(128, 8))
    quiet(learn, 'fit_one_cycle', 10, 5e-3)
    assert learn.recorder.values[-1][2] > .4
    image, boxes, labels = items[-1]
    found = learn.predict(image, score=.2)
    assert set(labels) & set(found.labels) and found.boxes.max() <= 128
