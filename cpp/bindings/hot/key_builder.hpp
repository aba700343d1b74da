// Keys of calls and values. KeyBuilder makes the fingerprint that the in-process cache is indexed
// by; SharedKeyBuilder makes the 32 bytes that name an entry in Redis or a database.
#pragma once

#include <Python.h>

#include <optional>
#include <span>
#include <vector>

#include "hot/call_plan.hpp"
#include "hot/canonical_walker.hpp"
#include "hot/digest_sink.hpp"
#include "hot/fingerprint_sink.hpp"
#include "hot/heap_type.hpp"
#include "millpond/base/hash.hpp"
#include "millpond/base/sha256.hpp"

namespace millpond::bindings {

// The hasher of this process, seeded from the operating system when it is first asked for.
// REQUIRES: the GIL.
[[nodiscard]] const BlockHasher& process_hasher();

// Gives the process another seed, for tests: every fingerprint made before loses its meaning.
// REQUIRES: the GIL, no KeyBuilder alive.
void seed_process_hasher(std::span<const std::uint8_t, BlockHasher::kSeedBytes> seed,
                         HashLanes lanes);

// The fingerprint of a call's arguments. Lives on the stack, one per call (about 7 KB, of which
// little is touched); allocates only for opaque leaves and rarer types.
// REQUIRES: the GIL throughout; every value stays alive until finish().
class KeyBuilder {
  public:
    explicit KeyBuilder(const KeyOptions& options)
        : walker_(options, process_hasher()), options_(options) {}

    // The next positional value. `label` (a str or null) and `source` name it in an error message.
    // False with an exception set: KeyingError, or what a __hash__ of the user's raised.
    [[nodiscard]] bool add(PyObject* value, PyObject* label = nullptr,
                           KeySource source = KeySource::Argument);

    // The pairs of **kwargs, whose order does not count: sorts them by name. False as for add().
    // REQUIRES: called at most once, after every add(); names are str.
    [[nodiscard]] bool add_named(std::span<NamedArgument> pairs);

    // The fingerprint of everything added. Call it once.
    [[nodiscard]] Fingerprint finish() noexcept;

    // The opaque leaves met, a tuple in canonical order, borrowed; or null when there are none. Two
    // calls are the same if their fingerprints are equal and so are their leaves by ==.
    [[nodiscard]] PyObject* leaves() const noexcept { return tuple_.get(); }

  private:
    bool keep_leaves();
    void end_positional(std::uint64_t named) noexcept;

    Walker<FingerprintSink> walker_;
    KeyOptions options_;
    std::uint64_t positional_ = 0;
    bool has_named_ = false;
    Ref tuple_;
};

// What KeyBuilder::finish() gives after `count` positional values without leaves, which the caller
// has put into `sink` in Walker's form.
[[nodiscard]] Fingerprint finish_plain(FingerprintSink& sink, std::uint64_t count,
                                       const KeyOptions& options) noexcept;

// The shared key of a call's arguments: 32 bytes that are the same in every process. Costs about
// what SHA-256 over the arguments costs. Opaque leaves are an error.
// REQUIRES: as for KeyBuilder.
class SharedKeyBuilder {
  public:
    explicit SharedKeyBuilder(const KeyOptions& options);

    [[nodiscard]] bool add(PyObject* value, PyObject* label = nullptr);
    [[nodiscard]] bool add_named(PyObject* name, PyObject* value);

    // The key of everything added. Call it once. False with an exception set.
    [[nodiscard]] bool finish(Sha256Digest& key);

  private:
    struct Named {
        std::string name;  // encoded
        std::string code;  // the value, encoded
    };

    Walker<DigestSink> walker_;
    KeyOptions options_;
    std::uint64_t positional_ = 0;
    std::vector<Named> named_;
};

// One value on its own: KeyBuilder with a single add(). `leaves` receives a new reference, or null.
[[nodiscard]] bool fingerprint_value(PyObject* value, const KeyOptions& options, Fingerprint& print,
                                     PyObject** leaves);

// One value on its own: SharedKeyBuilder with a single add().
[[nodiscard]] bool shared_key_value(PyObject* value, const KeyOptions& options, Sha256Digest& key);

}  // namespace millpond::bindings
