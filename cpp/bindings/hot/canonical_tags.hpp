// The tag that opens every value in its canonical form. The numbers are part of the shared key's
// format (docs/design/keys.md): never change one, only add, and raise the version when a form
// changes its meaning.
#pragma once

#include <cstdint>

namespace millpond::bindings {

enum class Tag : std::uint8_t {
    None = 0x00,
    False = 0x01,
    True = 0x02,
    Natural = 0x03,   // an int >= 0
    Negative = 0x04,  // an int < 0
    Float = 0x05,
    Str = 0x06,
    Bytes = 0x07,
    ByteArray = 0x08,
    List = 0x09,
    Tuple = 0x0a,
    Dict = 0x0b,
    Set = 0x0c,
    FrozenSet = 0x0d,
    Complex = 0x0e,
    Range = 0x0f,
    Slice = 0x10,
    Ellipsis = 0x11,
    NotImplemented = 0x12,
    Type = 0x13,
    MemoryView = 0x14,
    Unset = 0x15,  // a field without a value

    Enum = 0x20,
    Record = 0x21,  // a dataclass
    NamedTuple = 0x22,
    Pydantic = 0x23,
    Subclass = 0x24,  // a subclass of a type that has a form of its own
    OrderedDict = 0x25,
    Deque = 0x26,

    Date = 0x30,
    Time = 0x31,
    DateTime = 0x32,
    TimeDelta = 0x33,
    TimeZone = 0x34,
    ZoneInfo = 0x35,
    Uuid = 0x36,
    Path = 0x37,
    Decimal = 0x38,
    Fraction = 0x39,
    Array = 0x3a,    // array.array
    NdArray = 0x3b,  // numpy.ndarray
    NumpyScalar = 0x3c,

    // Never part of a shared key.
    Opaque = 0xf0,  // known by hash and == only
    Root = 0xf1,    // ends the arguments of a call
};

}  // namespace millpond::bindings
