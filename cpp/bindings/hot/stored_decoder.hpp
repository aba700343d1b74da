// Reads values from their stored form (docs/design/entries.md). The bytes may be anybody's: no
// length is believed that the bytes do not bear out, nothing nests deeper than 100 levels, and no
// module is imported that the bytes name.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hot/heap_type.hpp"
#include "hot/stored_tags.hpp"

namespace millpond::bindings {

// Why a value could not be read, if no Python exception says it.
enum class StoredFault : std::uint8_t {
    None,
    Damaged,  // nobody encodes a value like this
    Type,     // of a class that this process does not have
};

// Decodes one value. REQUIRES: the GIL.
class StoredDecoder {
  public:
    // Reads the `size` bytes at `data`, which lie in the bytes object `owner`. With `readonly`,
    // numpy arrays cannot be written to, and large ones share memory with `owner`.
    StoredDecoder(PyObject* owner, const char* data, std::size_t size, bool readonly) noexcept
        : owner_(owner),
          begin_(reinterpret_cast<const std::uint8_t*>(data)),
          at_(begin_),
          end_(begin_ + size),
          readonly_(readonly) {}

    // The value, which takes up all of the bytes; null: fault() knows why, or a Python exception is
    // set. May throw bad_alloc.
    [[nodiscard]] Ref whole();

    [[nodiscard]] StoredFault fault() const noexcept { return fault_; }

  private:
    class Level {
      public:
        explicit Level(StoredDecoder& decoder) noexcept : decoder_(decoder) { ++decoder.depth_; }
        ~Level() { --decoder_.depth_; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;
        [[nodiscard]] explicit operator bool() const noexcept;

      private:
        StoredDecoder& decoder_;
    };

    [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
    // So many bytes; null if there are fewer.
    [[nodiscard]] const std::uint8_t* take(std::size_t size) noexcept {
        if (size > left()) return nullptr;
        const std::uint8_t* const taken = at_;
        at_ += size;
        return taken;
    }
    // Notes what is wrong and returns no value, or false.
    Ref damaged() noexcept {
        fault_ = StoredFault::Damaged;
        return {};
    }
    Ref unknown() noexcept {
        fault_ = StoredFault::Type;
        return {};
    }

    [[nodiscard]] bool count(std::uint64_t& value) noexcept;
    // The number of things that take up at least `each` bytes.
    [[nodiscard]] bool count_of(std::size_t each, Py_ssize_t& value) noexcept;
    [[nodiscard]] bool word(std::uint64_t& value, std::size_t size = 8) noexcept;
    [[nodiscard]] bool run(const std::uint8_t*& data, std::size_t& size) noexcept;

    [[nodiscard]] Ref value();
    [[nodiscard]] Ref tagged(Stored tag);
    [[nodiscard]] Ref ascii(std::size_t size);
    [[nodiscard]] Ref text();
    [[nodiscard]] Ref integer();
    [[nodiscard]] Ref big_integer(bool negative);
    [[nodiscard]] bool floating(double& value) noexcept;
    [[nodiscard]] Ref list();
    [[nodiscard]] Ref tuple();
    [[nodiscard]] Ref set(bool frozen);
    [[nodiscard]] Ref dict();
    [[nodiscard]] Ref key();
    [[nodiscard]] Ref short_key(std::size_t size);
    [[nodiscard]] Ref range();
    // A value that must be an int, or a str.
    [[nodiscard]] Ref number();
    [[nodiscard]] Ref word_of_text();

    // stored_decoder_library.cpp
    [[nodiscard]] Ref library(Stored tag);
    [[nodiscard]] Ref made(PyObject* result);
    [[nodiscard]] Ref date();
    [[nodiscard]] Ref time();
    [[nodiscard]] Ref date_time();
    [[nodiscard]] Ref delta();
    [[nodiscard]] bool zone(Ref& value);
    [[nodiscard]] Ref time_zone(bool named);
    [[nodiscard]] Ref zone_info();
    [[nodiscard]] Ref uuid();
    [[nodiscard]] Ref path();
    [[nodiscard]] Ref decimal();
    [[nodiscard]] Ref fraction();
    [[nodiscard]] Ref member(bool named);

    // stored_decoder_numpy.cpp
    [[nodiscard]] Ref numpy_type(std::size_t& item_size);
    [[nodiscard]] Ref numpy_array();
    [[nodiscard]] Ref numpy_scalar();
    [[nodiscard]] bool shape_bytes(PyObject* shape, std::size_t item_size, std::size_t& size);

    PyObject* owner_;
    const std::uint8_t* begin_;
    const std::uint8_t* at_;
    const std::uint8_t* end_;
    bool readonly_;
    StoredFault fault_ = StoredFault::None;
    std::size_t depth_ = 0;
    std::vector<Ref> keys_;  // short texts that were keys of dicts, in their order
};

}  // namespace millpond::bindings
