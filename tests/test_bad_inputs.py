"Over 500 bad inputs to the public functions and the command: each ends in one line that names what is wrong and what to do"
import contextlib, io, os, re, shlex, warnings
import pytest
from bad_inputs import bad_files

# A row is a call and a part of what it says; `d` is a folder of files that `bad_files` makes. In `command` a row is what is typed.
table = {}

table['samplers'] = r"""
SScFBS(0)                                          => size must be a whole number of at least 1, got 0
SScFBS(-224)                                       => size must be a whole number of at least 1, got -224
SScFBS(224.0)                                      => size must be a whole number of at least 1, got 224.0
SScFBS('224')                                      => size must be a whole number of at least 1, got '224'
SScFBS(None)                                       => size must be a whole number of at least 1, got None
SScFBS(float('nan'))                               => size must be a whole number of at least 1, got nan
SScFBS((224,))                                     => size must be an int or (h, w), got (224,)
SScFBS((224, 0))                                   => size must be a whole number of at least 1, got 0
SScFBS((1, 2, 3))                                  => size must be an int or (h, w), got (1, 2, 3)
SScFBS(10**9)                                      => size must be at most 65536 pixels a side, got 1000000000
SScFBS(True)                                       => size must be a whole number of at least 1, got True
SScFBS(224, 0)                                     => bs must be a whole number of at least 1, got 0
SScFBS(224, -1)                                    => bs must be a whole number of at least 1, got -1
SScFBS(224, 2.5)                                   => bs must be a whole number of at least 1, got 2.5
SScFBS(224, '64')                                  => bs must be a whole number of at least 1, got '64'
SScFBS(224, None)                                  => bs must be a whole number of at least 1, got None
MScFBS(225)                                        => size 225 is odd, so that no even step leads from it to other sizes
MScFBS(224, 64, n_scales=0)                        => n_scales must be a whole number of at least 2, got 0
MScFBS(224, 64, n_scales=1.5)                      => n_scales must be a whole number of at least 2, got 1.5
MScFBS(224, 64, min_size=300)                      => min_size 300 is no multiple of divisor 32
MScFBS(224, 64, max_size=100)                      => max_size 100 is no multiple of divisor 32
MScFBS(224, 64, min_size=float('nan'))             => min_size must be a whole number of at least 1, got nan
MScFBS(224, 64, divisor=0)                         => divisor must be a whole number of at least 1, got 0
MScFBS(224, 64, divisor=-32)                       => divisor must be a whole number of at least 1, got -32
MScFBS(224, 64, divisor=30)                        => size 224 is no multiple of divisor 30
MScFBS(224, 64, min_size=224, max_size=224)        => min_size 224 to max_size 224 in steps of 32 is one size only
MScVBS(224, float('inf'))                          => bs must be a whole number of at least 1, got inf
MScVBS(224, 64, max_size='big')                    => max_size must be a whole number of at least 1, got 'big'
MScVBS(224, 10**30)                                => bs must be less than 2**64, got 1000000000000000000000000000000
MScVBS(224, 64, n_scales=10**9)                    => n_scales must be at most 1000, got 1000000000
Growing(None, 10)                                  => sampler must have several sizes to grow through, got None
Growing(SScFBS(224), 10)                           => sampler must have several sizes to grow through, got SScFBS(size=224, bs=64)
Growing(MScVBS(224), 0)                            => epochs must be a whole number of at least 2, got 0
Growing(MScVBS(224), 1)                            => epochs must be a whole number of at least 2, got 1
Growing(MScVBS(224), 10, until=2)                  => until must be more than 0 and at most 1, got 2
Growing(MScVBS(224), 10, until=float('nan'))       => until must be more than 0 and at most 1, got nan
Growing(MScVBS(224), 10, until='half')             => until must be more than 0 and at most 1, got 'half'
Growing(MScVBS, 10)                                => sampler must have several sizes to grow through, got <class 'cvnets_nb.samplers.multiscale.MScVBS'>
Progressive(224, 64, 10, start=0)                  => start and full must be more than 0, got start 0 and full 0.8
Progressive(224, 64, 10, start=float('nan'))       => start must be a share from 0 to 1, got nan
Progressive(224, 64, 10, hold=.9, full=.1)         => hold 0.9 is more than full 0.1
Progressive(224, 64, 0)                            => epochs must be a whole number of at least 2, got 0
Progressive(224, 64, '10')                         => epochs must be a whole number of at least 2, got '10'
VideoVBS(64, 8, frames=0)                          => frames must be a whole number of at least 1, got 0
VideoVBS(64, 8, frames=None)                       => frames must be a whole number of at least 1, got None
VideoVBS(64, 8, frames=8, max_frames=2)            => max_frames 2 is less than the frames 8 of the base
VideoMSc(64, 8, clips=0)                           => clips must be a whole number of at least 1, got 0
VideoSSc(64, 8, frames=2.5)                        => frames must be a whole number of at least 1, got 2.5
MScVBS(224).plan(0)                                => n must be a whole number of at least 1, got 0
MScVBS(224).plan(-1)                               => n must be a whole number of at least 1, got -1
MScVBS(224).plan('all')                            => n must be a whole number of at least 1, got 'all'
MScVBS(224).plan(1.5)                              => n must be a whole number of at least 1, got 1.5
MScVBS(224).plan(None)                             => n must be a whole number of at least 1, got None
MScVBS(224).plan(100, epoch=-1)                    => epoch must be a whole number of at least 0, got -1
MScVBS(224).plan(100, epoch=.5)                    => epoch must be a whole number of at least 0, got 0.5
MScVBS(224).plan(100, seed='x')                    => seed must be a whole number of at least -9223372036854775808, got 'x'
MScVBS(224).plan(100, seed=float('nan'))           => seed must be a whole number of at least -9223372036854775808, got nan
MScVBS(224).plan(100, ids=[])                      => ids is empty, so there is nothing to plan
MScVBS(224).plan(100, ids=[100])                   => ids holds 100, which is outside range(100)
MScVBS(224).plan(100, ids=[-1])                    => ids holds -1, which is outside range(100)
MScVBS(224).plan(100, ids=[1, 1])                  => ids holds 1 more than once
MScVBS(224).plan(100, ids=[.5])                    => ids must be whole numbers, got float64
MScVBS(224).plan(100, ids=[[1]])                   => ids must be 1-D, got shape (1, 1)
MScVBS(224).plan(100, ids='abc')                   => ids must be 1-D, got shape ()
MScVBS(224).plan(100, ids=[True]*100)              => ids must be whole numbers, got bool
MScVBS(224).plan(100, ids=5)                       => ids must be 1-D, got shape ()
MScVBS(224).plan(100, rank=2, world=2)             => rank must be less than world, got rank 2 of world 2
MScVBS(224).plan(100, rank=-1, world=2)            => rank must be a whole number of at least 0, got -1
MScVBS(224).plan(100, world=0)                     => world must be a whole number of at least 1, got 0
MScVBS(224, 64).plan(10, drop_last=True)           => drop_last leaves no step: 10 ids on 1 processes fill no batch of 64
plan_batch_sampler(None, 100)                      => sampler must make plans, got None
plan_batch_sampler(MScVBS(224), 0)                 => n must be a whole number of at least 1, got 0
plan_batch_sampler(MScVBS(224), 100, rank=9)       => rank must be less than world, got rank 9 of world 1
plan_batch_sampler(MScVBS(224), 100).set_epoch(-1) => epoch must be a whole number of at least 0, got -1
Plan([(8,8)], [0, 5], [1])                         => hws (1, 2), starts (2,) to [5], ids (1,) and n_real (1,) do not fit
Plan([(8,8)], [0, 1], [1], frames=[1, 2])          => frames (2,) do not fit 1 steps
MScVBS(224).plan(100)[99]                          => step 99 of a plan of 2 steps
Growing(MScVBS(224), 10).plan(100, epoch='last')   => epoch must be a whole number of at least 0, got 'last'
SScFBS(2**17)                                      => size must be at most 65536 pixels a side, got 131072
"""

table['data'] = r"""
digits(size=0)                                                  => size must be a whole number of at least 1, got 0
digits(size='big')                                              => size must be a whole number of at least 1, got 'big'
digits(bs=0)                                                    => bs must be a whole number of at least 1, got 0
digits(bs=None)                                                 => bs must be a whole number of at least 1, got None
digits(valid_pct=0)                                             => valid_pct must lie between 0 and 1, got 0
digits(valid_pct=1)                                             => valid_pct must lie between 0 and 1, got 1
digits(valid_pct=float('nan'))                                  => valid_pct must lie between 0 and 1, got nan
digits(valid_pct='0.2')                                         => valid_pct must lie between 0 and 1, got '0.2'
digits(seed=-1)                                                 => seed must be a whole number of at least 0, got -1
digits(seed='x')                                                => seed must be a whole number of at least 0, got 'x'
digits(n=3)                                                     => n must be a whole number of at least 20, got 3
digits(n=-1)                                                    => n must be a whole number of at least 20, got -1
digits(num_workers=-1)                                          => num_workers must be a whole number of at least 0, got -1
plain.with_plan(None)                                           => PlanDL needs a sampler, for example sampler=MScVBS(size=224, bs=64)
plain.with_plan('msc_vbs')                                      => sampler must be a sampler, for example MScVBS(size=224, bs=64), got 'msc_vbs'
plain.with_plan(MScVBS)                                         => sampler must be a sampler, for example MScVBS(size=224, bs=64), got <class 'cvnets_nb.samplers.multiscale.MScVBS'>
plain.with_plan(MScVBS(32, 8), seed='x')                        => seed must be a whole number of at least -9223372036854775808, got 'x'
plain.with_plan(MScVBS(32, 8), seed=1.5)                        => seed must be a whole number of at least -9223372036854775808, got 1.5
plain.with_plan(32)                                             => sampler must be a sampler, for example MScVBS(size=224, bs=64), got 32
plain.with_plan(VideoVBS(32, 8))                                => VideoVBS plans frames and no transform of this pipeline makes clips: read videos by item_tfms=ClipCrop(size), or take a sampler of images, e.g. MScVBS
PlanDL(plain.train_ds)                                          => PlanDL needs a sampler, for example sampler=MScVBS(size=224, bs=64)
PlanDL(None, sampler=SScFBS(32))                                => a plan names images by position and NoneType has none: give a dataset with __getitem__ and __len__
PlanDL(plain.train_ds, sampler=SScFBS(32), nonsense=1)          => PlanDL got an unknown keyword 'nonsense'
PlanDL(plain.train_ds, sampler=SScFBS(32), coarse=-1)           => coarse must be 0 or at least 1, so many times the pixels needed (1.5 is safe), got -1
PlanDL(plain.train_ds, sampler=SScFBS(32), coarse=float('nan')) => coarse must be 0 or at least 1, so many times the pixels needed (1.5 is safe), got nan
PlanDL(plain.train_ds, sampler=SScFBS(32), coarse='fine')       => coarse must be 0 or at least 1, so many times the pixels needed (1.5 is safe), got 'fine'
folder_dls('nowhere')                                           => path must be a folder of class folders, and nowhere does not exist
folder_dls(d/'empty')                                           => no images in {d}/empty
folder_dls(d/'text.png')                                        => path must be a folder of class folders, and {d}/text.png is a file
folder_dls(None)                                                => path must be a path, got None
folder_dls(5)                                                   => path must be a path, got 5
folder_dls(d/'loop')                                            => no images in {d}/loop
folder_dls(d/'photos', size=0)                                  => size must be a whole number of at least 1, got 0
folder_dls(d/'photos', size='x')                                => size must be a whole number of at least 1, got 'x'
folder_dls(d/'photos', bs=0)                                    => bs must be a whole number of at least 1, got 0
folder_dls(d/'photos', bs='x')                                  => bs must be a whole number of at least 1, got 'x'
folder_dls(d/'photos', valid_pct=2)                             => valid_pct must lie between 0 and 1, got 2
folder_dls(d/'photos', valid_pct='half')                        => valid_pct must lie between 0 and 1, got 'half'
folder_dls(d/'photos', seed='x')                                => seed must be a whole number of at least 0, got 'x'
folder_dls(d/'photos', num_workers='many')                      => num_workers must be a whole number of at least 0, got 'many'
folder_dls(d/'photos', num_workers=-2)                          => num_workers must be a whole number of at least 0, got -2
folder_dls(d/'bad', size=32)                                    => 1 of 7 images cannot be read: {d}/bad/a/x.png
folder_dls(d/'newline', size=32)                                => 1 of 7 images cannot be read: {d}/newline/a/x\ny.png
folder_dls(d/'bomb', size=32)                                   => 1 of 7 images cannot be read: {d}/bomb/a/x.png
folder_splits('nowhere')                                        => path must be a folder of class folders, and nowhere does not exist
folder_splits(d/'photos', train='other')                        => there is no folder {d}/photos/other
folder_splits(d/'photos', train='a', valid='a')                 => train='a' and valid='a' are one folder
open_image(d/'text.png')                                        => cannot read the image {d}/text.png
open_image(d/'empty.jpg')                                       => cannot read the image {d}/empty.jpg
open_image(d/'cut.jpg')                                         => cannot read the image {d}/cut.jpg
open_image(d/'photos')                                          => cannot read the image {d}/photos
open_image(d/'no.jpg')                                          => cannot read the image {d}/no.jpg
open_image(d/'loop.jpg')                                        => cannot read the image {d}/loop.jpg
open_image(d/'new\nline.jpg')                                   => cannot read the image {d}/new\nline.jpg
open_image(d/'bomb.png')                                        => cannot read the image {d}/bomb.png
open_image(None)                                                => cannot read the image (a NoneType): give a path, bytes, an open file, an array, a tensor or an image
open_image(5)                                                   => cannot read the image (a int): give a path, bytes, an open file, an array, a tensor or an image
open_image(np.zeros(3))                                         => cannot read the image (a ndarray): its shape is (3,), and an image is (h,w), (h,w,c) or (c,h,w) with 1, 3 or 4 channels
open_image(np.zeros((2,2,7)))                                   => cannot read the image (a ndarray): its shape is (2, 2, 7), and an image is (h,w), (h,w,c) or (c,h,w) with 1, 3 or 4 channels
check_images(None)                                              => files must be a list of paths, got None
check_images([5])                                               => each of files must be a path, got 5
check_images([d/'a/b.png'], n_threads=0)                        => n_threads must be a whole number of at least 1, got 0
table_dls('nowhere')                                            => there is no labels.csv in nowhere
table_dls(d/'photos')                                           => there is no labels.csv in {d}/photos
table_dls(d/'table_empty')                                      => {d}/table_empty/labels.csv cannot be read as a table
table_dls(d/'table_nan', size=16)                               => each image has one label in {d}/table_nan/labels.csv, which is classification: put the images in a folder for each class
table_dls(d/'table_missing', size=16)                           => 1 files of {d}/table_missing/labels.csv are not in {d}/table_missing: gone.png
table_dls(d/'table_binary', size=16)                            => {d}/table_binary/labels.csv cannot be read as a table
table_dls(d/'table_twice', size=16)                             => {d}/table_twice/labels.csv has more than one row of 0.png
table_dls(d/'table_huge', size=16)                              => each image has one label in {d}/table_huge/labels.csv, which is classification: put the images in a folder for each class
ImageStore(d/'store', short=0)                                  => short must be a whole number of at least 1, got 0
ImageStore(d/'store', short='x')                                => short must be a whole number of at least 1, got 'x'
ImageStore(d/'store', short=64, format='gif')                   => format must be 'raw' or 'jpeg', got 'gif'
ImageStore(d/'store', short=64, quality=0)                      => quality must be a whole number of at least 1, got 0
ImageStore(d/'store', short=64, quality=1000)                   => quality must be 1 to 100, got 1000
plain.cached()                                                  => cached keeps copies of image files, and these images are given as ndarray: they are in memory already, or give their paths
photos.cached(short=0)                                          => short must be a whole number of at least 1, got 0
photos.cached(short='x')                                        => short must be a whole number of at least 1, got 'x'
RecipeCrop(0)                                                   => size must be a whole number of at least 1, got 0
RecipeCrop(224, margin=0)                                       => margin must be at least 1, got 0: the crop would be larger than the image
RecipeCrop(224, margin=float('nan'))                            => margin must be at least 1, got nan: the crop would be larger than the image
RecipeCrop(224, interpolation='best')                           => interpolation must be 'bilinear' or 'bicubic', got 'best'
AlbumentationsTfm(None)                                         => train must be made of albumentations transforms, got None
AlbumentationsTfm('flip')                                       => train must be made of albumentations transforms, got 'flip'
set_size(RandomResizedCrop(32), 0)                              => hw must be a whole number of at least 1, got 0
set_size(RandomResizedCrop(32), None)                           => hw must be a whole number of at least 1, got None
set_size(object(), 32)                                          => object has no size to set
register_sized(5)                                               => cls must be a class, got 5
stronger(5)                                                     => name what of int is to change, e.g. min_scale=(.6,.25) of a RandomResizedCrop
stronger(RandomResizedCrop(32), nonsense=(0, 1))                => RandomResizedCrop has no attribute 'nonsense' to change with the size
find_sized(None)                                                => no transform of this pipeline (NoneType) makes images of one size on split 0, so nothing can follow a plan: add one, e.g. item_tfms=RandomResizedCrop(
cfg_tfms({})                                                    => cfg must be a name of list_models(), (name, source), or a model's default_cfg, got {}
cfg_tfms(5)                                                     => cfg must be a name of list_models(), (name, source), or a model's default_cfg, got 5
"""

table['models'] = r"""
create_model('resnet19')                                    => unknown architecture 'resnet19'
create_model('')                                            => unknown architecture ''
create_model(None)                                          => name must be one of list_models(), as text, got None
create_model(18)                                            => name must be one of list_models(), as text, got 18
create_model('mobilenetv1_025', n_out=-1)                   => n_out must be a whole number of at least 0, got -1
create_model('mobilenetv1_025', n_out='ten')                => n_out must be a whole number of at least 0, got 'ten'
create_model('mobilenetv1_025', n_out=2.5)                  => n_out must be a whole number of at least 0, got 2.5
create_model('mobilenetv1_025', n_out=float('nan'))         => n_out must be a whole number of at least 0, got nan
create_model('mobilenetv1_025', in_chans=0)                 => in_chans must be a whole number of at least 1, got 0
create_model('mobilenetv1_025', in_chans='rgb')             => in_chans must be a whole number of at least 1, got 'rgb'
create_model('mobilenetv1_025', output_stride=7)            => output_stride must be 8, 16 or 32, got 7
create_model('mobilenetv1_025', nonsense=1)                 => create_model('mobilenetv1_025'): unknown keyword 'nonsense'
create_model('mobilenetv1_025', pretrained='nowhere')       => source 'nowhere' must end in .pt, .pth, .pyth, .safetensors
create_model('mobilenetv1_025', pretrained=5)               => source must be a path or a state dict, got int
create_model('mobilenetv1_025', pretrained=d/'nowhere.pth') => source '{d}/nowhere.pth': there is no such file
create_model('timm/no_such_model')                          => unknown timm model 'no_such_model'
create_model('timm/')                                       => unknown timm model ''
create_model('../etc/passwd')                               => unknown architecture '../etc/passwd'
create_model('a'*10_000)                                    => unknown architecture 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...
create_model('mobile\nnet')                                 => unknown architecture 'mobile\nnet'
list_models(5)                                              => pattern must be text such as 'mobilenet*', got 5
list_models(task='sculpture')                               => unknown task 'sculpture'
register_model('', object)                                  => name must be a text for create_model, got ''
register_model('mobilenetv1_025', object)                   => register_model('mobilenetv1_025'): object must take in_chans and n_out
register_model(5, object)                                   => name must be a text for create_model, got 5
register_model('mine', 5)                                   => make must be a class or function that makes the model, got 5
load_weights(net(), None)                                   => source must be a path or a state dict, got NoneType
load_weights(net(), 5)                                      => source must be a path or a state dict, got int
load_weights(net(), {})                                     => the checkpoint is not one of this Sequential: it has no '0.weight'
load_weights(net(), {'a': 1})                               => source has 'a', which is no tensor but int
load_weights(net(), 'nowhere.pth')                          => source 'nowhere.pth': there is no such file
load_weights(net(), 'nowhere')                              => source 'nowhere' must end in .pt, .pth, .pyth, .safetensors
load_weights(net(), d/'photos')                             => source '{d}/photos' must end in .pt, .pth, .pyth, .safetensors
load_weights(net(), d/'text.png')                           => source '{d}/text.png' must end in .pt, .pth, .pyth, .safetensors
load_weights(net(), d/'text.pth')                           => source '{d}/text.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'empty.pth')                          => source '{d}/empty.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'cut.pth')                            => source '{d}/cut.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'cut.safetensors')                    => source '{d}/cut.safetensors' is not a safetensors file
load_weights(net(), d/'text.safetensors')                   => source '{d}/text.safetensors' is not a safetensors file
load_weights(net(), d/'empty.safetensors')                  => source '{d}/empty.safetensors' is not a safetensors file
load_weights(net(), d/'header.safetensors')                 => source '{d}/header.safetensors' is not a safetensors file
load_weights(net(), d/'evil.pth')                           => source '{d}/evil.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'evil.pkl')                           => source '{d}/evil.pkl' must end in .pt, .pth, .pyth, .safetensors
load_weights(net(), d/'evil_old.pth')                       => source '{d}/evil_old.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'bomb.pth')                           => source '{d}/bomb.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
load_weights(net(), d/'loop.pth')                           => source '{d}/loop.pth': there is no such file
load_weights(net(), d/'other.pth')                          => the checkpoint is not one of this Sequential: it has no '0.weight'
load_weights(net(), d/'nan.pth')                            => the checkpoint is not one of this Sequential: it has no '0.weight'
load_weights(net(), {'weight': torch.zeros(3)})             => the checkpoint is not one of this Sequential: it has no '0.weight'
load_weights(None, {})                                      => model must be a module, as create_model makes it, got None
load_weights('resnet18', {})                                => model must be a module, as create_model makes it, got 'resnet18'
save_weights(net(), d/'photos')                             => path '{d}/photos' must end in .pt, .pth, .pyth, .safetensors
save_weights(None, d/'out.safetensors')                     => model must be a module, as create_model makes it, got None
save_weights(net(), None)                                   => path must be a path, got None
Segmenter(n_out=0)                                          => n_out must be a whole number of at least 1, got 0
Segmenter(backbone='nothing')                               => unknown architecture 'nothing'
Segmenter(head='nothing')                                   => unknown segmentation head 'nothing'
Segmenter(output_stride=3)                                  => output_stride must be 8, 16 or 32, got 3
Detector(n_out=0)                                           => n_out must be a whole number of at least 2, got 0
Detector(head='yolo')                                       => unknown detection head 'yolo'
Detector(backbone='nothing')                                => unknown architecture 'nothing'
FrameWise('nothing', 5)                                     => unknown architecture 'nothing'
FrameWise('mobilenetv1_025', 5, mix='median')               => mix must be 'mean' or 'shift', got 'median'
TemporalShift(0)                                            => a map of 0 channels has none to move with share=8: lower it
TemporalShift(8, share=0)                                   => share must be a whole number of at least 2, got 0
"""

table['tasks'] = r"""
get_task('sculpture', plain)                                 => unknown task 'sculpture'
get_task(5, plain)                                           => unknown task 5
task_of(None)                                                => dls must be fastai DataLoaders, got None
task_of(5)                                                   => dls must be fastai DataLoaders, got 5
folder_task('nowhere')                                       => path must be a folder, and nowhere is none
folder_task(d/'text.png')                                    => path must be a folder, and {d}/text.png is none
folder_task(d/'photos', 'sculpture')                         => unknown task 'sculpture'
folder_task(None)                                            => path must be a path, got None
toy_data('sculpture')                                        => unknown task 'sculpture'
toy_data(None)                                               => unknown task None
register_task(5)                                             => cls must be a sub-class of Task, got 5
register_task(int)                                           => cls must be a sub-class of Task, got <class 'int'>
SegBlock([])                                                 => codes must be the names of two classes or more, got []
SegBlock(None)                                               => codes must be the names of two classes or more, got None
SegBlock(['a'])                                              => codes must be the names of two classes or more, got ['a']
SegBlock(['a','a'])                                          => codes has 'a' twice
SegBlock(['a','b'], void='c')                                => void 'c' is no class of a, b
SegBlock(['a','b'], void=300)                                => void must be at most 255, the largest index that a mask of bytes holds, got 300
SegCrop(0)                                                   => size must be a whole number of at least 1, got 0
SegCrop(32, scale=(0, 0))                                    => scale must be two numbers over 0, the smaller first, got (0, 0)
SegCrop(32, max_share=2)                                     => max_share must be in (0, 1], got 2
SegRotate(degrees=float('nan'))                              => degrees must be a number, at least 0 and at most 180, got nan
SegRotate(p=2)                                               => p must be a number, at least 0 and at most 1, got 2
mask_folder_dls('nowhere')                                   => nowhere has no images/ with labels/ or masks/ beside it
mask_folder_dls(d/'photos')                                  => {d}/photos has no images/ with labels/ or masks/ beside it
PixelConfusion(0)                                            => n must be a whole number of at least 2, got 0
scenes(n=0)                                                  => n must be a whole number of at least 1, got 0
scenes(size=0)                                               => size must be a whole number of at least 1, got 0
scenes(bs=0)                                                 => bs must be a whole number of at least 1, got 0
box_scenes(n=-1)                                             => n must be a whole number of at least 8, got -1
box_scenes(size='x')                                         => size must be a whole number of at least 1, got 'x'
box_scenes(most=0)                                           => most must be a whole number of at least 1, got 0
read_boxes('nowhere')                                        => nowhere is no folder
read_boxes(d/'empty')                                        => {d}/empty has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
read_boxes(d/'photos')                                       => {d}/photos has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
box_dls(d/'coco_cut', size=32)                               => {d}/coco_cut/boxes.json is not valid JSON
box_dls(d/'coco_list', size=32)                              => {d}/coco_list has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
box_dls(d/'coco_nan', size=32)                               => 1 of 1 images or their annotations cannot be right: {d}/coco_nan/a/0.png: {d}/coco_nan/boxes.json: annotation 1 has the box [1, 2, nan, 10], and a box
box_dls(d/'coco_deep', size=32)                              => {d}/coco_deep has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
box_dls(d/'coco_text', size=32)                              => {d}/coco_text has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
box_dls(d/'coco_path', size=32)                              => ../../../etc/passwd
box_dls(d/'voc_cut', size=32)                                => 1 of 1 images or their annotations cannot be right: {d}/voc_cut/0.png: {d}/voc_cut/0.xml is not valid XML
box_dls(d/'voc_bomb', size=32)                               => 1 of 1 images or their annotations cannot be right: {d}/voc_bomb/0.png: {d}/voc_bomb/0.xml is not valid XML
box_dls(d/'voc_none', size=32)                               => no image to train on has a box
box_dls(d/'yolo_nan', size=32)                               => 1 of 1 images or their annotations cannot be right: {d}/yolo_nan/images/0.png: {d}/yolo_nan/labels/0.txt, line 1 has the box (0.5, 0.5, nan, 0.1), and
box_dls(d/'yolo_short', size=32)                             => 1 of 1 images or their annotations cannot be right: {d}/yolo_short/images/0.png: {d}/yolo_short/labels/0.txt, line 1: '0 .5 .5' is not a class and fou
box_dls(d/'yolo_class', size=32)                             => 1 of 1 images or their annotations cannot be right: {d}/yolo_class/images/0.png: {d}/yolo_class/labels/0.txt, line 1: class 7 has no name
read_boxes(None)                                             => path must be a path, got None
box_dls('nowhere')                                           => nowhere is no folder
box_dls(d/'empty')                                           => {d}/empty has no annotations: neither a COCO JSON, nor Pascal VOC's XML files, nor YOLO's text files
BoxCrop(0)                                                   => size must be a whole number of at least 1, got 0
BoxCrop(32, scale=(2, 1))                                    => scale must be two shares, the smaller first, got (2, 1)
BoxCrop(32, min_visible=2)                                   => min_visible must be a share between 0 and 1, got 2
BoxCrop(32, tries=0)                                         => tries must be a whole number of at least 1, got 0
BoxMetric('map100')                                          => what must be one of map, map50, map75, recall, got 'map100'
BoxBlocks([])                                                => names must be those of the classes, one or more, got []
BoxBlocks(None)                                              => names must be those of the classes, one or more, got None
MultiBoxLoss(iou=2)                                          => iou must be a number, at least 0 and at most 1, got 2
MultiBoxLoss(ratio=-1)                                       => ratio must be a number, at least 0, got -1
FCOSLoss(radius=0)                                           => radius must be a number, over 0, got 0
FCOSLoss(reduction='max')                                    => reduction must be 'mean' or 'none', got 'max'
read_clip('nowhere.mp4')                                     => cannot read the video nowhere.mp4
read_clip(d/'text.mp4')                                      => cannot read the video {d}/text.mp4
read_clip(d/'empty.mp4')                                     => cannot read the video {d}/empty.mp4: it is empty
read_clip(None)                                              => cannot read the video (a NoneType): give a path of a file or of a folder of frames, an array or a tensor
read_clip(np.zeros((4,8,8,3), np.uint8), frames=0)           => frames must be a whole number of at least 1, got 0
read_clip(np.zeros((4,8,8,3), np.uint8), start=float('nan')) => start must be a number, at least 0, got nan
read_clip(np.zeros((4,8,8,3), np.uint8), span=-1)            => span must be a number, over 0, got -1
read_clip(np.zeros(5, np.uint8))                             => cannot read the video (a ndarray): its shape is (5,), and frames are (n,h,w), (n,h,w,c) or (n,c,h,w) with 1 or 3 channels
clip_info(d/'text.mp4')                                      => cannot read the video {d}/text.mp4
ClipBlock(fps=0)                                             => fps must be a number, over 0, got 0
ClipBlock(fps=float('nan'))                                  => fps must be a number, over 0, got nan
ClipCrop(0)                                                  => size must be a whole number of at least 1, got 0
ClipCrop(32, frames=0)                                       => frames must be a whole number of at least 1, got 0
ClipCrop(32, seconds=0)                                      => seconds must be a number, over 0, got 0
ClipCrop(32, seconds=float('nan'))                           => seconds must be a number, over 0, got nan
ClipBlock(fps='25')                                          => fps must be a number, over 0, got '25'
ClipCrop(32, seconds='2')                                    => seconds must be a number, over 0, got '2'; None is all of the video
ClipCrop(32, scale=.5)                                       => scale must be two shares, the smaller first, got 0.5
ClipCrop(32, ratio=(2,1))                                    => ratio must be two numbers over 0, the smaller first, got (2, 1)
ClipCrop(32, flip=2)                                         => flip must be a number, at least 0 and at most 1, got 2
clip_folder_dls(None)                                        => path must be a path, got None
clip_folder_dls(d, train=5)                                  => train must be a path, got 5
write_clip(d/'o.mp4', np.zeros((2,9,8,3), np.uint8))         => frames must have an even height and width
read_clip(d, fps=0)                                          => fps must be a number, over 0, got 0
ClipCrop(32, clips=0)                                        => clips must be a whole number of at least 1, got 0
moving_digits(frames=0)                                      => frames must be a whole number of at least 1, got 0
moving_digits(n=0)                                           => n must be a whole number of at least 1, got 0
clip_folder_dls('nowhere')                                   => path must be a folder of class folders of videos, and nowhere is none
clip_folder_dls(d/'empty')                                   => no videos in {d}/empty
write_clip(d/'o.mp4', np.zeros(3))                           => frames must be of shape (n, h, w, 3), got (3,)
write_clip(d/'o.mp4', np.zeros((2,8,8,3), np.uint8), fps=0)  => fps must be a number, over 0, got 0.0
"""

table['callbacks'] = r"""
SET(threshold=2)                                => threshold must be a share between 0 and 1, got 2
SET(threshold=float('nan'))                     => threshold must be a share between 0 and 1, got nan
SET(threshold='high')                           => threshold must be a share between 0 and 1, got 'high'
SET(threshold=None)                             => threshold must be a share between 0 and 1, got None
SET(threshold=True)                             => threshold must be a share between 0 and 1, got True
SET(window=0)                                   => window must be a whole number of at least 1, got 0
SET(window=1.5)                                 => window must be a whole number of at least 1, got 1.5
SET(every=0)                                    => every must be a whole number of at least 1, got 0
SET(every='2')                                  => every must be a whole number of at least 1, got '2'
SET(source='both')                              => source must be 'train', 'pass' or None, got 'both'
SET(keep=-1)                                    => keep must be a share between 0 and 1, got -1
SET(keep=float('inf'))                          => keep must be a share between 0 and 1, got inf
SET(until=2)                                    => until must be a share between 0 and 1, got 2
SET(share=2)                                    => share must be a share between 0 and 1, got 2
SET(tol=-1)                                     => tol must be a number of at least 0, or None, got -1
SET(tol=float('nan'))                           => tol must be a number of at least 0, or None, got nan
SET(tol='small')                                => tol must be a number of at least 0, or None, got 'small'
InfoBatch(ratio=1)                              => ratio must be a number, at least 0 and under 1, got 1
InfoBatch(ratio=float('nan'))                   => ratio must be a number, at least 0 and under 1, got nan
InfoBatch(ratio='half')                         => ratio must be a number, at least 0 and under 1, got 'half'
InfoBatch(until=-1)                             => until must be a number, at least 0 and at most 1, got -1
SelectiveBackprop(keep=0)                       => keep must be a number, over 0 and at most 1, got 0
SelectiveBackprop(keep=float('nan'))            => keep must be a number, over 0 and at most 1, got nan
SelectiveBackprop(keep='half')                  => keep must be a number, over 0 and at most 1, got 'half'
SelectiveBackprop(start=.9, until=.1)           => start and until must be shares of a fit, start the smaller, got 0.9 and 0.1
SelectiveBackprop(every=0)                      => every must be a whole number of at least 1, got 0
RandomSubset(share=0)                           => share must be a number, over 0 and at most 1, got 0
RandomSubset(share=float('nan'))                => share must be a number, over 0 and at most 1, got nan
RandomSubset(share='half')                      => share must be a number, over 0 and at most 1, got 'half'
RandomSubset(counts=[0])                        => each of counts must be a whole number of at least 1, got 0
RandomSubset(counts='abc')                      => counts must be a list, a number of samples for each epoch, got 'abc'
RandomSubset(counts=5)                          => counts must be a list, a number of samples for each epoch, got 5
RandomSubset(until=2)                           => until must be a number, at least 0 and at most 1, got 2
Proxy(keep=0)                                   => keep must be a share over 0 and under 1, got 0
Proxy(keep=float('nan'))                        => keep must be a share over 0 and under 1, got nan
Proxy(group=0)                                  => group must be a whole number of at least 1, got 0
Proxy(every=0)                                  => every must be a whole number of at least 1, got 0
Proxy(lr=0)                                     => lr must be a number, over 0, got 0
Proxy(lr=float('nan'))                          => lr must be a number, over 0, got nan
Proxy(lr='fast')                                => lr must be a number, over 0, got 'fast'
Proxy(start=.9, until=.1)                       => start and until must be shares of a fit, start the smaller, got 0.9 and 0.1
fit(Proxy(arch='resnet19'))                     => unknown architecture 'resnet19'
EMA(0)                                          => momentum must be a number, over 0 and at most 1, got 0
EMA(2)                                          => momentum must be a number, over 0 and at most 1, got 2
EMA(float('nan'))                               => momentum must be a number, over 0 and at most 1, got nan
EMA('slow')                                     => momentum must be a number, over 0 and at most 1, got 'slow'
EMA(span=0)                                     => span must be a number, over 0 and at most 1, got 0
EMA(span=float('nan'))                          => span must be a number, over 0 and at most 1, got nan
Distill(None)                                   => teacher must be a module, got a NoneType
Distill('resnet18')                             => teacher must be a module, got a str
Distill(net(), alpha=2)                         => alpha must be a number, over 0 and at most 1, got 2
Distill(net(), alpha=float('nan'))              => alpha must be a number, over 0 and at most 1, got nan
Distill(net(), T=0)                             => T must be a number, over 0, got 0
Distill(net(), T=float('inf'))                  => T must be a number, over 0, got inf
RefreshNorms(n=0)                               => n must be a whole number of at least 1, got 0
RefreshNorms(lr=0)                              => lr must be a number, over 0, got 0
RefreshNorms(lr=float('nan'))                   => lr must be a number, over 0, got nan
RefreshNorms(size=0)                            => size must be a whole number of at least 1, got 0
BestWeights(k=0)                                => k must be a whole number of at least 1, got 0
BestWeights(k=1.5)                              => k must be a whole number of at least 1, got 1.5
fit(BestWeights(monitor='f1'))                  => monitor 'f1' is not recorded
fit(CheckpointCallback(monitor='f1'))           => monitor 'f1' is not recorded
CheckpointCallback(meta={'f': print})           => meta['f'] holds a builtin_function_or_method, and a checkpoint takes tensors, numbers, text, dicts and lists only
MixUpOrCutMix(mixup=-1)                         => mixup must be a number, over 0, got -1
MixUpOrCutMix(mixup=float('nan'))               => mixup must be a number, over 0, got nan
MixUpOrCutMix(mixup=0, cutmix=0)                => mixup must be a number, over 0, got 0
BatchLR(power='x')                              => power must be a number, at least -10 and at most 10, got 'x'
BatchLR(power=float('nan'))                     => power must be a number, at least -10 and at most 10, got nan
load_checkpoint(learner(), 'nowhere.pth')       => nowhere.pth is missing
load_checkpoint(learner(), d/'photos')          => {d}/photos is a folder; no whole checkpoint is in it
load_checkpoint(learner(), d/'text.pth')        => {d}/text.pth is no checkpoint of CheckpointCallback
load_checkpoint(learner(), d/'empty.pth')       => {d}/empty.pth is damaged
load_checkpoint(learner(), d/'cut.pth')         => {d}/cut.pth is damaged
load_checkpoint(learner(), d/'evil.pth')        => {d}/evil.pth is no checkpoint of CheckpointCallback
load_checkpoint(learner(), d/'evil_old.pth')    => {d}/evil_old.pth is no checkpoint of CheckpointCallback
load_checkpoint(learner(), d/'other.pth')       => {d}/other.pth is no checkpoint of CheckpointCallback
load_checkpoint(learner(), d/'bomb.pth')        => {d}/bomb.pth is no checkpoint of CheckpointCallback
load_checkpoint(learner(), d/'half.pth')        => {d}/half.pth has no checksum
load_checkpoint(learner(), d/'check_other.pth') => {d}/check_other.pth has no checksum
load_checkpoint(learner(), None)                => file must be a path, got None
load_checkpoint(None, d/'other.pth')            => learn must be a fastai Learner, got None
learner(CostLedger()).cost.calibrate(steps=0)   => steps must be a whole number of at least 1, got 0
learner(CostLedger()).cost.calibrate(warmup=-1) => warmup must be a whole number of at least 0, got -1
learner(SET()).set.plot()                       => there is nothing to plot before the first watched epoch
fit(SET(), SelectiveBackprop())                 => SET and SelectiveBackprop both choose the samples that are trained on, and what one leaves out the other cannot see
fit(SET(), MixUp(), SET())                      => SET and SET both choose the samples that are trained on, and what one leaves out the other cannot see
fit(SET(), data=plain)                          => SET chooses the samples of the next plan, and this training loader (TfmdDL) has none: make it plan-driven first, dls = dls.with_plan(MScVBS(size=...,
"""

table['recipes'] = r"""
get_recipe('resnet_smiple')    => unknown recipe 'resnet_smiple'
get_recipe(5)                  => unknown recipe 5
get_recipe(None)               => unknown recipe None
get_recipe('nowhere.yaml')     => there is no recipe file nowhere.yaml
read_recipe('nowhere.yaml')    => nowhere.yaml is no file
read_recipe(d/'photos')        => {d}/photos is no file
read_recipe(d/'evil.yaml')     => {d}/evil.yaml is no YAML of plain values
read_recipe(d/'bomb.yaml')     => {d}/bomb.yaml: a recipe has no field 'a0'
read_recipe(d/'cut.yaml')      => {d}/cut.yaml is no YAML of plain values
read_recipe(d/'list.yaml')     => {d}/list.yaml holds list, not the fields of a recipe
read_recipe(d/'text.png')      => {d}/text.png holds str, not the fields of a recipe
read_recipe(d/'unknown.yaml')  => {d}/unknown.yaml: a recipe has no field 'nonsense'
read_recipe(d/'types.yaml')    => {d}/types.yaml: epochs must be a whole number of at least 1, got 'many'
read_recipe(d/'binary.yaml')   => {d}/binary.yaml is no YAML of plain values
Recipe(epochs=0)               => epochs must be a whole number of at least 1, got 0
Recipe(epochs='300')           => epochs must be a whole number of at least 1, got '300'
Recipe(bs=0)                   => bs must be a whole number of at least 1, got 0
Recipe(n=-1)                   => n must be a whole number of at least 1, got -1
Recipe(size=0)                 => size must be a whole number of at least 1, got 0
Recipe(sampler='vbs')          => sampler must be one of ssc_fbs, msc_fbs, msc_vbs, got 'vbs'
Recipe(lr=0)                   => lr must be over 0, got 0
Recipe(lr=float('nan'))        => lr must be over 0, got nan
Recipe(lr='fast')              => lr must be over 0, got 'fast'
Recipe(lr=float('inf'))        => lr must be over 0, got inf
Recipe(wd=-1)                  => wd must be a number of at least 0, got -1
Recipe(smoothing=float('nan')) => smoothing must be a number between 0 and 1, got nan
Recipe(ema=2)                  => ema must be a number between 0 and 1, got 2
Recipe(opt='adamax')           => opt must be one of sgd, adamw, got 'adamax'
Recipe().scaled(epochs=0)      => epochs must be a whole number of at least 1, got 0
Recipe().scaled(bs=0)          => bs must be a whole number of at least 1, got 0
Recipe().scaled(n=0)           => n must be a whole number of at least 1, got 0
Recipe().scaled(size='x')      => size must be a whole number of at least 1, got 'x'
Recipe().replace(nonsense=1)   => a recipe has no field 'nonsense'
Recipe().replace(lr=-1)        => lr must be over 0, got -1
register_recipe(5)             => r must be a Recipe, got 5
recipe_tfms(Recipe(), size=0)  => size must be a whole number of at least 1, got 0
list_recipes(5)                => pattern must be text such as 'mobile*', got 5
"""

table['learners'] = r"""
set_learner(None, 'mobilenetv1_025')                                  => dls must be fastai DataLoaders, got None
set_learner(5, 'mobilenetv1_025')                                     => dls must be fastai DataLoaders, got 5
set_learner(plain, None)                                              => arch must be a name of list_models(), a constructor or an nn.Module, got None
set_learner(plain, 5)                                                 => arch must be a name of list_models(), a constructor or an nn.Module, got 5
set_learner(plain, 'resnet19')                                        => unknown architecture 'resnet19'
set_learner(plain, 'mobilenetv1_025', sampler='msc_vbs')              => sampler must be a sampler, e.g. MScVBS(224, 64), its class, None or False, got 'msc_vbs'
set_learner(plain, 'mobilenetv1_025', sampler=True)                   => sampler must be a sampler, e.g. MScVBS(224, 64), its class, None or False, got True
set_learner(plain, 'mobilenetv1_025', sampler=5)                      => sampler must be a sampler, e.g. MScVBS(224, 64), its class, None or False, got 5
set_learner(plain, 'mobilenetv1_025', set='yes')                      => set must be True, False, or a SET(...) or another callback that selects, got 'yes'
set_learner(plain, 'mobilenetv1_025', set=SET)                        => set must be True, False, or a SET(...) or another callback that selects, got <class 'cvnets_nb.callback.set.SET'>
set_learner(plain, 'mobilenetv1_025', set=.8)                         => set must be True, False, or a SET(...) or another callback that selects, got 0.8
set_learner(plain, 'mobilenetv1_025', set=SET(), cbs=InfoBatch())     => InfoBatch and SET both choose the samples that are trained on
set_learner(plain, 'mobilenetv1_025', recipe='nothing')               => unknown recipe 'nothing'
set_learner(plain, 'mobilenetv1_025', recipe=5)                       => unknown recipe 5
set_learner(plain, 'mobilenetv1_025', n_out=0)                        => n_out 0 is less than the 10 outputs that the data need
set_learner(plain, 'mobilenetv1_025', n_out='ten')                    => n_out must be a whole number of at least 0, got 'ten'
set_learner(plain, 'mobilenetv1_025', n_out=3)                        => n_out 3 is less than the 10 outputs that the data need
set_learner(plain, 'mobilenetv1_025', task='sculpture')               => unknown task 'sculpture'
set_learner(plain, 'mobilenetv1_025', task='segmentation')            => task='segmentation' does not know these targets, whose transforms are ItemGetter, Categorize, RandomResizedCrop, ToTensor
set_learner(plain, 'mobilenetv1_025', pretrained='nowhere')           => source 'nowhere' must end in .pt, .pth, .pyth, .safetensors
set_learner(plain, 'mobilenetv1_025', pretrained=d/'evil.pth')        => source '{d}/evil.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
set_learner(plain, 'mobilenetv1_025', pretrained=d/'cut.safetensors') => source '{d}/cut.safetensors' is not a safetensors file
set_learner(plain, 'mobilenetv1_025', train_size=0)                   => a size to train at must be a share of the data's size, above 0 and up to 1, or pixels, an int or (h, w), got 0
set_learner(plain, 'mobilenetv1_025', train_size=2.)                  => a size to train at must be a share of the data's size, above 0 and up to 1, or pixels, an int or (h, w), got 2.0
set_learner(plain, 'mobilenetv1_025', train_size=float('nan'))        => a size to train at must be a share of the data's size, above 0 and up to 1, or pixels, an int or (h, w), got nan
set_learner(plain, 'mobilenetv1_025', train_size='small')             => a size to train at must be a share of the data's size, above 0 and up to 1, or pixels, an int or (h, w), got 'small'
set_learner(plain, 'mobilenetv1_025', nonsense=1)                     => create_model('mobilenetv1_025'): unknown keyword 'nonsense'
set_learner(plain, 'mobilenetv1_025', metrics='acc')                  => metrics must be functions or fastai Metrics, got 'acc'
set_learner(plain, 'mobilenetv1_025', loss_func='ce')                 => loss_func must be a loss function, or None for the task's, got 'ce'
set_learner(plain, 'mobilenetv1_025', cbs='set')                      => cbs must be callbacks, got 'set'
set_learner(plain, 'mobilenetv1_025', lr=float('nan'))                => lr must be a number, over 0, got nan
learner().fit_recipe(1)                                               => this Learner has no recipe: make it with set_learner(..., recipe='resnet_simple'), or set learn.recipe
learner().to_onnx(None)                                               => path must be a path, got None
learner().to_onnx(d/'photos')                                         => '{d}/photos' is no name of a file
OnnxFile('nowhere.onnx')                                              => nowhere.onnx does not exist
OnnxFile(d/'text.onnx')                                               => {d}/text.onnx cannot be read as ONNX
OnnxFile(d/'empty.onnx')                                              => {d}/empty.onnx cannot be read as ONNX
OnnxFile(d/'photos')                                                  => {d}/photos cannot be read as ONNX
OnnxFile(None)                                                        => path must be a path, got None
LitertFile('nowhere.tflite')                                          => nowhere.tflite does not exist
LitertFile(d/'text.tflite')                                           => {d}/text.tflite cannot be read as LiteRT
CoremlFile('nowhere.mlpackage')                                       => nowhere.mlpackage does not exist
CoremlFile(d/'photos')                                                => {d}/photos cannot be read as Core ML
Prep(0)                                                               => size must be a whole number of at least 1, got 0
Prep((32,))                                                           => size must be an int or (h, w), got (32,)
Prep((32,32), method='stretch')                                       => method must be one of squish, crop, pad, short, got 'stretch'
Prep((32,32), interpolation='best')                                   => interpolation must be one of nearest, bilinear, bicubic, box, hamming, lanczos, got 'best'
Prep((32,32), margin=0)                                               => margin must be a number, at least 1, got 0
prepared(None, Prep((32,32)))                                         => image must be a Pillow image, got None
"""

table['command'] = r"""
--size 0                                         => argument --size: '0' is no size in pixels
--size -5                                        => argument --size: '-5' is no size in pixels
--size nan                                       => argument --size: 'nan' is no size in pixels
--size 1e9                                       => argument --size: '1e9' is no size in pixels
--size 99999999999                               => argument --size: '99999999999' is no size in pixels
--size 32x                                       => argument --size: '32x' is no size in pixels
--size 32x32x32                                  => argument --size: '32x32x32' is no size in pixels
--bs 0                                           => argument --bs: '0' is not a whole number of at least 1
--bs 2.5                                         => argument --bs: '2.5' is not a whole number of at least 1
--bs inf                                         => argument --bs: 'inf' is not a whole number of at least 1
--epochs 0                                       => argument --epochs: '0' is not a whole number of at least 1
--epochs -1                                      => argument --epochs: '-1' is not a whole number of at least 1
--epochs many                                    => argument --epochs: 'many' is not a whole number of at least 1
--lr 0                                           => argument --lr: '0' is not a positive number
--lr nan                                         => argument --lr: 'nan' is not a positive number
--lr -1                                          => argument --lr: '-1' is not a positive number
--lr inf                                         => argument --lr: 'inf' is not a positive number
--lr fast                                        => argument --lr: 'fast' is not a positive number
--seed -1                                        => argument --seed: '-1' is not a whole number of at least 0
--seed 1.5                                       => argument --seed: '1.5' is not a whole number of at least 0
--seed x                                         => argument --seed: 'x' is not a whole number of at least 0
--workers -1                                     => argument --workers: '-1' is not a whole number of at least 0
--workers two                                    => argument --workers: 'two' is not a whole number of at least 0
--arch resnet19                                  => unknown architecture 'resnet19'
--arch                                           => argument --arch: expected one argument
--arch ''                                        => unknown architecture '': did you mean mobilenetv1_025
--sampler vbs                                    => --sampler 'vbs' is none of ssc_fbs, msc_fbs, msc_vbs, msc_fbs+growing, msc_vbs+growing, progressive
--sampler msc_vbs+growing --epochs 1             => --sampler msc_vbs+growing, --epochs 1: sizes grow from epoch to epoch, which takes 2 epochs or more
--recipe nothing                                 => --recipe nothing: unknown recipe 'nothing'
--recipe nowhere.yaml                            => nowhere.yaml: there is no recipe file
--recipe {d}/evil.yaml                           => --recipe {d}/evil.yaml: {d}/evil.yaml is no YAML of plain values
--recipe {d}/photos                              => --recipe {d}/photos: unknown recipe '{d}/photos'
--data nowhere                                   => nowhere does not exist
--data {d}/text.png                              => --data must be a folder, and {d}/text.png is a file
--data {d}/empty                                 => no images in {d}/empty
--data {d}/loop                                  => no images in {d}/loop
--data {d}/bad --size 32                         => 1 of 7 images cannot be read: {d}/bad/a/x.png
--data {d}/bomb --size 32                        => 1 of 7 images cannot be read: {d}/bomb/a/x.png
--data ''                                        => argument --data: it is empty
--data {d}/photos --task sculpture               => unknown task 'sculpture'
--data {d}/photos --task segmentation            => {d}/photos has no images/ with labels/ or masks/ beside it
--data {d}/photos --train other                  => there is no folder {d}/photos/other
--data {d}/photos --frames 4                     => --frames does not apply to classification, the task of {d}/photos
--data {d}/photos --cache {d}/text.png --size 32 => [Errno 20] the store cannot be made in {d}/text.png/raw-37-openimage (Not a directory): give another folder=
--data {d}/table_nan --size 16                   => each image has one label in {d}/table_nan/labels.csv, which is classification: put the images in a folder for each class
--data {d}/coco_nan --size 32                    => annotation 1 has the box [1, 2, nan, 10]
--out {d}/text.png                               => --out {d}/text.png is a file
--out ''                                         => argument --out: it is empty
--pretrained nowhere                             => source 'nowhere' must end in .pt, .pth, .pyth, .safetensors
--pretrained nowhere.pth                         => nowhere.pth': there is no such file
--pretrained {d}/evil.pth                        => source '{d}/evil.pth' is not a plain checkpoint of tensors and is not loaded, since unpickling runs code
--pretrained {d}/cut.safetensors                 => source '{d}/cut.safetensors' is not a safetensors file
--train-size 0                                   => argument --train-size: '0' is neither a share of the size up to 1, e.g. 0.75, nor pixels
--train-size 2.5                                 => argument --train-size: '2.5' is neither a share of the size up to 1, e.g. 0.75, nor pixels
--train-size nan                                 => argument --train-size: 'nan' is neither a share of the size up to 1, e.g. 0.75, nor pixels
--frames 0                                       => argument --frames: '0' is not a whole number of at least 1
--seconds nan                                    => argument --seconds: 'nan' is not a positive number
--clips 0                                        => argument --clips: '0' is not a whole number of at least 1
--void 3                                         => --void does not apply to classification, the task of the digits
--binary                                         => --binary does not apply to classification, the task of the digits
--resume                                         => --resume: new holds no run
--resume --out {d}/run_cut                       => {d}/run_cut/run.json is damaged
--resume --out {d}/run_list                      => {d}/run_list/run.json is not of a run of cvnets_train
--resume --out {d}/run_empty                     => {d}/run_empty/run.json is damaged
--resume --out {d}/run_half                      => {d}/run_half/run.json is not of a run of cvnets_train
--set 0.8                                        => unknown argument '0.8'
--epoch 3                                        => unknown option '--epoch'
--no-such-option                                 => unknown option '--no-such-option'
photos                                           => unknown argument 'photos'
"""

# ---------------------------------------------------------------------------------------------- the rows are called
# Words that say what to do: what is allowed, what there is, or what else to give
remedy = re.compile(r"; |must|give|leave|take|did you mean|there are|mend|make|use|add|choose|holds|between|no whole|not a |neither|needs|lists|is none of|should|"
                    r"unknown option|knows|and an image is|and frames are|put the images|e\.g\.|lower it|its fields are|expected one argument", re.I)

@pytest.fixture(scope='module')
def space(tmp_path_factory):
    "What the rows see"
    import numpy as np, torch
    import cvnets_nb.all, fastai.vision.all as fv
    d = bad_files(tmp_path_factory.mktemp('bad'))
    space = {**vars(fv), **vars(cvnets_nb.all), 'd':d, 'np':np, 'torch':torch}
    plain = cvnets_nb.all.digits(size=32, bs=16, n=60)
    planned = plain.with_plan(cvnets_nb.all.MScVBS(32, 16))
    def net(): return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 10))
    def learner(*cbs, data=planned): return fv.Learner(data, net(), cbs=list(cbs))
    def fit(*cbs, data=planned):
        learn = learner(*cbs, data=data)
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    photos = cvnets_nb.all.folder_dls(d/'photos', size=32, bs=4, num_workers=0)
    return {**space, **dict(plain=plain, photos=photos, net=net, learner=learner, fit=fit)}

def rows(name): return [[o.strip() for o in row.split(' => ')] for row in table[name].strip().split('\n')]

def said_by(e):
    "The message, without the line that fastai puts before those of callbacks"
    return re.sub(r"^Exception occured in `\w+` when calling event `\w+`:\n\t", '', str(e)).strip()

def faults(call, said, want, d):
    "What is wrong with a message"
    res = []
    if want.replace('{d}', str(d)) not in said: res.append(f'does not say {want!r}')
    if '\n' in said or len(said) > 2000: res.append('is not one line')
    if not remedy.search(said): res.append('names no remedy')
    return [f'{call} {o}: {said[:300]}' for o in res]

@pytest.mark.parametrize('name', [k for k in table if k != 'command'])
def test_bad_arguments(name, space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = []
    for call,want in rows(name):
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter('ignore')
            try: eval(call, space)
            except (ValueError,TypeError,OSError,IndexError) as e: wrong += faults(call, said_by(e), want, space['d'])
            except ImportError as e:
                if 'pip install' not in str(e): raise               # of an extra that is not installed
            except Exception as e: wrong.append(f'{call}: {type(e).__name__}: {str(e)[:200]}')
            else: wrong.append(f'{call} is not refused')
    assert not wrong, '\n'.join(wrong)
    assert not (space['d']/'HACKED').exists(), 'a file ran code'

def test_bad_command_lines(space, tmp_path, monkeypatch):
    from cvnets_nb.cli import cvnets_train
    monkeypatch.chdir(tmp_path)
    d = space['d']
    wrong = []
    for typed,want in rows('command'):
        argv = shlex.split(typed.replace('{d}', str(d)))
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            try: cvnets_train(argv if '--out' in argv else [*argv, '--out', 'new'])
            except SystemExit as e: wrong += [f'{typed} ends with {e.code}']*(e.code != 2)
            else: wrong.append(f'{typed} is not refused')
        wrong += faults(typed, err.getvalue().strip(), want, d)
    assert not wrong, '\n'.join(wrong)
    assert not list(tmp_path.iterdir()), 'a refusal leaves nothing behind'
    assert not (d/'HACKED').exists(), 'a file ran code'

def test_the_table_is_long_enough(): assert sum(len(rows(k)) for k in table) >= 200 and len({c for k in table for c,_ in rows(k)}) == sum(len(rows(k)) for k in table)
