"""Maps import names to the folders at the top: a name in site-packages has to be ours alone."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = {
    "harness": "harness",
    "harnessapi": "proto/harnessapi",
    "harness_retrieval": "retrieval",
    "harness_servers": "servers",
    "harness_training": "training",
}

# Files alone. Images are built without them: there they are a volume.
DATA = {"harness.checkpoints": "checkpoints"} if Path("checkpoints").is_dir() else {}

setup(
    package_dir={**FOLDERS, **DATA},
    packages=[
        *DATA,
        *(
            package
            for name, folder in FOLDERS.items()
            for package in (name, *(f"{name}.{inner}" for inner in find_packages(folder)))
        ),
    ],
)
