// Puts values into their stored form: the tagged encoding, which gives back exactly the builtin
// types that were stored (docs/design/entries.md). Only values of exact types are taken, so what
// comes back is what went in; a subclass, or any other class, is refused.
//
// Safety. Attributes of a few library types run Python code, and threads may run beside it: every
// child is held while it is encoded, and a container whose size has changed is refused.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "hot/canonical_failure.hpp"
#include "hot/canonical_types.hpp"
#include "hot/heap_type.hpp"
#include "hot/stored_writer.hpp"

namespace millpond::bindings {

// Encodes one value. REQUIRES: the GIL.
class StoredEncoder {
  public:
    explicit StoredEncoder(StoredWriter& out) noexcept : out_(out) {}

    // False: failure() knows why, or a Python exception is set. Throws OverBound or bad_alloc.
    [[nodiscard]] bool value(PyObject* object);

    [[nodiscard]] Failure& failure() noexcept { return failure_; }
    // Whether it failed for its depth.
    [[nodiscard]] bool too_deep() const noexcept { return too_deep_; }

  private:
    // A container on the way down.
    class Level {
      public:
        explicit Level(StoredEncoder& encoder) noexcept : encoder_(encoder) { ++encoder.depth_; }
        ~Level() { --encoder_.depth_; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;
        [[nodiscard]] explicit operator bool() const { return encoder_.is_depth_allowed(); }

      private:
        StoredEncoder& encoder_;
    };

    // The keys of dicts that were spelt out lately, by address; holding them keeps those unique.
    struct Spelt {
        Ref key;
        std::uint32_t number = 0;
    };

    [[nodiscard]] bool is_depth_allowed();
    [[nodiscard]] bool changed();
    [[nodiscard]] bool refuse(PyObject* object);

    [[nodiscard]] bool text(PyObject* object);
    [[nodiscard]] bool integer(PyObject* object);
    void floating(double value);
    [[nodiscard]] bool list(PyObject* object);
    [[nodiscard]] bool tuple(PyObject* object);
    [[nodiscard]] bool dict(PyObject* object);
    [[nodiscard]] bool key(PyObject* object);
    [[nodiscard]] bool set(PyObject* object, Stored tag);
    [[nodiscard]] bool range(PyObject* object);
    [[nodiscard]] bool rare(PyObject* object);
    // One that was asked for; false if there is none.
    [[nodiscard]] bool attribute(const Ref& held);

    // stored_encoder_library.cpp
    [[nodiscard]] bool library(PyObject* object, const TypeInfo& info);
    [[nodiscard]] bool date_time(PyObject* object, Kind kind);
    [[nodiscard]] bool zone(PyObject* object);
    [[nodiscard]] bool time_zone(PyObject* object);
    [[nodiscard]] bool zone_info(PyObject* object);
    void delta(PyObject* object);
    [[nodiscard]] bool uuid(PyObject* object);
    [[nodiscard]] bool path(PyObject* object);
    [[nodiscard]] bool decimal(PyObject* object);
    [[nodiscard]] bool fraction(PyObject* object);
    [[nodiscard]] bool enumeration(PyObject* object);
    [[nodiscard]] bool numpy_array(PyObject* object);
    [[nodiscard]] bool numpy_scalar(PyObject* object);
    [[nodiscard]] bool numpy_type(PyObject* object);
    [[nodiscard]] bool elements(PyObject* object);
    void align();

    StoredWriter& out_;
    std::size_t depth_ = 0;
    std::uint32_t spelt_count_ = 0;
    bool too_deep_ = false;
    Failure failure_;
    std::array<Spelt, 64> spelt_;
};

}  // namespace millpond::bindings
