"""What imports what: frameworks stay at the edge, and imports point down."""

import ast
from pathlib import Path
import sys

import byteps_gc

PACKAGE = Path(byteps_gc.__file__).parent

# A module may import from this package only what stands in an earlier layer, or in its own.
LAYERS = [
    {"", "arguments", "before_mxnet", "errors", "processes", "clock", "env", "variables"},
    {"compressors", "toolchain"},
    {"native", "engine"},
    {"core"},
    {"data", "report", "checkpoint_files"},
    {"mxnet", "numpy", "torch"},
    {"training"},
    {"cluster"},
    {"bench", "doctor"},
    {"reproduce"},
    {"cli"},
    {"__main__"},
]
FRONT_ENDS = {"mxnet", "torch"}
FRAMEWORKS = {
    "training.session",
    "training.run",
    "bench.peers.ddp_worker",
    "bench.peers.horovod_worker",
}  # and the front ends


def layer(name):
    """The number of a module's layer, by the first part of its name in the package."""
    return next(number for number, names in enumerate(LAYERS) if name.split(".")[0] in names)


def imports(file, everywhere):
    """The modules that a file imports at its top, or ``everywhere`` in it."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), file


def known(name):
    """The module of this package that a dotted name belongs to, or None."""
    if name != "byteps_gc" and not name.startswith("byteps_gc."):
        return None
    words = name.split(".")[1:]
    is_module = words and ((PACKAGE / words[0]).is_dir() or (PACKAGE / f"{words[0]}.py").is_file())
    return words[0] if is_module else ""


def test_imports_point_down():
    for name, file in modules():
        for imported in imports(file, everywhere=False):
            other = known(imported)
            if other is not None:
                assert layer(other) <= layer(name), f"{name} imports {imported}"


def test_only_the_edge_knows_a_framework():
    for name, file in modules():
        for imported in imports(file, everywhere=False):
            if imported.split(".")[0] in ("mxnet", "byteps", "gluoncv", "torch"):
                assert name.split(".")[0] in FRONT_ENDS or name in FRAMEWORKS, f"{name} imports {imported}"


def test_ctypes_stands_in_the_bindings_only():
    bindings = {"native", "native.binding", "core.engine", "mxnet.exchange"}  # compressors, engine, libmxnet
    system = {"processes", "engine.nvidia_driver", "bench.cpu_time"}  # libc, libcuda
    loaders = {"cluster.bpslaunch", "bench.stock.compressors"}  # BytePS's server, stock compressors
    found = {name for name, file in modules() if "ctypes" in imports(file, everywhere=True)}
    assert found == bindings | system | loaders


def test_importing_the_package_imports_no_framework(commands):
    code = (
        "import byteps_gc, sys; print([n for n in ('mxnet', 'byteps', 'gluoncv', 'torch', 'rich') if n in sys.modules])"
    )
    result = commands.run(sys.executable, "-c", code)
    assert (result.status, result.output) == (0, "[]\n")


def test_the_launcher_imports_no_framework(commands):
    """A host's supervisor, and the check of a job's flags, must start at once, and without MXNet."""
    for module in ("cluster.run", "cluster.simulated_cluster", "training.flags", "bench.commands"):
        code = f"import byteps_gc.{module}, sys; print([n for n in ('mxnet', 'byteps', 'gluoncv') if n in sys.modules])"
        result = commands.run(sys.executable, "-c", code)
        assert (result.status, result.output) == (0, "[]\n"), module


def test_modules_stay_small():
    for name, file in modules():
        lines = len(file.read_text().splitlines())
        assert lines <= 300, f"{name} has {lines} lines"
