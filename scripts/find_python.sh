# Sourced by setup.sh and demo.sh: sets $python to one that the project works with, BYTEPS_GC_BASE_PYTHON if that is
# set, and ends the script with one line if there is none. $0's name stands in front of the line.
usable() { "$1" -c 'import ctypes, ssl, venv, zlib' >/dev/null 2>&1; }

python=${BYTEPS_GC_BASE_PYTHON:-}
for minor in 12 11 10 9 8; do
    for candidate in "python3.$minor" "$HOME/.pyenv/versions/3.$minor".*/bin/python; do
        [ -n "$python" ] || ! usable "$candidate" || python=$candidate
    done
done
if [ -z "$python" ]; then
    echo "$(basename "$0" .sh): found no Python from 3.8 to 3.12; install Debian's packages python3 and python3-venv" >&2
    exit 2
fi
if ! usable "$python"; then
    echo "$(basename "$0" .sh): BYTEPS_GC_BASE_PYTHON=$python does not run, or lacks ssl, venv or zlib" >&2
    exit 2
fi
