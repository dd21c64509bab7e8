"Networks of PyTorchVideo, small ones of each family: they train at the shapes of a plan. Skipped where the package is missing."
import pytest, torch
import torch.nn.functional as F
import cvnets_nb.export                    # `learn.to_onnx`
from cvnets_nb.learner import set_learner
from cvnets_nb.models import create_model
from cvnets_nb.samplers import VideoVBS
from cvnets_nb.tasks.video.data import moving_digits
from cvnets_nb.tasks.video.models import shapes_taken, takes

resnet = dict(stem_dim_out=8)
mvit = dict(spatial_size=32, temporal_size=4, depth=2, patch_embed_dim=8, embed_dim_mul=[[1, 2.]], atten_head_mul=[[1, 2.]],
            pool_q_stride_size=[[1, 1, 2, 2]], pool_kv_stride_adaptive=[1, 2, 2])
families = {
    'x3d_xs': dict(stem_dim_in=4, depth_factor=1., head_dim_out=32), 'slow_r50': resnet, 'c2d_r50': resnet, 'i3d_r50': resnet,
    'slowfast_r50': dict(stem_dim_outs=(16, 4), slowfast_channel_reduction_ratio=4), 'r2plus1d_r50': resnet,
    'csn_r101': dict(resnet, model_depth=50), 'mvit_base_16x4': mvit}

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
    assert shapes_taken(model, shapes) == shapes
    step(model, *shapes[0])                # the branches of residual blocks begin at zero, and learn from the second step
    for frames, size in shapes:
        changed, n = step(model, frames, size)
        assert changed > .8*n, f'{changed} of {n} parameters change at {frames} frames of {size}'

def test_an_mvit_is_trained_by_a_plan_and_exported_at_another_shape_than_its_own(tmp_path):
    pytest.importorskip('pytorchvideo', reason="needs pytorchvideo: pip install '.[video]' in a clone")
    pytest.importorskip('onnxruntime', reason="needs onnxruntime: pip install '.[onnx]' in a clone")
    pytest.importorskip('onnxscript', reason="needs onnxscript: pip install '.[onnx]' in a clone")
    model = create_model('pytorchvideo/mvit_base_16x4', n_out=4, **mvit)
    learn = set_learner(moving_digits(size=48, n=40, bs=8, frames=8), model, sampler=VideoVBS(48, 8))
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert learn.to_onnx(tmp_path/'mvit.onnx', n=8).match.largest < 1e-3

@pytest.mark.parametrize('name', ['r3d_18', 'r2plus1d_18', 's3d', 'swin3d_t'])
def test_torchvisions_train_at_another_shape_than_their_own(name):
    model = create_model(f'torchvision/{name}', n_out=2)
    assert takes(model, 8, 32)
    changed, n = step(model, 8, 32, n=2)
    assert changed > .8*n
