"""Train a classifier of GluonCV's model zoo on ImageNet, with BytePS and gradient compression.

GluonCV's ImageNet script with BytePS's trainer. Images are read from RecordIO
files (--use-rec; ``python -m byteps_gc pack`` makes them) or from the folders
train/ and val/ of --data-dir, with a sub-folder for each class.
"""

import logging
from pathlib import Path

from byteps_gc import env
from byteps_gc.checkpoint_files import file_hashes
from byteps_gc.data.folder import Folder
from byteps_gc.data.records import Records
from byteps_gc.errors import UserError
from byteps_gc.training import checkpoint, flags, models

IMAGENET = Path("~/.mxnet/datasets/imagenet")
RECORDS = ("rec_train", "rec_train_idx", "rec_val", "rec_val_idx")


def parse_args():
    parser = flags.Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a classifier of GluonCV's model zoo")
    flags.add_training(parser, epochs=3, decay_epochs="40,60", log="train_imagenet.log", save="--save-frequency")
    parser.add_argument("--data-dir", type=Path, help=f"folder of train/ and val/ (default: {IMAGENET})")
    parser.add_argument("--use-rec", action="store_true", help="read RecordIO files")
    parser.add_argument("--rec-train", type=Path, help=f"training images (default: {IMAGENET}/rec/train.rec)")
    parser.add_argument("--rec-train-idx", type=Path, help="its index (default: the .idx next to it)")
    parser.add_argument("--rec-val", type=Path, help=f"validation images (default: {IMAGENET}/rec/val.rec)")
    parser.add_argument("--rec-val-idx", type=Path, help="its index (default: the .idx next to it)")
    parser.add_argument("--input-size", type=int, default=224, metavar="PIXELS", help="width and height of the input")
    parser.add_argument("--crop-ratio", type=float, default=0.875, help="in validation: input size / shorter side")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="float16 needs a GPU")
    parser.add_argument("--lr-mode", default="step", choices=["step", "poly", "cosine"], help="decay")
    parser.add_argument("--no-wd", action="store_true", help="apply no weight decay to biases, beta and gamma")
    parser.add_argument("--use-pretrained", action="store_true", help="start from GluonCV's pretrained parameters")
    parser.add_argument("--use_se", action="store_true", help="use squeeze and excitation, for models that support it")
    parser.add_argument("--batch-norm", action="store_true", help="use batch normalization in a VGG")
    parser.add_argument("--use-gn", action="store_true", help="use group normalization")
    parser.add_argument("--last-gamma", action="store_true", help="start the last gamma of each residual block at 0")
    parser.add_argument("--label-smoothing", action="store_true", help="smooth labels by 0.1")
    parser.add_argument("--mixup", action="store_true", help="mix pairs of images and labels")
    parser.add_argument("--mixup-alpha", type=float, default=0.2, help="parameter of mixup's beta distribution")
    parser.add_argument("--mixup-off-epoch", type=int, default=0, metavar="N", help="no mixup in the last N epochs")
    parser.add_argument("--teacher", help="a pretrained classifier for knowledge distillation")
    parser.add_argument("--temperature", type=float, default=20.0, help="temperature of the teacher's softmax")
    parser.add_argument("--hard-weight", type=float, default=0.5, help="weight of the labels; the teacher has the rest")
    parser.add_argument("--resume-params", type=Path, help="a checkpoint's .params, instead of --resume-from")
    parser.add_argument("--resume-states", type=Path, help="a checkpoint's .states")
    parser.add_argument("--resume-epoch", type=int, help="completed epochs (default: read from the checkpoint)")
    parser.add_argument("--log-interval", type=int, default=50, help="steps between log lines; 0: none")
    return flags.parse(parser, check)


def check(parser, opt):
    flags.check(parser, opt)
    flags.require(parser, opt, ("input_size",), 1)
    flags.require(parser, opt, ("mixup_off_epoch", "log_interval"), 0)
    for name, most in (("crop_ratio", 1), ("mixup_alpha", float("inf")), ("temperature", float("inf"))):
        if not 0 < getattr(opt, name) <= most:
            raise UserError(f"{flags.flag(name, parser)} {getattr(opt, name)} is not above 0 and at most {most}")
    if not 0 <= opt.hard_weight <= 1:
        raise UserError(f"--hard-weight {opt.hard_weight} is not in [0, 1]")
    open_data(parser, opt)
    check_resume(opt)
    models.check_dtype(opt.dtype, opt.num_gpus)
    build(opt)
    if opt.teacher:
        build_teacher(opt)


def open_data(parser, opt):
    """Open the image sets, opt.train_set and opt.val_set, and name them, opt.dataset."""
    given = [flags.flag(name, parser) for name in RECORDS if getattr(opt, name)]
    if opt.use_rec and opt.data_dir:
        raise UserError("--data-dir cannot be combined with --use-rec")
    if given and not opt.use_rec:
        raise UserError(f"{given[0]} needs --use-rec")
    if opt.use_rec:
        place = opt.rec_train or IMAGENET / "rec" / "train.rec"
        opt.train_set = Records(place, opt.rec_train_idx)
        opt.val_set = Records(opt.rec_val or IMAGENET / "rec" / "val.rec", opt.rec_val_idx, opt.train_set.classes)
    else:
        place = opt.data_dir or IMAGENET
        opt.train_set = Folder(place / "train")
        opt.val_set = Folder(place / "val", opt.train_set.names)
    opt.dataset = place.name


def check_resume(opt):
    """Find the checkpoint's files, opt.resume; rank 0 reads them, and the others get them from it."""
    opt.resume = {}
    if (opt.resume_states or opt.resume_epoch) and not opt.resume_params:
        raise UserError("--resume-states and --resume-epoch need --resume-params")
    if opt.resume_epoch is not None and not 0 <= opt.resume_epoch < opt.num_epochs:
        raise UserError(f"--resume-epoch {opt.resume_epoch} is not in [0, --num-epochs {opt.num_epochs})")
    if opt.resume_params and env.integer("DMLC_WORKER_ID", 0) == 0:
        opt.resume = {".params": opt.resume_params, ".states": opt.resume_states}
        opt.resume = {suffix: file.expanduser() for suffix, file in opt.resume.items() if file}
        for file in opt.resume.values():
            if not file.is_file():
                raise UserError(f"cannot resume: no file {file}")
        progress = opt.resume[".params"].with_suffix(".json")
        if progress.is_file():
            opt.resume[".json"] = progress
        checker = file_hashes.FileChecker()
        for suffix, file in opt.resume.items():
            checker.check(file, suffix)


def build(opt):
    """The net to train."""
    options = {name: True for name in ("last_gamma", "batch_norm", "use_se") if getattr(opt, name)}
    if opt.use_gn:
        options["norm_layer"] = models.group_norm
    return models.classifier("--model", opt.model, opt.train_set.classes, opt.input_size, opt.use_pretrained, **options)


def build_teacher(opt):
    """The net to learn from."""
    return models.classifier("--teacher", opt.teacher, opt.train_set.classes, opt.input_size, pretrained=True)


def load_parts(opt, run):
    """Load --resume-params and, if it is given, --resume-states; without it, only the schedule continues."""
    run.progress.update(checkpoint.load(opt.resume, run.net, run.trainer, run.context))
    if opt.resume_epoch is not None:
        run.progress["epoch"] = opt.resume_epoch - 1
    if not opt.resume_states:
        steps = (run.progress["epoch"] + 1) * run.sampler.batches
        run.trainer.optimizer.begin_num_update = run.trainer.optimizer.num_update = steps


def main(opt):
    # imported once the flags have been checked, so that a mistake is reported at once
    from byteps_gc.data.imagenet_transforms import Views
    from byteps_gc.data.loader import Loader
    from byteps_gc.data.sharding import ShardedSampler, validation_part
    from byteps_gc.data.soft_labels import SMOOTHING, SoftLabels
    import byteps_gc.mxnet as bps
    from byteps_gc.training import session
    from byteps_gc.training.run import Run
    from byteps_gc.training.validation import accuracy
    import gluoncv
    import mxnet as mx
    from mxnet import autograd, gluon

    bps.init()
    context = session.start(opt)
    train_samples, val_samples, classes = len(opt.train_set), len(opt.val_set), opt.train_set.classes
    session.agree(training_images=train_samples, validation_images=val_samples, classes=classes)

    net = build(opt)
    if not opt.use_pretrained:
        net.initialize(mx.init.MSRAPrelu(), ctx=context)
    net.cast(opt.dtype)
    net.collect_params().reset_ctx(context)
    if opt.no_wd:
        net.collect_params(".*beta|.*gamma|.*bias").setattr("wd_mult", 0.0)

    sampler = ShardedSampler(train_samples, opt.batch_size, bps.rank(), bps.size(), opt.seed)
    batches = SoftLabels(
        Views(opt.train_set, opt.input_size),
        classes,
        SMOOTHING if opt.label_smoothing else 0.0,
        opt.mixup_alpha if opt.mixup else 0.0,
        mixes=lambda: sampler.epoch < opt.num_epochs - opt.mixup_off_epoch,
    )
    train_data = Loader(batches, sampler, opt.batch_size, opt.num_workers)
    part = validation_part(val_samples, bps.rank(), bps.size())
    val_data = Loader(Views(opt.val_set, opt.input_size, opt.crop_ratio), part, opt.batch_size, opt.num_workers)

    rates = session.learning_rates(opt, sampler.batches, opt.lr_mode)
    trainer = bps.DistributedTrainer(
        net.collect_params(),
        "sgd" if opt.compression.compressor else "nag",
        {
            "lr_scheduler": rates,
            "momentum": opt.momentum,
            "wd": opt.wd,
            "multi_precision": opt.dtype == "float16",
        },
        compression_params=opt.compression,
    )
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    if opt.teacher:
        teacher = build_teacher(opt)
        teacher.cast(opt.dtype)
        teacher.collect_params().reset_ctx(context)
        teacher.hybridize()
        loss_function = gluoncv.loss.DistillationSoftmaxCrossEntropyLoss(
            opt.temperature, opt.hard_weight, sparse_label=False
        )

    def predict(images, model=net):
        return model(mx.nd.array(images, ctx=context, dtype=opt.dtype)).astype("float32")

    run = Run(opt, net, trainer, sampler, context, opt.log_interval)
    if opt.resume_params and not opt.resume_from:
        load_parts(opt, run)
    run.begin(opt.dataset, train_samples, val_samples)
    if opt.mode != "imperative":
        net.hybridize()
    for _ in run.epochs():
        for images, targets in run.batches(train_data):
            targets = [mx.nd.array(targets, ctx=context)]
            label = targets[0].argmax(axis=1)
            if opt.teacher:
                targets.append(mx.nd.softmax(predict(images, teacher) / opt.temperature))
            with autograd.record():
                output = predict(images)
                loss = loss_function(output, *targets)
            loss.backward()
            with run.exchange():
                trainer.step(opt.batch_size)
            run.count(loss.sum(), (output.argmax(axis=1) == label).sum())
        top1, top5 = accuracy(predict, val_data, tops=(1, 5))
        run.finish_epoch(top1, top5=top5)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_args()
    if not options.check:
        main(options)
