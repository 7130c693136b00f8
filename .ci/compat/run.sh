#!/usr/bin/env bash
# Real tools and client libraries against the release binaries. Installs the libraries outside of the checkout.
set -euo pipefail
cd "$(dirname "$0")"
tools=${SHOAL_COMPAT_TOOLS:-${TMPDIR:-/tmp}/shoal-compat-tools}
mkdir -p "$tools"
if [ ! -x "$tools/venv/bin/python" ]; then
  python3 -m venv "$tools/venv"
fi
"$tools/venv/bin/python" -c 'import redis' 2>/dev/null || "$tools/venv/bin/pip" install -q 'redis==6.4.0'
if command -v npm >/dev/null; then
  [ -d "$tools/node_modules/ioredis" ] || npm install --silent --no-audit --no-fund --prefix "$tools" ioredis@5 >/dev/null
else
  echo "ioredis: skipped, there is no npm"
fi
export NODE_PATH="$tools/node_modules"
"$tools/venv/bin/python" tools.py "$@"
if [ $# -eq 0 ]; then
  "$tools/venv/bin/python" chaos.py
  "$tools/venv/bin/python" ejected.py
fi
