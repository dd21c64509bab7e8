"Segmenters against CVNets' own outputs, at every stride and size, on any backbone; masks, crops and losses"
import json, zlib
from pathlib import Path
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from cvnets_nb.models import Segmenter, create_model, list_models, list_weights, load_weights
from cvnets_nb.models.segmentation import as_encoder, aspp_rates
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

def test_a_module_that_tells_nothing_is_refused():
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
