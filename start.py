"""Set up `.venv` beside this file where it is missing, and open the lab; arguments go to `audit-kit lab`.

Started by start.cmd, start.command and start.sh. A folder `wheels` beside it is installed from, without a network;
else pip asks where it always asks, a mirror in PIP_INDEX_URL included.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent
PLACE = HOUSE / ".venv"
BIN = PLACE / ("Scripts" if os.name == "nt" else "bin")
READY = PLACE / "ready"
WHEELS = HOUSE / "wheels"
OLDEST = (3, 11)
STOPPED = 130


def main(arguments: list[str]) -> int:
    """Return the exit code of the lab, or of what kept it from opening."""
    if sys.version_info < OLDEST:
        _say("需要 Python 3.11 或更新版本。", "Python 3.11 or newer is needed.")
        return 2
    try:
        code = 0 if _is_ready() else _set_up()
        return code or _run(str(BIN / "audit-kit"), "lab", *arguments)
    except KeyboardInterrupt:
        return STOPPED


def _is_ready() -> bool:
    """Tell whether what is installed is not older than what is asked for."""
    asked = [HOUSE / "pyproject.toml", HOUSE / "constraints.txt"]
    return READY.exists() and all(file.stat().st_mtime <= READY.stat().st_mtime for file in asked)


def _set_up() -> int:
    """Make the environment and install into it; return the exit code of what failed, or 0."""
    _say("正在安装，第一次需要几分钟……", "Installing; the first time takes a few minutes …")
    is_made = any((BIN / name).exists() for name in ("python", "python.exe"))
    if not is_made and (code := _run(sys.executable, "-m", "venv", str(PLACE))):
        _say(
            "无法建立 .venv；Debian、Ubuntu 上请安装 python3-venv。",
            ".venv cannot be made; on Debian and Ubuntu install python3-venv.",
        )
        return code
    if WHEELS.is_dir():
        what = ["--no-index", "--find-links", str(WHEELS), "audit-kit"]
    else:
        what = ["--constraint", str(HOUSE / "constraints.txt"), "--editable", str(HOUSE)]
    code = _run(str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *what)
    if code:
        _say("安装未完成；镜像和离线安装见 README.zh-CN.md。", "Not installed; README.md tells of mirrors and wheels.")
    else:
        READY.touch()
    return code


def _run(*command: str) -> int:
    return subprocess.call(command)


def _say(chinese: str, english: str) -> None:
    print(f"{chinese}\n{english}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
