"""Reads metrics in Prometheus's text format from standard input with Prometheus's own parser, holds histograms to their
rules, and prints every sample as JSON: {"name{label=value,…}": value}."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

samples = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, f"{family.name}: no help"
    assert family.type in ("gauge", "counter", "histogram"), f"{family.name}: type {family.type}"
    buckets = {}
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        name = f"{sample.name}{{{labels}}}" if labels else sample.name
        assert name not in samples, f"{name}: twice"
        samples[name] = sample.value
        if sample.name.endswith("_bucket"):
            of = tuple(sorted(item for item in sample.labels.items() if item[0] != "le"))
            buckets.setdefault(of, []).append((float(sample.labels["le"]), sample.value))
    for of, found in buckets.items():
        assert found == sorted(found), f"{family.name} {of}: buckets fall"
        counts = [sample.value for sample in family.samples
                  if sample.name.endswith("_count") and tuple(sorted(sample.labels.items())) == of]
        assert found[-1] == (float("inf"), counts[0]), f"{family.name} {of}: +Inf is not the count"
json.dump(samples, sys.stdout)
