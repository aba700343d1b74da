// What is good of the entries that a tier has: the insides of EntryReader.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "hot/entry_functions.hpp"
#include "hot/heap_type.hpp"
#include "hot/loaded.hpp"
#include "hot/tier_monitor.hpp"
#include "millpond/cache/envelope.hpp"

namespace millpond::bindings {

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

// millpond._engine.EntryReader: how the entries of one function or cache in one tier are read.
struct ReaderObject {
    PyObject_HEAD PyObject* monitor;  // of the tier
    PyObject* now;                    // now(): microseconds by the clock of the tier
    PyObject* monitors;               // of all tiers of the function, a tuple
    PyObject* opened;                 // opened(entry, key): values that are more than plain
    PlainTerms terms;                 // its `unpack` is owned
    double stale_while;               // seconds past its life for which a value is served
    double stale_if;                  // and for which it is, if the load fails
    std::uint32_t most;
    std::uint8_t source;
    bool plain;
    bool strict;  // an entry that lacks a generation of the call is not good
};

using GenerationBytes = std::array<std::byte, 16>;

// A generation and its present stamp; none: the tier has none, so no entry under it is good.
struct Present {
    GenerationBytes name{};
    std::optional<std::uint64_t> stamp;
};

// Adds names with their stamps. False with an exception set.
[[nodiscard]] bool read_present(PyObject* names, PyObject* stamps, std::vector<Present>& present);

// Whether this is what a tier's fetch() gives for one key and so many names. Sets no exception.
[[nodiscard]] bool is_fetched(PyObject* fetched, Py_ssize_t names);

// Seconds that memory may keep a value: the least of what its entry has left, what its function
// allows, and the caps of the tiers. REQUIRES: a tuple of TierMonitors.
[[nodiscard]] double memory_life(double left, double most, PyObject* monitors) noexcept;

// One look at what a tier gave.
class Reading {
  public:
    enum class Outcome {
        Good,
        Bad,      // counted
        Past,     // counted; `loaded` is for the case that the load fails
        Unknown,  // stamps have to be asked for: others() says which
        Error,    // an exception is set
    };

    // `known` are the names of the call, of which `call` are; after them what else was asked for.
    // `anew`: what is past its life is being loaded by the one who asks, so it is not good.
    Reading(ReaderObject* reader, const std::vector<Present>& known, std::size_t call, double most,
            bool store, bool anew) noexcept
        : reader_(reader), known_(known), call_(call), most_(most), store_(store), anew_(anew) {}

    // `loaded` is the Loaded of an entry that is good, or past its life.
    [[nodiscard]] Outcome open(PyObject* key, PyObject* entry, Ref& loaded);
    // The time of the tier is this; else it is asked.
    void at(std::int64_t micros) noexcept { now_ = static_cast<double>(micros); }
    // Generations that the entry has and `known` has not.
    [[nodiscard]] const std::vector<GenerationBytes>& others() const { return others_; }

    // Counts an entry that is not good.
    Outcome bad(cache::TierEvent event) noexcept {
        tier_monitor(reader_->monitor).count(event);
        return Outcome::Bad;
    }

  private:
    [[nodiscard]] std::optional<std::size_t> find(const GenerationBytes& name,
                                                  std::size_t first) const;
    [[nodiscard]] Outcome compare(const Envelope& found, Ref& tags);
    [[nodiscard]] bool lacks_some(const Envelope& found) const;
    [[nodiscard]] bool now(double& micros);
    [[nodiscard]] TierValue lives(const EnvelopeHeader& header, double micros) const noexcept;
    [[nodiscard]] Outcome value_of(PyObject* key, PyObject* entry, const Envelope& found,
                                   Ref& value);

    ReaderObject* reader_;
    const std::vector<Present>& known_;
    std::size_t call_;
    double most_;
    bool store_;
    bool anew_;
    double now_ = -1;
    std::vector<GenerationBytes> others_;
};

}  // namespace millpond::bindings
