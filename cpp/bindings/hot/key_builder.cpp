#include "hot/key_builder.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <utility>

#include "hot/canonical_builtins.hpp"
#include "hot/canonical_classes.hpp"
#include "hot/canonical_library.hpp"
#include "hot/canonical_unordered.hpp"

namespace millpond::bindings {
namespace {

using Seed = std::array<std::uint8_t, BlockHasher::kSeedBytes>;

Seed random_seed() {
    Seed seed;
    std::random_device device;  // the operating system's generator
    for (std::size_t at = 0; at < seed.size(); at += sizeof(unsigned)) {
        const unsigned word = device();
        std::memcpy(seed.data() + at, &word, sizeof word);
    }
    return seed;
}

std::optional<BlockHasher>& hasher_of_process() {
    static std::optional<BlockHasher> hasher{std::in_place, random_seed()};
    return hasher;
}

// "argument 'messages'", "argument 2" or, for a value on its own, "the value".
std::string argument_name(PyObject* label, std::uint64_t place) {
    std::string name;
    if (label != nullptr && PyUnicode_Check(label)) {
        append_text(label, name);
        return name;
    }
    return "argument " + std::to_string(place);
}

// Runs a walk: what it threw or noted becomes a Python exception.
template <typename Sink, typename Walk>
bool guarded(Walker<Sink>& walker, PyObject* label, std::uint64_t place, const Walk& walk,
             KeySource source = KeySource::Argument) {
    try {
        if (walk()) return true;
        walker.failure().raise(source, argument_name(label, place));
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    }
    return false;
}

std::uint64_t option_bits(const KeyOptions& options) {
    return (options.typed ? 1U : 0U) | (options.ordered ? 2U : 0U);
}

// What stands between the positional values and the named ones: no value has its tag.
void end_arguments(FingerprintSink& sink, std::uint64_t positional, std::uint64_t named,
                   const KeyOptions& options) noexcept {
    sink.word(Tag::Root, positional << 2 | option_bits(options));
    sink.word(Tag::Root, named);
}

// Any order of names will do; most are told apart by their lengths. REQUIRES: both are ready.
bool name_before(const NamedArgument& a, const NamedArgument& b) noexcept {
    const Py_ssize_t length = PyUnicode_GET_LENGTH(a.name);
    const Py_ssize_t other = PyUnicode_GET_LENGTH(b.name);
    return length != other ? length < other : PyUnicode_Compare(a.name, b.name) < 0;
}

}  // namespace

void sort_leaves(std::vector<Ref>& leaves, std::vector<LeafRun>& runs) {
    if (runs.size() < 2) return;
    std::vector<Ref> sorted;
    const std::size_t first = runs.front().begin;
    sorted.reserve(leaves.size() - first);
    std::ranges::stable_sort(runs, [](const LeafRun& a, const LeafRun& b) {
        return std::pair(a.print.hi, a.print.lo) < std::pair(b.print.hi, b.print.lo);
    });
    for (const LeafRun& run : runs) {
        for (std::size_t i = run.begin; i < run.end; ++i) sorted.push_back(std::move(leaves[i]));
    }
    std::ranges::move(sorted, leaves.begin() + static_cast<std::ptrdiff_t>(first));
}

template <typename Sink>
bool Walker<Sink>::refuse_depth(PyObject* object) {
    if (containers_ > kMaxContainers) {
        return failure_.set("it holds more than 10,000,000 containers");
    }
    // An instance of a subclass stands on two levels, one above the other; that is no cycle.
    for (std::size_t i = 0; i < depth_; ++i) {
        for (std::size_t j = 0; j + 1 < i; ++j) {
            if (levels_[i] == levels_[j]) return failure_.set("it contains itself");
        }
        if (levels_[i] == object && i + 1 < depth_) return failure_.set("it contains itself");
    }
    return failure_.set("it is nested more than 100 levels deep");
}

template class Walker<FingerprintSink>;
template class Walker<DigestSink>;

// It is there from the start. NOLINTNEXTLINE(bugprone-unchecked-optional-access)
const BlockHasher& process_hasher() { return *hasher_of_process(); }

void seed_process_hasher(std::span<const std::uint8_t, BlockHasher::kSeedBytes> seed,
                         HashLanes lanes) {
    hasher_of_process().emplace(seed, lanes);
}

bool KeyBuilder::add(PyObject* value, PyObject* label, KeySource source) {
    const std::size_t before = walker_.leaves().size();
    const auto walk = [&] {
        ++positional_;
        return walker_.value(value) && (walker_.leaves().size() == before || keep_leaves());
    };
    return guarded(walker_, label, positional_, walk, source);
}

bool KeyBuilder::add_named(std::span<NamedArgument> pairs) {
    for (const auto& [name, value] : pairs) {
        if (!ready_text(name)) return false;
    }
    std::ranges::sort(pairs, name_before);
    end_positional(pairs.size());
    has_named_ = true;
    const std::size_t before = walker_.leaves().size();
    for (const NamedArgument& each : pairs) {
        const auto walk = [&] { return walker_.value(each.name) && walker_.value(each.value); };
        if (!guarded(walker_, each.name, 0, walk)) return false;
    }
    return walker_.leaves().size() == before || keep_leaves();
}

bool KeyBuilder::keep_leaves() {
    const std::vector<Ref>& leaves = walker_.leaves();
    Ref tuple(PyTuple_New(static_cast<Py_ssize_t>(leaves.size())));
    if (!tuple) return false;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), Py_NewRef(leaves[i].get()));
    }
    tuple_ = std::move(tuple);
    return true;
}

void KeyBuilder::end_positional(std::uint64_t named) noexcept {
    end_arguments(walker_.sink(), positional_, named, options_);
}

Fingerprint finish_plain(FingerprintSink& sink, std::uint64_t count,
                         const KeyOptions& options) noexcept {
    end_arguments(sink, count, 0, options);
    return sink.finish();
}

Fingerprint KeyBuilder::finish() noexcept {
    if (!has_named_) end_positional(0);
    return walker_.sink().finish();
}

SharedKeyBuilder::SharedKeyBuilder(const KeyOptions& options)
    : walker_(options), options_(options) {
    constexpr std::uint8_t kVersion = 1;
    const std::array<std::uint8_t, 5> start{'m', 'p', 'k', kVersion,
                                            static_cast<std::uint8_t>(option_bits(options))};
    walker_.sink().raw(start.data(), start.size());
}

bool SharedKeyBuilder::add(PyObject* value, PyObject* label) {
    return guarded(walker_, label, positional_, [&] {
        ++positional_;
        return walker_.value(value);
    });
}

bool SharedKeyBuilder::add_named(PyObject* name, PyObject* value) {
    return guarded(walker_, name, 0, [&] {
        Named added;
        DigestSink& sink = walker_.sink();
        std::string* const before = sink.redirect(&added.name);
        bool walked = walker_.value(name);
        if (walked) {
            static_cast<void>(sink.redirect(&added.code));
            walked = walker_.value(value);
        }
        if (!walked) {
            sink.abandon(before);
            return false;
        }
        sink.resume(before);
        named_.push_back(std::move(added));
        return true;
    });
}

bool SharedKeyBuilder::finish(Sha256Digest& key) {
    return guarded(walker_, nullptr, 0, [&] {
        DigestSink& sink = walker_.sink();
        std::ranges::sort(named_, [](const Named& a, const Named& b) { return a.name < b.name; });
        sink.open(Tag::Root, positional_);
        sink.open(Tag::Root, named_.size());
        for (const Named& each : named_) {
            sink.raw(each.name.data(), each.name.size());
            sink.raw(each.code.data(), each.code.size());
        }
        key = sink.finish();
        return true;
    });
}

bool fingerprint_value(PyObject* value, const KeyOptions& options, Fingerprint& print,
                       PyObject** leaves) {
    KeyBuilder builder(options);
    if (!builder.add(value)) return false;
    print = builder.finish();
    *leaves = Py_XNewRef(builder.leaves());
    return true;
}

bool shared_key_value(PyObject* value, const KeyOptions& options, Sha256Digest& key) {
    SharedKeyBuilder builder(options);
    return builder.add(value) && builder.finish(key);
}

}  // namespace millpond::bindings
