"""Packaging. BytePS itself is built by ``python -m byteps_gc engine build``."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = next(
    line.split('"')[1] for line in Path("byteps_gc/__init__.py").read_text().splitlines() if "__version__" in line
)

# MXNet 1.9 uses numpy.bool, which numpy 1.24 removed. Python 3.12 has no older numpy: there, byteps_gc.mxnet adds it.
MXNET = [
    "numpy<1.24; python_version < '3.12'",
    "numpy==1.26.4; python_version >= '3.12'",
    "setuptools<81; python_version >= '3.12'",  # MXNet imports distutils
    "gluoncv==0.10.5.post0",
    "opencv-python",  # decodes images
]

setup(
    name="byteps_gc",
    version=VERSION,
    description="Gradient compression for distributed training with BytePS",
    long_description=Path("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["byteps_gc", "byteps_gc.*"]),
    package_data={
        "byteps_gc.bench.stock": ["*.cc"],
        "byteps_gc.engine": ["files/*", "standin/*"],
        "byteps_gc.engine.fixups": ["*.fix"],
        "byteps_gc.native": ["src/*", "fuzz/*"],
        "byteps_gc.report": ["*.css"],
    },
    python_requires=">=3.8,<3.13",
    install_requires=[
        "numpy>=1.19",
        "matplotlib",
        "pyzmq>=26",  # the first with libzmq 4.3.5
        "rich",
        "wheel",  # writes the wheels of `engine build`
    ],
    extras_require={
        "mxnet-cpu": [*MXNET, "mxnet==1.9.1"],
        # what mxnet-cu112 and the engine need of CUDA 11, cuDNN 8 and NCCL, with the headers to compile against
        "mxnet-cuda": [
            *MXNET,
            "mxnet-cu112==1.9.1",
            "nvidia-cublas-cu11==11.11.3.6",
            "nvidia-cuda-nvcc-cu11==11.8.89",
            "nvidia-cuda-nvrtc-cu11==11.8.89",
            "nvidia-cuda-runtime-cu11==11.8.89",
            "nvidia-cudnn-cu11==8.9.6.50",
            "nvidia-cufft-cu11==10.9.0.58",
            "nvidia-curand-cu11==10.3.0.86",
            "nvidia-cusolver-cu11==11.4.1.48",
            "nvidia-cusparse-cu11==11.7.5.86",
            "nvidia-nccl-cu11==2.21.5",
            "nvidia-nvtx-cu11==11.8.86",
        ],
        "tensorboard": ["tensorboardX>=2.6.2"],
        # pytest-xdist 3.8 forms no groups (xdist_group) with pytest 9.2
        "test": ["pytest<9.2", "pytest-xdist", "hypothesis", "ruff==0.17.6", "tensorboardX>=2.6.2"],
    },
    entry_points={"console_scripts": ["bpslaunch = byteps_gc.cluster.bpslaunch:console"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
    ],
)
