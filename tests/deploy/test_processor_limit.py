"""OpenVINO is refused if an environment variable would make it crash."""

import pytest

from sparse_mm.deploy import check_engine, openvino_engine
from sparse_mm.errors import BadInputError

pytest.importorskip('openvino', reason='needs openvino')


@pytest.mark.parametrize(
    ('variable', 'isa', 'flags', 'refused'),
    [
        ('ONEDNN_MAX_CPU_ISA', 'AVX2', 'avx2 avx512f', True),
        ('ONEDNN_MAX_CPU_ISA', 'sse41', 'avx2 avx512f', True),
        ('DNNL_MAX_CPU_ISA', 'AVX2', 'avx2 avx512f', True),
        ('ONEDNN_MAX_CPU_ISA', 'AVX2', 'avx2', False),
        ('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE', 'avx2 avx512f', False),
        ('ONEDNN_MAX_CPU_ISA', 'ALL', 'avx2 avx512f', False),
        ('ONEDNN_MAX_CPU_ISA', '', 'avx2 avx512f', False),
    ],
)
def test_a_limit_below_the_processor(variable, isa, flags, refused, monkeypatch, tmp_path):
    (tmp_path / 'cpuinfo').write_text(f'processor : 0\nflags : fpu {flags}\n')
    monkeypatch.setattr(openvino_engine, 'PROCESSOR', tmp_path / 'cpuinfo')
    for name in openvino_engine.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, isa)
    if not refused:
        check_engine('openvino', 'float32')
        return
    with pytest.raises(BadInputError, match=f'AVX-512 where {variable}={isa} limits it'):
        check_engine('openvino', 'float32')


def test_a_processor_that_is_not_described(monkeypatch, tmp_path):
    """Only Linux lists the processor's features; on other systems nothing is refused."""
    monkeypatch.setattr(openvino_engine, 'PROCESSOR', tmp_path / 'nowhere')
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    check_engine('openvino', 'float32')
