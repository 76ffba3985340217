"""Metrics: each verb shows in the text, registries are separate, and the text is Prometheus'."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics.registry import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render())
        for sample in family.samples
    }


def test_every_verb_is_seen_in_the_text() -> None:
    metrics = Metrics()
    metrics.picture(2.0, 20)
    metrics.stage_took("decode", 0.3)
    metrics.queue_wait(4.0)
    metrics.evaluation(4, 0.08)
    metrics.evaluation(1, 0.02)
    metrics.cache("embeddings", hit=True)
    metrics.cache("embeddings", hit=False)
    metrics.cache("embeddings", hit=False)
    metrics.job_finished("done")
    metrics.set_jobs({"queued": 3, "done": 1})
    metrics.set_memory({"pool": 123})
    found = samples(metrics)
    assert found["easel_generation_seconds_sum", ()] == 2.0
    assert found["easel_generation_seconds_bucket", (("le", "2.5"),)] == 1
    assert found["easel_generation_seconds_bucket", (("le", "1.0"),)] == 0
    assert found["easel_steps_per_second_sum", ()] == 10.0
    assert found["easel_stage_seconds_sum", (("stage", "decode"),)] == 0.3
    assert found["easel_queue_wait_seconds_sum", ()] == 4.0
    assert found["easel_evaluations_total", ()] == 5
    assert found["easel_unet_batch_size_count", ()] == 2
    assert found["easel_unet_batch_size_bucket", (("le", "1.0"),)] == 1
    assert found["easel_unet_call_seconds_sum", ()] == pytest.approx(0.1)
    assert found["easel_cache_lookups_total", (("cache", "embeddings"), ("outcome", "miss"))] == 2
    assert found["easel_cache_lookups_total", (("cache", "embeddings"), ("outcome", "hit"))] == 1
    assert found["easel_jobs_finished_total", (("status", "done"),)] == 1
    assert found["easel_jobs", (("status", "queued"),)] == 3
    assert found["easel_memory_bytes", (("kind", "pool"),)] == 123


def test_a_status_that_no_job_has_any_more_disappears() -> None:
    metrics = Metrics()
    metrics.set_jobs({"queued": 3})
    metrics.set_jobs({"done": 3})
    assert ("easel_jobs", (("status", "queued"),)) not in samples(metrics)


def test_a_stage_that_fails_is_timed_and_still_fails() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError), metrics.stage("encode"):
        raise KeyError
    assert samples(metrics)["easel_stage_seconds_count", (("stage", "encode"),)] == 1


def test_two_engines_in_one_process_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.evaluation(1, 0.1)
    assert samples(second)["easel_evaluations_total", ()] == 0
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("easel")]


def test_a_picture_that_took_no_time_is_no_division_by_zero() -> None:
    metrics = Metrics()
    metrics.picture(0.0, 5)
    assert samples(metrics)["easel_steps_per_second_count", ()] == 0
