"""The package of the function, as it is built: small, whole, and with all that it imports.

``make package`` builds what is looked at here: for both architectures with ``sam build``, and for
the Python that runs the tests, which then runs it with nothing else to import from.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runs import COMMITTED, child_environment, objects, program, variables
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.sandbox import Sandbox
    from support import S3Server

PACKAGES = REPOSITORY / "build" / "package"
HERE = ".".join(map(str, sys.version_info[:2]))
"""The Python that runs the tests."""
LARGEST = 80_000_000
"""In bytes. Lambda's own limit is 250 MB; what it has to fetch before a first run is felt."""

FOR_A_PERSON = ["__main__.py", "bucket", "cli", "doctor", "here.py", "sandbox", "storage/spectra"]
NOT_LAMBDAS = {
    ("handler.py", "main"),
    ("ingest/__init__.py", "__getattr__"),
    ("ingest/storage/services.py", "_spectra"),
}
"""The functions that import some of that: where a person comes in, or goes to a BlackPearl."""

ELF_MACHINES = {"x86_64": 62, "arm64": 183}
GONE_SINCE_3_11 = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap "
    "msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib".split()
)
STANDARD = sys.stdlib_module_names - GONE_SINCE_3_11

_numbers = itertools.count()


@dataclass(frozen=True)
class Package:
    """A built package: the directory that becomes the function's."""

    root: Path
    machine: str
    python: str

    def distributions(self) -> dict[str, Distribution]:
        found = distributions(path=[str(self.root)])
        return {canonicalize_name(each.metadata["Name"]): each for each in found}

    def environment(self) -> dict[str, str]:
        """What markers are compared with."""
        machine = {"arm64": "aarch64"}.get(self.machine, self.machine)
        return {
            **{name: str(value) for name, value in default_environment().items()},
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": machine,
            "platform_system": "Linux",
            "sys_platform": "linux",
        }


def _here() -> Package:
    if sys.platform != "linux":
        pytest.skip("the package is for Linux")
    machine = {"aarch64": "arm64"}.get(_uname(), _uname())
    return _built(Package(PACKAGES / "here", machine, HERE))


def _uname() -> str:
    return subprocess.run(
        ["uname", "-m"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _built(package: Package) -> Package:
    if not package.root.is_dir():
        pytest.skip(f"there is no {package.root.relative_to(REPOSITORY)}: make package builds it")
    return package


@pytest.fixture(params=["arm64", "x86_64", "here"])
def package(request: pytest.FixtureRequest) -> Package:
    """Each of the built packages in turn."""
    if request.param == "here":
        return _here()
    return _built(Package(PACKAGES / request.param / "IngestFunction", request.param, "3.13"))


@pytest.fixture
def here() -> Package:
    """The package that this Python can run."""
    return _here()


# What is in it


def test_it_is_small(package: Package) -> None:
    sizes = {path: path.stat().st_size for path in package.root.rglob("*") if path.is_file()}
    assert LARGEST / 10 < sum(sizes.values()) < LARGEST


def _ours(package: Package) -> dict[Path, bytes]:
    """The function's own files in a package, by their paths in the repository."""
    files = [package.root / "handler.py", *(package.root / "ingest").rglob("*.*")]
    return {
        path.relative_to(package.root): path.read_bytes() for path in files if path.suffix != ".pyc"
    }


def test_it_has_the_function_as_it_is_now(package: Package) -> None:
    ours = _ours(package)
    assert {Path("handler.py"), Path("ingest/pipeline.py")} <= ours.keys()
    changed = [path for path in ours if (REPOSITORY / path).read_bytes() != ours[path]]
    assert changed == [], "make package builds it anew"


def test_what_is_for_a_person_stays_behind(package: Package) -> None:
    for name in FOR_A_PERSON:
        assert (REPOSITORY / "ingest" / name).exists()
        assert not (package.root / "ingest" / name).exists()


def test_it_has_exactly_what_is_locked(package: Package) -> None:
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    requirements = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[a-z]", line)]
    locked = {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in requirements
        if each.marker is None or each.marker.evaluate(package.environment())
    }
    found = package.distributions()
    assert {name: each.version for name, each in found.items()} == locked


def test_it_has_no_leftovers(package: Package) -> None:
    names = {path.name for path in package.root.rglob("*")}
    assert names.isdisjoint({"RECORD", ".lock", "conftest.py"})
    # Scripts, whose first line would name a Python of the machine they were built on.
    assert not (package.root / "bin").exists()


def test_all_of_it_is_compiled_where_its_python_was_at_hand(package: Package) -> None:
    """For good: neither times nor sources are compared, when Lambda loads it."""
    tag = f"cpython-{package.python.replace('.', '')}"
    wanted = {
        source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc": source
        for source in package.root.rglob("*.py")
    }
    found = set(package.root.rglob("*.pyc"))
    if not found and package.python != HERE:
        pytest.skip(f"there was no python{package.python} to compile it")
    assert found == wanted.keys()
    assert {path.read_bytes()[4:8] for path in found} == {b"\x01\0\0\0"}
    if package.python == HERE:
        for path, source in wanted.items():
            content = path.read_bytes()
            assert content[:4] == importlib.util.MAGIC_NUMBER
            assert content[8:16] == importlib.util.source_hash(source.read_bytes()), path
            assert f"/var/task/{source.relative_to(package.root)}".encode() in content


def test_the_same_sources_make_the_same_package(package: Package) -> None:
    times = {path.stat().st_mtime for path in package.root.rglob("*")}
    assert len(times) == 1
    path = str(REPOSITORY).encode()
    named = [
        each for each in package.root.rglob("*") if each.is_file() and path in each.read_bytes()
    ]
    assert named == []


def test_it_runs_on_the_architecture_it_is_for(package: Package) -> None:
    libraries = list(package.root.rglob("*.so"))
    assert libraries
    for path in libraries:
        header = path.read_bytes()[:20]
        assert header[:6] == b"\x7fELF\x02\x01", path
        assert int.from_bytes(header[18:20], "little") == ELF_MACHINES[package.machine], path
        of_one_python = re.search(r"\.cpython-(\d)(\d+)-", path.name)
        assert of_one_python is None or ".".join(of_one_python.groups()) == package.python, path


# What it imports


def _imports(file: Path, node: ast.AST) -> Iterator[str]:
    """Each module that is imported below ``node``, but for types; and each name from one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.FunctionDef) and (str(file), child.name) in NOT_LAMBDAS:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module, f"{file} imports relatively"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from _imports(file, child)


def _missing(package: Package) -> set[str]:
    """What the function imports and the package has not."""
    missing = set()
    for file, source in _ours(package).items():
        for name in _imports(file, ast.parse(source)):
            parts = name.split(".")
            modules = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
            ours = [
                each for each in modules if parts[0] == "ingest" and _is_module(REPOSITORY, each)
            ]
            foreign = [] if parts[0] in STANDARD else modules[:1]
            missing |= {
                f"{file}: {each}"
                for each in (*ours, *foreign)
                if not _is_module(package.root, each)
            }
    return missing


def _is_module(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_it_has_whatever_it_imports(package: Package) -> None:
    assert _missing(package) == set()


def test_it_has_whatever_its_parts_require(package: Package) -> None:
    found = package.distributions()
    environment: Mapping[str, str] = {**package.environment(), "extra": ""}
    wanted = [
        (name, Requirement(line)) for name, each in found.items() for line in each.requires or ()
    ]
    needed = [
        (name, each)
        for name, each in wanted
        if not each.marker or each.marker.evaluate(environment)
    ]
    assert {"botocore", "urllib3"} <= {each.name for _, each in needed}
    unmet = [
        f"{name} needs {each}"
        for name, each in needed
        if canonicalize_name(each.name) not in found
        or not each.specifier.contains(found[canonicalize_name(each.name)].version)
    ]
    assert unmet == []


def _run(package: Package, environ: Mapping[str, str], code: str) -> str:
    """What this Python prints of ``code`` where it can import the package, and nothing else."""
    path = f"import sys; sys.path.insert(0, {str(package.root)!r}); sys.dont_write_bytecode = True"
    done = subprocess.run(
        # -S leaves out this environment's packages, -I the variables and directories of Python.
        [sys.executable, "-I", "-S", "-W", "error", "-c", f"{path}\n{code}"],
        env=child_environment(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_of_its_modules_imports_with_nothing_else_around(here: Package) -> None:
    modules = [
        ".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in _ours(here)
    ]
    assert {"handler", "ingest", "ingest.storage.s3"} <= set(modules)
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)\nprint('all')"
    assert _run(here, {}, code) == "all\n"


WHERE_SERVICES_ARE = """
from botocore.session import Session
session = Session()
for service in ("s3", "secretsmanager", "ssm", "xray"):
    for partition in session.get_available_partitions():
        regions = session.get_available_regions(service, partition, allow_non_regional=True)
        print(service, partition, regions)
        for region in regions[:3]:
            print(session.create_client(service, region_name=region).meta.endpoint_url)
"""


def test_what_is_left_of_botocore_finds_the_services_as_all_of_it_does(here: Package) -> None:
    """What it knows of the others is taken out."""
    assert _run(here, {}, WHERE_SERVICES_ARE) == program({}, "-c", WHERE_SERVICES_ARE).out
    code = "import boto3; print(boto3.session.Session().get_available_services())"
    assert _run(here, {}, code) == "['s3', 'secretsmanager', 'ssm', 'xray']\n"


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
def test_a_token_can_be_read_from_either_service(
    here: Package, moto_server: S3Server, service: str
) -> None:
    client: Any = boto3.client(
        service,
        endpoint_url=moto_server.endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )
    name, token = f"package-{os.getpid()}-{next(_numbers)}", "eyJ.kept.by-aws"
    if service == "ssm":
        client.put_parameter(Name=name, Value=token, Type="SecureString")
        environ = {"TMDB_PARAMETER_NAME": name}
    else:
        environ = {"TMDB_SECRET_ARN": client.create_secret(Name=name, SecretString=token)["ARN"]}
    for variable in ("SECRETS_MANAGER", "SSM"):
        environ[f"AWS_ENDPOINT_URL_{variable}"] = moto_server.endpoint_url
    environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    code = """
from ingest.aws_secret import read
from ingest.settings import load
print(read(load().kept_secret).token)
"""
    assert _run(here, {**environ, "AWS_REGION": "us-east-1"}, code) == f"{token}\n"


@pytest.mark.parametrize("tracing", ["false", "true"])
def test_a_run_needs_nothing_else(
    here: Package, stand_in: Callable[..., Sandbox], rclone_server: S3Server, tracing: str
) -> None:
    bucket = rclone_server.new_bucket()
    environ = variables(
        stand_in(),
        **rclone_server.environment(bucket),
        AWS_LAMBDA_FUNCTION_NAME="ingest",
        PARTITION_TIMEZONE="America/Sao_Paulo",
        TRACING=tracing,
    )
    code = """
import handler
class Context:
    aws_request_id = "request-1"
    def get_remaining_time_in_millis(self):
        return 60_000
answer = handler.lambda_handler({"scheduled_time": "2026-11-20T06:00:00Z"}, Context())
print(answer["statusCode"])
"""
    assert _run(here, environ, code).splitlines()[-1] == "200"
    assert objects(rclone_server, bucket).keys() == COMMITTED
