#include "hot/tier_snapshot.hpp"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <utility>

#include "translate_error.hpp"

namespace py = pybind11;

namespace millpond::bindings {
namespace {

using cache::TierOutcome;

double seconds(Nanos span) { return static_cast<double>(span.count()) * 1e-9; }

py::str text(std::string_view name) { return {name.data(), name.size()}; }

const char* state_name(BreakerState state) {
    static constexpr const char* kNames[] = {"closed", "open", "half_open"};
    return kNames[static_cast<std::size_t>(state)];
}

bool is_error(std::size_t outcome) {
    return outcome != static_cast<std::size_t>(TierOutcome::Ok) &&
           outcome != static_cast<std::size_t>(TierOutcome::Cancelled);
}

// Adds what is not zero of the errors to those in `errors`.
void add_errors(py::dict& errors, const cache::TierOpStats& stats) {
    for (std::size_t i = 0; i < cache::kTierOutcomes; ++i) {
        if (is_error(i) && stats.outcomes[i] != 0) {
            const py::str name = text(name_of(static_cast<TierOutcome>(i)));
            const auto before =
                errors.contains(name) ? errors[name].cast<std::uint64_t>() : std::uint64_t{0};
            errors[name] = before + stats.outcomes[i];
        }
    }
}

py::dict operation(const cache::TierOpStats& stats) {
    std::uint64_t calls = 0;
    for (const std::uint64_t count : stats.outcomes) {
        calls += count;
    }
    py::dict errors;
    add_errors(errors, stats);
    py::dict out;
    out["calls"] = calls;
    out["refused"] = stats.refused;
    out["cancelled"] = stats.outcomes[static_cast<std::size_t>(TierOutcome::Cancelled)];
    out["errors"] = errors;
    out["bytes_in"] = stats.bytes.in;
    out["bytes_out"] = stats.bytes.out;
    out["latency"] = py::reinterpret_steal<py::object>(histogram_summary(stats.latency));
    return out;
}

py::str cause(const cache::TierOutage& outage) {
    return outage.cause == TierOutcome::Ok ? py::str("slow") : text(name_of(outage.cause));
}

py::dict outages(const cache::TierMonitor& monitor, Instant now) {
    const cache::TierStats& stats = monitor.stats();
    Nanos total = stats.out;
    py::list recent;
    for (const cache::TierOutage& each : stats.recent) {
        py::dict one;
        one["ago"] = seconds(now - each.start);
        one["seconds"] = seconds(each.length);
        one["cause"] = cause(each);
        recent.append(one);
    }
    py::object present = py::none();
    if (monitor.outage()) {
        const Nanos length = std::max(now - monitor.outage()->start, Nanos{0});
        total += length;
        py::dict one;
        one["seconds"] = seconds(length);
        one["cause"] = cause(*monitor.outage());
        present = std::move(one);
    }
    py::dict out;
    out["count"] = stats.outages;
    out["seconds"] = seconds(total);
    out["present"] = present;
    out["recent"] = recent;
    return out;
}

py::dict snapshot(PyObject* name, const cache::TierMonitor& monitor, Instant now) {
    const cache::TierStats& stats = monitor.stats();
    py::dict operations;
    py::dict errors;
    cache::TierBytes bytes;
    std::uint64_t refused = 0;
    for (std::size_t i = 0; i < cache::kTierOps; ++i) {
        const cache::TierOpStats& each = stats.operations[i];
        const bool used =
            std::ranges::any_of(each.outcomes, [](std::uint64_t n) { return n != 0; });
        if (used || each.refused != 0) {
            operations[text(name_of(static_cast<cache::TierOp>(i)))] = operation(each);
        }
        add_errors(errors, each);
        bytes.in += each.bytes.in;
        bytes.out += each.bytes.out;
        refused += each.refused;
    }
    const auto event = [&stats](cache::TierEvent which) {
        return stats.events[static_cast<std::size_t>(which)];
    };
    py::dict misses;
    for (const auto reason :
         {cache::TierEvent::Absent, cache::TierEvent::StaleGeneration, cache::TierEvent::Expired,
          cache::TierEvent::Stale, cache::TierEvent::Unreadable}) {
        misses[text(name_of(reason))] = event(reason);
    }
    py::dict out;
    out["name"] = py::reinterpret_borrow<py::object>(name);
    out["state"] = state_name(monitor.state());
    out["full"] = monitor.full();
    out["hits"] = event(cache::TierEvent::Hit);
    out["stale_hits"] = event(cache::TierEvent::StaleHit);
    out["misses"] = misses;
    out["fills_refused"] = event(cache::TierEvent::FillRefused);
    out["fills_dropped"] = event(cache::TierEvent::FillDropped);
    out["errors"] = errors;
    out["refused"] = refused;
    out["bytes_in"] = bytes.in;
    out["bytes_out"] = bytes.out;
    out["in_flight"] = stats.in_flight;
    out["probes"] = stats.probes;
    out["failed_probes"] = stats.failed_probes;
    out["times_full"] = stats.times_full;
    out["outages"] = outages(monitor, now);
    out["operations"] = operations;
    return out;
}

}  // namespace

PyObject* histogram_summary(const ExponentialHistogram& histogram) {
    py::dict out;
    out["count"] = histogram.count();
    if (histogram.count() != 0) {
        out["mean"] = histogram.sum() / static_cast<double>(histogram.count());
        out["min"] = histogram.min();
        out["p50"] = histogram.quantile(0.5);
        out["p90"] = histogram.quantile(0.9);
        out["p95"] = histogram.quantile(0.95);
        out["p99"] = histogram.quantile(0.99);
        out["max"] = histogram.max();
        out["relative_accuracy"] = histogram.relative_accuracy();
    }
    return out.release().ptr();
}

PyObject* tier_snapshot(PyObject* name, const cache::TierMonitor& monitor, Instant now) {
    try {
        return snapshot(name, monitor, now).release().ptr();
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
}

}  // namespace millpond::bindings
