"""What a finished job leaves in the metrics."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from engine.protocol.commands import GetMetrics
from tests.engine.jobs.conftest import studio_on
from tests.engine.jobs.test_levels import SPEC
from tests.support.studio_data import make_settings


def test_a_job_is_counted_once_in_every_figure(tmp_path: Path) -> None:
    with studio_on(make_settings(tmp_path)) as studio:
        job = studio.make(SPEC.model_copy(update={"steps": 3, "count": 2, "batch_size": 2}))
        text = studio.call(GetMetrics()).text
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    figures = {sample.name: sample.value for sample in found}
    assert figures["easel_queue_wait_seconds_count"] == 1, "a job waits once, however many pictures it has"
    assert 0 < figures["easel_queue_wait_seconds_sum"] < job.finished_at - job.created_at
    assert figures["easel_generation_seconds_count"] == 2
    assert figures["easel_evaluations_total"] == 6
    held = {sample.labels["kind"]: sample.value for sample in found if sample.name == "easel_memory_bytes"}
    assert held["ram"] > held["pool"] > 0
