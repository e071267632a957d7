"""What all tests share: a reader who reads Chinese, whatever the machine speaks."""

from __future__ import annotations

import os

os.environ.setdefault("AUDIT_KIT_LANG", "zh")
