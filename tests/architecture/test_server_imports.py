# The server starts fast and small: what only training, research and reports need is never imported by it.
from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.data import PROJECT_ROOT

HEAVY = {
    *("torch", "pytorch_lightning", "lightning", "jax", "jaxlib", "numpyro", "polars", "pyarrow", "pandas"),
    *("scipy", "sklearn", "matplotlib", "hypothesis", "pytest"),
}


@pytest.mark.parametrize("module", ["rfq_service.app", "rfq_service.bootstrap", "rfq_service.__main__"])
def test_server_imports_nothing_heavy(module):
    code = f"import sys, json, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert HEAVY & set(json.loads(result.stdout)) == set()
