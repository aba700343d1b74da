// The tag that opens every value in its stored form. The numbers are part of the format of entries
// (docs/design/entries.md): never change one, only add.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millpond::bindings {

enum class Stored : std::uint8_t {
    None = 0x00,
    False = 0x01,
    True = 0x02,
    Integer = 0x03,   // of 64 bits
    Natural = 0x04,   // a larger one
    Negative = 0x05,  // one below
    Float = 0x06,
    Ascii = 0x07,
    Text = 0x08,
    Bytes = 0x09,
    ByteArray = 0x0a,
    List = 0x0b,
    Tuple = 0x0c,
    Set = 0x0d,
    FrozenSet = 0x0e,
    Dict = 0x0f,
    Complex = 0x10,
    Range = 0x11,
    Ellipsis = 0x12,
    SameKey = 0x13,  // the key of a dict that was spelt out before

    Date = 0x18,
    Time = 0x19,
    DateTime = 0x1a,
    TimeDelta = 0x1b,
    TimeZone = 0x1c,
    NamedTimeZone = 0x1d,
    ZoneInfo = 0x1e,
    Uuid = 0x1f,
    Path = 0x20,
    Decimal = 0x21,
    Fraction = 0x22,
    Member = 0x23,  // of an enum
    Flags = 0x24,   // members of a Flag put together
    NdArray = 0x25,
    NumpyScalar = 0x26,

    ShortAscii = 0x40,  // to 0x7f: with 0 to 63 characters
    SmallInt = 0x80,    // to 0xff: 0 to 127
};

inline constexpr std::size_t kShortAscii = 0x40;  // characters, and one more
inline constexpr std::int64_t kSmallInts = 0x80;

// A short text that is the key of a dict is spelt out once in a value and has a number from then
// on; so many have one.
inline constexpr std::size_t kMostSharedKeys = 1U << 16;

// The numbers in a Fraction: a larger one could keep a reader busy for long with reducing it.
inline constexpr std::size_t kMostFractionBytes = 1U << 12;

// In the order of their numbers in the format.
inline constexpr const char* kPathClasses[] = {"PurePosixPath", "PosixPath", "PureWindowsPath",
                                               "WindowsPath"};

}  // namespace millpond::bindings
