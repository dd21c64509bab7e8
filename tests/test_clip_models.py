"Networks of PyTorchVideo, small ones of each family: they train at the shapes of a plan. Skipped where the package is missing."
import pytest, torch
import torch.nn.functional as F
from cvnets_nb.models import create_model
from cvnets_nb.tasks.video.models import takes

resnet = dict(stem_dim_out=8)
one_shape = dict(spatial_size=32, temporal_size=4, depth=2, patch_embed_dim=8, embed_dim_mul=None, atten_head_mul=None,
                 pool_q_stride_size=None, pool_kv_stride_adaptive=None, pool_kvq_kernel=None)
families = {
    'x3d_xs': dict(stem_dim_in=4, depth_factor=1., head_dim_out=32), 'slow_r50': resnet, 'c2d_r50': resnet, 'i3d_r50': resnet,
    'slowfast_r50': dict(stem_dim_outs=(16, 4), slowfast_channel_reduction_ratio=4), 'r2plus1d_r50': resnet,
    'csn_r101': dict(resnet, model_depth=50), 'mvit_base_16x4': one_shape}

def step(model, frames, size, n=4):
    "One step of training on clips of a shape; the parameters that it changed, and those that there are"
    before = [p.detach().clone() for p in model.parameters()]
    opt = torch.optim.SGD(model.parameters(), .1)
    loss = F.cross_entropy(model.train()(torch.randn(n, 3, frames, size, size)), torch.arange(n) % 2)
    loss.backward()
    opt.step()
    assert loss.isfinite()
    return sum(not torch.equal(a, b) for a, b in zip(before, model.parameters())), len(before)

@pytest.mark.parametrize('name', families)
def test_a_model_of_each_family_trains_at_two_shapes(name):
    pytest.importorskip('pytorchvideo', reason="needs pytorchvideo: pip install '.[video]' in a clone")
    model = create_model(f'pytorchvideo/{name}', n_out=2, **families[name])
    shapes = [(4, 32), (8, 64)]
    taken = [o for o in shapes if takes(model, *o)]
    assert taken == (shapes[:1] if name.startswith('mvit') else shapes)
    step(model, *taken[0])                 # the branches of residual blocks begin at zero, and learn from the second step
    for frames, size in taken:
        changed, n = step(model, frames, size)
        assert changed > .8*n, f'{changed} of {n} parameters change at {frames} frames of {size}'

@pytest.mark.parametrize('name', ['r3d_18', 'r2plus1d_18', 's3d', 'swin3d_t'])
def test_torchvisions_train_at_another_shape_than_their_own(name):
    model = create_model(f'torchvision/{name}', n_out=2)
    assert takes(model, 8, 32)
    changed, n = step(model, 8, 32, n=2)
    assert changed > .8*n
