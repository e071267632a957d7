#!/bin/sh
# Opens the lab, having set up what it needs; an engagement may be named behind it. See start.py.
house=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 2
for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    exec "$name" "$house/start.py" "$@"
  fi
done
echo "需要 Python 3.11 或更新版本：请从系统软件源或 python.org 安装。" >&2
echo "Python 3.11 or newer is needed: install it from your system's packages or python.org." >&2
exit 2
