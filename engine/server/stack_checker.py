"""StackChecker: what of each adapter fits a model and where adapters disturb each other, before anything runs."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from engine.adapters.conflicts import advice, conflicts_of, order_advice
from engine.adapters.file import Adapter, read_adapter
from engine.adapters.impact import impact_of
from engine.adapters.match import match
from engine.adapters.modules import COMPONENTS, Targets, targets_of
from engine.errors import AdapterError, MergeError, ModelFileError, SpecError, StudioError
from engine.jobs.stack_admission import check_row
from engine.library.adapter_entries import AdapterEntry
from engine.library.entries import ModelEntry
from engine.library.headers import read_header
from engine.library.library import Library
from engine.loading.components import outline
from engine.loading.loader import part_config
from engine.merge.bases import opened_model
from engine.protocol.adapters import AdapterImpact, AdapterReport, PairConflict, StackReport
from engine.protocol.commands import CheckStack
from engine.protocol.notices import Notice
from engine.protocol.specs import AdapterRef

MODELS_KEPT = 4
# Pairs grow with the square, and each adapter's weights are read.
MOST_COMPARED = 12
MOST_MEASURED = 4


class StackChecker:
    """Answers from headers and from models without weights; only conflicts read the adapters themselves. Any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._targets: OrderedDict[tuple[str, str], Targets] = OrderedDict()

    def check(self, command: CheckStack) -> StackReport:
        """The report. What is wrong with one adapter is told in its own report.

        Raises:
            SpecError: `model_unknown`. ModelFileError: the model cannot be used.
        """
        model = self._library.find_model(command.model)
        targets = self._targets_of(model)
        told: list[str] = []
        reports = tuple(self._report(row, model, targets, told) for row in command.adapters)
        conflicts: tuple[PairConflict, ...] = ()
        if command.conflicts:
            fitting = [
                (row, report)
                for row, report in zip(command.adapters, reports, strict=True)
                if row.enabled and report.usable
            ]
            conflicts = self._conflicts(fitting, model, targets, told)
        impacts = self._impacts(reports, model, targets, told) if command.impact else ()
        titles = {report.id: report.title for report in reports}
        weights = {
            report.id: max(row.unet_weight, row.text_weight or 0.0, key=abs)
            for row, report in zip(command.adapters, reports, strict=True)
        }
        said = (*dict.fromkeys(told), *advice(conflicts, titles, weights))
        return StackReport(reports=reports, conflicts=conflicts, advice=said, impacts=impacts)

    def _impacts(
        self, reports: tuple[AdapterReport, ...], model: ModelEntry, targets: Targets, told: list[str]
    ) -> tuple[AdapterImpact, ...]:
        usable = [report for report in reports if report.usable]
        if len(usable) > MOST_MEASURED:
            told.append(f"Only the first {MOST_MEASURED} adapters were measured.")
        found: list[AdapterImpact] = []
        for report in usable[:MOST_MEASURED]:
            try:
                entry = self._library.adapters.find(report.id)
                began = time.perf_counter()
                adapter = read_adapter(entry.path, targets, title=entry.view.title, adapter_id=entry.view.id)
                seconds = time.perf_counter() - began
                with opened_model(model, targets) as opened:
                    found.append(impact_of(adapter, targets, opened.weight, read_seconds=seconds))
            except (AdapterError, MergeError, ModelFileError, SpecError) as error:
                told.append(str(error))
        return tuple(found)

    def _report(self, row: AdapterRef, model: ModelEntry, targets: Targets, told: list[str]) -> AdapterReport:
        try:
            entry = self._library.adapters.find(row.name)
            report = match(read_header(entry.path), targets, adapter_id=entry.view.id, title=entry.view.title)
        except StudioError as error:
            return AdapterReport(
                id=row.name, title=row.name, matched=0, total=0, usable=False, summary=str(error), code=error.code
            )
        if row.enabled:
            self._tell(row, entry, model, told)
        return report

    def _tell(self, row: AdapterRef, entry: AdapterEntry, model: ModelEntry, told: list[str]) -> None:
        """What admission would say of the row itself, but for the family, which the report tells."""
        notices: list[Notice] = []
        try:
            check_row(row, entry, model, notices)
        except (AdapterError, SpecError) as error:
            if error.code != "adapter_family_mismatch":
                told.append(str(error))
        told += [notice.message for notice in notices]

    def _conflicts(
        self,
        fitting: list[tuple[AdapterRef, AdapterReport]],
        model: ModelEntry,
        targets: Targets,
        told: list[str],
    ) -> tuple[PairConflict, ...]:
        if len(fitting) > MOST_COMPARED:
            told.append(f"Only the first {MOST_COMPARED} adapters were compared with each other.")
        adapters: list[Adapter] = []
        for _, report in fitting[:MOST_COMPARED]:
            try:
                entry = self._library.adapters.find(report.id)
                adapter = read_adapter(entry.path, targets, title=entry.view.title, adapter_id=entry.view.id)
            except (AdapterError, ModelFileError, SpecError) as error:
                told.append(str(error))
                continue
            adapters.append(adapter)
        # At a weight of 0 an adapter changes nothing, wherever it stands.
        heard = {report.id for row, report in fitting if row.unet_weight or row.text_weight}
        acting = [adapter for adapter in adapters if adapter.report.id in heard]
        told += order_advice(acting, {report.id: report.title for _, report in fitting})
        weights = {report.id: row.unet_weight for row, report in fitting}
        if not any(patch.needs_base for adapter in adapters for patch in adapter.patches.values()):
            return tuple(_signed(each, weights) for each in conflicts_of(adapters, targets))
        # What these kinds do depends on the model's own weights; of its files only the shared modules are read.
        try:
            with opened_model(model, targets) as opened:
                return tuple(_signed(each, weights) for each in conflicts_of(adapters, targets, opened.weight))
        except (MergeError, ModelFileError) as error:
            told.append(f"Kinds that work on the model's weights were not compared: {error}")
            return tuple(_signed(each, weights) for each in conflicts_of(adapters, targets))

    def _targets_of(self, model: ModelEntry) -> Targets:
        """The places of a model; those of the last few models are kept."""
        key = (model.view.id, model.stamp)
        with self._lock:
            found = self._targets.get(key)
            if found is None:
                parts = [part for part in COMPONENTS if part in model.family.parts]
                title = model.view.title
                modules = {part: outline(part, part_config(model, part), title) for part in parts}
                found = targets_of(modules, family=model.view.family)
            self._targets[key] = found
            self._targets.move_to_end(key)
            while len(self._targets) > MODELS_KEPT:
                self._targets.popitem(last=False)
            return found


def _signed(conflict: PairConflict, weights: dict[str, float]) -> PairConflict:
    """An adapter at a negative weight does the reverse of what its file says."""
    if weights.get(conflict.first, 1.0) * weights.get(conflict.second, 1.0) >= 0:
        return conflict
    blocks = tuple((name, -cosine) for name, cosine in conflict.blocks)
    return conflict.model_copy(update={"mean_cosine": -conflict.mean_cosine, "blocks": blocks})
